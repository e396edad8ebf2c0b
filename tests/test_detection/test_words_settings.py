"""What recipes by words leave out of training, and how fast parts learn."""

from __future__ import annotations

import pytest
from mmdet.registry import DATASETS

from sparc_vlm.engine import load_config
from sparc_vlm.registry import RUNNERS
from tests.test_detection.test_words_recipes import FILES, data_of, recipe
from tests.test_detection.words_made import tokenizer

pytestmark = pytest.mark.usefixtures('fresh')
HELD_OUT = [
    *('star', 'crescent'),
    *('red circle', 'blue square', 'green triangle', 'yellow heart'),
    *('purple cross', 'orange diamond', 'pink ring', 'brown arrow'),
    *('black hexagon', 'white oval'),
]
OF_LVIS = dict(frequency='r', annotations='data/lvis/lvis_v1_val.json')
LEFT_OUT = dict(
    scenes=[HELD_OUT],
    flickr8k=[dict(frequency='r')],
    o365_vg=[OF_LVIS, OF_LVIS],
)
"""Of each of a recipe's data sets, by the name of its data."""
RATES = dict(scenes=(0.3, 0.1), flickr8k=(0.3, 0.1), o365_vg=(1.0, 0.04))
"""Of the image encoder and of the text encoder, as shares of the heads'."""
RARE = 'green box'
"""The word that made data say is rare."""


def word_boxes(node):
    """Configs of the data sets with words, however deep they are."""
    if isinstance(node, dict):
        if str(node.get('type')).endswith('WordBoxes'):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from word_boxes(inner)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_each_data_set_leaves_its_words_out(file):
    cfg = load_config(file)
    found = [one.get('leave_out') for one in word_boxes(cfg.train_dataloader)]
    assert found == LEFT_OUT[data_of(file)]
    assert [
        one.get('leave_out') for one in word_boxes(cfg.val_dataloader)
    ] == [None]


def asked_for(cfg):
    """All words that pictures are asked for in training, drawn ones too."""
    dataset = dict(cfg.train_dataloader.dataset, _scope_='mmdet')
    data = DATASETS.build(dataset)
    numbers = 3 * list(range(len(data)))
    return {w for n in numbers for w in data[n]['data_samples'].words}


@pytest.mark.parametrize(
    'file',
    [file for file in FILES if data_of(file) != 'scenes'],
    ids=lambda file: file.stem,
)
def test_no_picture_is_asked_for_a_rare_word(file, tmp_path):
    cfg = recipe(file, tmp_path)
    said = asked_for(cfg)
    assert not any(RARE in word for word in said)
    assert any('red box' in word for word in said)
    for one in word_boxes(cfg.train_dataloader):
        one.leave_out = None
    assert any(RARE in word for word in asked_for(cfg))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_encoders_learn_more_slowly_than_heads(file, tmp_path):
    cfg = recipe(
        file,
        tmp_path,
        **{
            'model.encoders.tokenizer.type': 'CaptionTokenizer',
            'model.encoders.tokenizer.path': str(tokenizer(tmp_path)),
        },
    )
    runner = RUNNERS.build(cfg)
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    rates = {
        id(value): group['lr']
        for group in wrapper.optimizer.param_groups
        for value in group['params']
    }
    full = cfg.optim_wrapper.optimizer.lr
    of_images, of_words = RATES[data_of(file)]
    for name, value in runner.model.named_parameters():
        if value.requires_grad:
            share = of_images if name.startswith('encoders.') else 1.0
            share = of_words if name.startswith('encoders.text') else share
            assert rates[id(value)] == pytest.approx(full * share), name
