"""The detector by words: its three modes, its sizes, its start."""

import pytest
import torch

from sparc_vlm import hub
from sparc_vlm.datasets import CaptionTokenizer
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import WeightsError
from tests.test_detection.words_made import (
    build,
    detector_cfg,
    sample,
    tokenizer,
)
from tests.test_models.tiny_models import model_cfg

WORDS = ('dog', 'red box', 'blue box')
BOXES = [[2.0, 3, 14, 20], [10, 10, 30, 28]]


@pytest.fixture(scope='module')
def tokens(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp('words'))


@pytest.fixture
def model(tokens):
    return build(detector_cfg(tokens)).eval()


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)


def test_every_patch_predicts(model):
    samples = [sample(WORDS), sample(WORDS[:1])]
    found = model(images(2, 3, 32, 32), samples, mode='tensor')
    assert found.boxes.shape == (2, 16, 4)
    assert found.logits.shape == (2, 16, 3)
    assert found.mask.all()


def test_dense_embeddings_are_the_pretrainer_s(model):
    batch = images(2, 3, 32, 32)
    _, dense, grid = model.extract_feat(batch)
    twin = model.encoders.encode_image(batch)
    assert grid == twin.grid
    torch.testing.assert_close(dense, twin.dense)


@pytest.mark.parametrize(
    ('shape', 'grid'), [((40, 24), (5, 3)), ((33, 70), (5, 9))]
)
def test_any_size(model, shape, grid):
    picture = sample(WORDS, shape=shape)
    (found,) = model.predict(images(1, 3, *shape), [picture])
    boxes = found.pred_instances.bboxes
    assert len(boxes) == grid[0] * grid[1] * 3
    assert boxes.min() >= 0
    assert (boxes <= torch.tensor([shape[1], shape[0]] * 2)).all()


def test_padding_predicts_nothing(model):
    batch = images(1, 3, 40, 48)
    picture = sample(WORDS, shape=(32, 32))
    found = model(batch, [picture], mode='tensor')
    rows, columns = (torch.arange(30) // 6, torch.arange(30) % 6)
    assert found.mask[0].tolist() == ((rows < 4) & (columns < 4)).tolist()
    model.limit = 1000
    (predicted,) = model.predict(batch, [picture])
    assert len(predicted.pred_instances) == 16 * 3
    assert predicted.pred_instances.bboxes.max() <= 32


def test_boxes_do_not_depend_on_how_far_a_batch_is_padded(tokens):
    model = build(detector_cfg(tokens)).eval()
    torch.nn.init.zeros_(model.box_head.out.weight)
    picture = sample(WORDS, shape=(32, 32))
    found = [
        model(images(1, 3, *size), [picture], mode='tensor')
        for size in ((32, 32), (64, 40))
    ]
    boxes = [each.boxes[each.mask] for each in found]
    torch.testing.assert_close(*boxes)


def test_boxes_are_of_the_picture_before_it_was_resized(model):
    batch = images(1, 3, 32, 32)
    (small,) = model.predict(batch, [sample(WORDS)])
    resized = dict(scale_factor=(0.5, 0.25), ori_shape=(128, 64))
    (large,) = model.predict(batch, [sample(WORDS, **resized)])
    torch.testing.assert_close(
        large.pred_instances.bboxes,
        small.pred_instances.bboxes * torch.tensor([2.0, 4, 2, 4]),
    )


def test_boxes_end_with_the_picture_where_it_was_padded(model):
    """Twice as large, 48 of 64 rows of pixels, padded to a square."""
    meta = dict(shape=(32, 32), scale_factor=(0.5, 0.5), ori_shape=(48, 64))
    (found,) = model.predict(images(1, 3, 32, 32), [sample(WORDS, **meta)])
    boxes = found.pred_instances.bboxes
    assert boxes.min() >= 0
    assert boxes[:, 2].max() > 48
    assert boxes[:, 3].max() == 48


def test_the_best_of_all_words(model):
    batch = images(2, 3, 32, 32)
    samples = [sample(WORDS), sample(WORDS[:2])]
    found = model(batch, samples, mode='tensor')
    model.limit = 7
    for row, each in enumerate(model.predict(batch, samples)):
        words = len(each.words)
        twin = found.logits[row, :, :words].sigmoid().flatten()
        order = twin.argsort(descending=True)[:7]
        instances = each.pred_instances
        torch.testing.assert_close(instances.scores, twin[order])
        assert instances.labels.tolist() == (order % words).tolist()


def test_nms_drops_boxes_of_one_word_alone(tokens):
    model = build(detector_cfg(tokens, nms=0.05)).eval()
    # every patch predicts a box as large as the picture
    torch.nn.init.zeros_(model.box_head.out.weight)
    with torch.no_grad():
        model.box_head.out.bias.copy_(torch.tensor([0.0, 0, 20, 20]))
    (found,) = model.predict(images(1, 3, 32, 32), [sample(WORDS)])
    assert sorted(found.pred_instances.labels.tolist()) == [0, 1, 2]
    model.nms = None
    (found,) = model.predict(images(1, 3, 32, 32), [sample(WORDS)])
    assert len(found.pred_instances) == 48


def test_loss_reaches_every_parameter(model):
    samples = [
        sample(WORDS, BOXES, [1, 2]),
        sample(WORDS[1:]),
        sample(WORDS[:1], BOXES[:1], [0], shape=(24, 32)),
    ]
    total(model.loss(images(3, 3, 32, 32), samples)).backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []


def test_a_picture_s_loss_is_of_its_own_words(model):
    batch = images(2, 3, 32, 32)
    one = sample(WORDS[:2], BOXES, [0, 1])
    other = sample(WORDS[2:], BOXES[:1], [0])
    together = total(model.loss(batch, [one, other]))
    alone = [
        total(model.loss(batch[row : row + 1], [each]))
        * len(each.gt_instances)
        for row, each in enumerate((one, other))
    ]
    torch.testing.assert_close(together * 3, sum(alone))


def test_an_object_of_two_words_is_one_box(model):
    """Named twice under one word, it is as if it were named once."""
    batch, box = images(1, 3, 32, 32), BOXES[:1]
    both = model.loss(batch, [sample(WORDS, box * 2, [0, 1])])
    again = model.loss(batch, [sample(WORDS, box * 3, [1, 0, 1])])
    assert both['boxes'] == again['boxes'] == 1
    torch.testing.assert_close(total(both), total(again))
    apart = model.loss(batch, [sample(WORDS, BOXES, [0, 1])])
    assert apart['boxes'] == 2


def test_pictures_without_boxes_or_words(model):
    losses = model.loss(
        images(2, 3, 32, 32), [sample(WORDS), sample(WORDS[:1])]
    )
    assert losses['loss_word'] > 0
    assert losses['loss_box'] == losses['loss_overlap'] == 0
    losses = model.loss(images(2, 3, 32, 32), [sample(()), sample(())])
    assert total(losses) == 0
    total(losses).backward()


def test_incomplete_words_are_not_held_against_other_patches(model):
    batch = images(1, 3, 32, 32)
    complete = sample(WORDS, BOXES, [0, 1])
    incomplete = sample(WORDS, BOXES, [0, 1], incomplete=(WORDS[0],))
    less = model.loss(batch, [incomplete])['loss_word']
    assert less < model.loss(batch, [complete])['loss_word']


def test_training_drops_the_words_that_were_kept(tokens):
    """A fused optimizer does not count what it changes."""
    model = build(detector_cfg(tokens, words=WORDS))
    batch = images(1, 3, 32, 32)
    model(batch)
    optimizer = torch.optim.AdamW(model.encoders.text.parameters(), fused=True)
    total(model.loss(batch, [sample(WORDS, BOXES, [0, 1])])).backward()
    optimizer.step()
    found = model(batch)
    model.eval()
    torch.testing.assert_close(found.logits, model(batch).logits)


def test_words_of_the_model_and_none_at_all(tokens, model):
    batch = images(1, 3, 32, 32)
    with pytest.raises(UsageError, match='no words to look for'):
        model(batch)
    named = build(detector_cfg(tokens, words=WORDS)).eval()
    twin = model(batch, [sample(WORDS)], mode='tensor')
    torch.testing.assert_close(named(batch).logits, twin.logits)


def test_pixels_are_those_of_the_encoders(tokens):
    cfg = detector_cfg(tokens)
    cfg['encoders']['data_preprocessor'] = dict(
        type='PairPreprocessor', mean=[120.0, 110, 100], std=[60.0, 50, 40]
    )
    model = build(cfg).eval()
    blue_first = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    data = dict(inputs=[blue_first], data_samples=[sample(WORDS)])
    found = model.data_preprocessor(data)['inputs']
    rgb = blue_first.flip(0)[None]
    torch.testing.assert_close(
        found, model.encoders.data_preprocessor.normalise(rgb)
    )


def saved(tokens, folder, **changes):
    """A saved pretraining run's model folder, and the model."""
    cfg = model_cfg(
        tokenizer=dict(type='CaptionTokenizer', path=str(tokens)), **changes
    )
    size = CaptionTokenizer(tokens).vocab_size
    cfg['text'] = cfg['text'] | dict(vocab_size=size)
    pretrainer = MODELS.build(dict(cfg, _scope_='sparc_vlm'))
    hub.save(pretrainer, folder, cfg)
    return pretrainer


def start_from(checkpoint, **changes):
    encoders = model_cfg(**changes)
    return dict(
        type='sparc_vlm.WordDetector',
        encoders=encoders,
        init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
    )


def test_starts_from_a_pretraining_run(tokens, tmp_path, log):
    objective = dict(type='MGCA', embed_dims=8)
    pretrainer = saved(tokens, tmp_path, objective=objective)
    model = build(start_from(tmp_path))
    model.init_weights()
    for key, value in pretrainer.state_dict().items():
        if not key.startswith('objective.'):
            assert torch.equal(model.encoders.state_dict()[key], value)
    assert any('left out' in line for line in log)
    count = len(model.encoders.state_dict())
    assert any(f'{count} of {count} keys matched' in line for line in log)
    # the tokenizer came along
    model.eval()(images(1, 3, 32, 32), [sample(WORDS)])


def test_a_start_that_does_not_fit_stops(tokens, tmp_path):
    saved(tokens, tmp_path)
    model = build(start_from(tmp_path, embed_dims=12))
    with pytest.raises(WeightsError, match=r'mismatched \(vision_adapter'):
        model.init_weights()
    part = {'vision.pos_embed': torch.zeros(1, 16, 16)}
    torch.save(part, tmp_path / 'part.pth')
    with pytest.raises(WeightsError, match='missing'):
        build(start_from(tmp_path / 'part.pth')).init_weights()


def test_a_tokenizer_is_needed(tmp_path):
    with pytest.raises(UsageError, match='model.encoders.tokenizer.path'):
        build(dict(type='sparc_vlm.WordDetector', encoders=model_cfg()))
    with pytest.raises(MissingFileError, match='weights.pth to start from'):
        build(start_from(tmp_path / 'weights.pth'))
    (tmp_path / 'weights.pth').touch()
    with pytest.raises(UsageError, match='no tokenizer beside'):
        build(start_from(tmp_path / 'weights.pth'))


def test_the_folder_of_a_tokenizer_is_enough(tokens, tmp_path):
    encoders = model_cfg(tokenizer=dict(path=str(tokens)))
    model = build(dict(type='sparc_vlm.WordDetector', encoders=encoders))
    twin = CaptionTokenizer(tokens)
    assert model.encoders.tokenizer.vocab_size == twin.vocab_size
    assert model.encoders.tokenizer.max_length == twin.max_length
    encoders = model_cfg(tokenizer=dict(path=str(tmp_path / 'none')))
    with pytest.raises(MissingFileError, match='none'):
        build(dict(type='sparc_vlm.WordDetector', encoders=encoders))


def test_patches_must_all_be_there(tokens):
    cfg = detector_cfg(tokens)
    cfg['encoders']['vision']['patch_drop_rate'] = 0.5
    with pytest.raises(UsageError, match='patch_drop_rate'):
        build(cfg)
