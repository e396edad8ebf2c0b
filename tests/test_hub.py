"""Model folders: written, moved, loaded, and refused in one sentence."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import tokenizers
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from PIL import Image
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

import sparc_vlm
from sparc_vlm import hub
from sparc_vlm.datasets.tokenizer import CaptionTokenizer
from sparc_vlm.registry import HOOKS, MODELS
from sparc_vlm.weights import WeightsError
from tests.test_models.tiny_models import (
    TEXT_MODELS,
    WORDS,
    assert_same,
    build,
    captions,
    model_cfg,
)

SENTENCES = ['a red circle', 'two big blue square']


@pytest.fixture
def cfg(tmp_path):
    """Config of a model with a tokenizer on disk."""
    words = [' '.join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    tokenizer = CaptionTokenizer.train(words * 4, 50, max_length=9)
    tokenizer.save(tmp_path / 'training' / 'tokenizer')
    path = str(tmp_path / 'training' / 'tokenizer')
    return model_cfg(tokenizer=dict(type='CaptionTokenizer', path=path))


@pytest.fixture
def model(cfg):
    return build(cfg).eval()


@pytest.fixture
def folder(model, cfg, tmp_path):
    """A saved model, of which nothing else is left."""
    saved = hub.save(model, tmp_path / 'run' / 'model', cfg)
    shutil.rmtree(tmp_path / 'training')
    return saved


def embeddings(model):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(
        0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator
    )
    image = model.encode_image(
        [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
    )
    found = dict(image=image.image, dense=image.dense, local=image.patches)
    if model.tokenizer is not None:
        text = model.encode_text(SENTENCES)
        found |= dict(text=text.text, tokens=text.tokens)
    return found


def assert_bit_for_bit(left, right):
    assert_same(embeddings(left), embeddings(right), rtol=0, atol=0)


# what comes back


def test_three_lines(folder):
    model = sparc_vlm.load(folder)
    image = model.encode_image(Image.new('RGB', (50, 40), 'red')).image
    text = model.encode_text('a red circle').text
    assert image.shape == text.shape == (1, 8)
    assert not model.training


def test_the_same_model_comes_back(model, folder):
    loaded = sparc_vlm.load(str(folder))
    assert_bit_for_bit(loaded, model)
    assert_same(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert loaded.tokenizer.max_length == 9
    assert loaded.tokenizer.vocab_size == model.tokenizer.vocab_size


def test_preprocessing_belongs_to_the_model(cfg, tmp_path):
    cfg |= dict(
        resize='crop',
        image_size=24,
        data_preprocessor=dict(
            type='PairPreprocessor', mean=(1, 2, 3), std=(4, 5, 6)
        ),
    )
    model = build(cfg)
    loaded = sparc_vlm.load(hub.save(model, tmp_path / 'x', cfg))
    assert (loaded.resize, loaded.image_size) == ('crop', 24)
    assert_bit_for_bit(loaded, model)


def test_folders_can_be_moved(model, folder, tmp_path):
    moved = shutil.move(folder, tmp_path / 'elsewhere')
    assert_bit_for_bit(sparc_vlm.load(moved), model)
    text = (Path(moved) / 'config.json').read_text()
    assert str(tmp_path) not in text


def test_relative_paths_and_home(model, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert_bit_for_bit(sparc_vlm.load('model'), model)
    monkeypatch.setenv('HOME', str(folder.parent))
    assert_bit_for_bit(sparc_vlm.load('~/model'), model)


@pytest.mark.parametrize('name', ['', 'model', 'model/model.safetensors'])
def test_a_work_folder_or_a_file_in_it(model, folder, name):
    assert_bit_for_bit(sparc_vlm.load(folder.parent / name), model)


def test_a_checkpoint_beside_the_folder(model, folder, cfg):
    other = sparc_vlm.load(folder)
    torch.nn.init.normal_(other.vision_adapter.weight)
    path = folder.parent / 'iter_5.pth'
    torch.save(dict(state_dict=other.state_dict(), meta={}), path)
    loaded = sparc_vlm.load(path)
    assert_bit_for_bit(loaded, other)
    assert not torch.equal(
        loaded.vision_adapter.weight, model.vision_adapter.weight
    )


def test_a_model_without_a_tokenizer(tmp_path):
    model = build(model_cfg())
    folder = hub.save(model, tmp_path, model_cfg())
    loaded = sparc_vlm.load(folder)
    assert loaded.tokenizer is None
    assert_bit_for_bit(loaded, model)
    assert not (folder / 'tokenizer').exists()


def test_saving_again_replaces(model, folder, cfg):
    torch.nn.init.normal_(model.vision_adapter.weight)
    hub.save(model, folder, cfg)
    assert_bit_for_bit(sparc_vlm.load(folder), model)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ['config.json', 'model.safetensors', 'tokenizer']


def test_paths_of_training_are_left_out(cfg, tmp_path):
    gone = dict(type='Pretrained', checkpoint='gone.pth', prefix='vision.')
    model = build(cfg)
    cfg['init_cfg'] = dict(type='Pretrained', checkpoint='gone.pth')
    cfg['vision'] = cfg['vision'] | dict(init_cfg=gone)
    folder = hub.save(model, tmp_path / 'x', cfg)
    assert 'gone.pth' not in (folder / 'config.json').read_text()
    assert_bit_for_bit(sparc_vlm.load(folder), model)
    assert cfg['vision']['init_cfg'] is gone, 'the config is not changed'


def test_an_image_encoder_takes_its_part(folder, model):
    encoder = MODELS.build(
        model_cfg()['vision']
        | dict(
            init_cfg=dict(
                type='Pretrained', checkpoint=str(folder), prefix='vision.'
            )
        )
    )
    encoder.init_weights()
    assert_same(
        encoder.state_dict(), model.vision.state_dict(), rtol=0, atol=0
    )


# other people's encoders


@pytest.mark.parametrize('kind', ['bert', 'clip', 'siglip'])
def test_text_models_need_their_weights_no_more(tmp_path, kind):
    theirs = tmp_path / 'theirs'
    config = AutoConfig.for_model(**TEXT_MODELS[kind])
    AutoModel.from_config(config).save_pretrained(theirs)
    text = dict(type='HuggingFaceText', pretrained=str(theirs))
    cfg = model_cfg(text=text)
    model = build(cfg).eval()
    folder = hub.save(model, tmp_path / 'ours', cfg)
    shutil.rmtree(theirs)
    loaded = sparc_vlm.load(folder)
    assert_bit_for_bit(loaded, model)
    tokens = captions([3, 5])
    assert torch.equal(loaded.text(tokens), model.text(tokens))


def test_backbones_need_their_weights_no_more(tmp_path):
    sizes = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
    theirs = tmp_path / 'theirs.pth'
    torch.save(build_backbone(sizes).state_dict(), theirs)
    vision = dict(
        type='MMPretrainVision',
        backbone=sizes,
        checkpoint=str(theirs),
        frozen=True,
    )
    cfg = model_cfg(vision=vision)
    model = build(cfg).eval()
    folder = hub.save(model, tmp_path / 'ours', ConfigDict(cfg).to_dict())
    theirs.unlink()
    loaded = sparc_vlm.load(folder)
    assert_bit_for_bit(loaded, model)
    assert loaded.vision.frozen


def build_backbone(cfg):
    return build(dict(type='MMPretrainVision', backbone=cfg)).backbone


def test_tokenizers_of_others_come_back_with_their_length(tmp_path):
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(
            {w: i for i, w in enumerate(['[UNK]', '[CLS]', '[SEP]', *WORDS])},
            unk_token='[UNK]',
        )
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 1), ('[SEP]', 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token='[UNK]',
        cls_token='[CLS]',
        sep_token='[SEP]',
    ).save_pretrained(tmp_path / 'theirs')
    cfg = model_cfg(
        text=dict(type='HuggingFaceText', config=TEXT_MODELS['bert']),
        tokenizer=dict(
            type='HuggingFaceTokenizer',
            path=str(tmp_path / 'theirs'),
            max_length=5,
        ),
    )
    model = build(cfg).eval()
    folder = hub.save(model, tmp_path / 'ours', cfg)
    shutil.rmtree(tmp_path / 'theirs')
    loaded = sparc_vlm.load(folder)
    assert loaded.tokenizer.max_length == 5
    long = loaded.encode_text('a red blue circle square on the left')
    assert long.token_mask.tolist() == [[False, True, True, True, False]]
    assert_bit_for_bit(loaded, model)


# what is refused


def one_sentence(error):
    message = str(error.value)
    assert '\n' not in message
    return message


def change(folder, **values):
    file = folder / 'config.json'
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | values))


def test_nothing_there(tmp_path):
    with pytest.raises(WeightsError, match='there is no .*gone') as error:
        sparc_vlm.load(tmp_path / 'gone')
    one_sentence(error)
    with pytest.raises(WeightsError, match='name the model folder') as error:
        sparc_vlm.load(tmp_path)
    one_sentence(error)


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        ('{"format": 1, ', 'is damaged'),
        ('', 'is damaged'),
        ('{"model_type": "bert", "hidden_size": 12}', 'of ours'),
        ('[1, 2]', 'of ours'),
        ('{"format": 1, "model": 3}', 'is damaged'),
    ],
)
def test_a_config_that_is_none(folder, text, wanted):
    (folder / 'config.json').write_text(text)
    with pytest.raises(WeightsError, match=wanted) as error:
        sparc_vlm.load(folder)
    assert 'config.json' in one_sentence(error)


def test_a_config_that_is_no_text(folder):
    (folder / 'config.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(WeightsError, match='is damaged'):
        sparc_vlm.load(folder)


def test_a_newer_format(folder):
    change(folder, format=hub.FORMAT + 1)
    with pytest.raises(WeightsError, match='update sparc_vlm') as error:
        sparc_vlm.load(folder)
    one_sentence(error)


def test_a_model_that_cannot_be_built(folder):
    change(folder, model=dict(type='Nowhere'))
    with pytest.raises(WeightsError, match='cannot be built') as error:
        sparc_vlm.load(folder)
    assert 'Nowhere' in one_sentence(error)


def test_weights_of_another_model(folder, cfg):
    content = json.loads((folder / 'config.json').read_text())
    change(folder, model=content['model'] | dict(embed_dims=9))
    with pytest.raises(WeightsError, match='vision_adapter.weight') as error:
        sparc_vlm.load(folder)
    one_sentence(error)


def test_missing_weights(folder):
    (folder / 'model.safetensors').unlink()
    with pytest.raises(WeightsError, match='holds no weights') as error:
        sparc_vlm.load(folder)
    one_sentence(error)


def test_a_lost_tokenizer(folder):
    shutil.rmtree(folder / 'tokenizer')
    with pytest.raises(WeightsError, match='no tokenizer at') as error:
        sparc_vlm.load(folder)
    one_sentence(error)


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_checkpoints_that_hold_code(folder, tmp_path):
    path = folder.parent / 'iter_1.pth'
    torch.save(dict(state_dict={}, extra=Code(tmp_path / 'ran')), path)
    with pytest.raises(WeightsError, match='may run code'):
        sparc_vlm.load(path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('scope', ['', 'sparc_vlm.', 'mmengine.'])
def test_configs_that_name_code(folder, tmp_path, scope):
    marker = tmp_path / 'ran'
    content = json.loads((folder / 'config.json').read_text())['model']
    code = dict(type=f'{scope}os.mkdir', path=str(marker))
    content['vision'] = dict(type='MMPretrainVision', backbone=[code, code])
    content['text'] = code
    change(folder, model=content)
    with pytest.raises(WeightsError, match='os.mkdir') as error:
        sparc_vlm.load(folder)
    one_sentence(error)
    assert not marker.exists()


def test_registered_names_may_have_a_scope(model, folder):
    content = json.loads((folder / 'config.json').read_text())['model']
    content['vision']['type'] = 'sparc_vlm.SparcViT'
    content['tokenizer']['type'] = 'sparc_vlm.CaptionTokenizer'
    content['vision']['norm_cfg'] = dict(type='mmengine.LN', eps=1e-6)
    change(folder, model=content)
    assert_bit_for_bit(sparc_vlm.load(folder), model)


# the hook


def runner_of(model, cfg, work_dir, rank=0):
    return SimpleNamespace(
        model=model,
        cfg=ConfigDict(model=cfg),
        work_dir=str(work_dir),
        rank=rank,
        iter=3,
        logger=MMLogger.get_current_instance(),
    )


@pytest.mark.parametrize('moment', ['checkpoint', 'end'])
def test_the_hook_exports(model, cfg, tmp_path, moment):
    hook = HOOKS.build(dict(type='ExportHook'))
    runner = runner_of(model, cfg, tmp_path / 'run')
    if moment == 'checkpoint':
        hook.before_save_checkpoint(runner, {})
    else:
        hook.after_train(runner)
    assert_bit_for_bit(sparc_vlm.load(tmp_path / 'run'), model)


def test_an_iteration_is_exported_once(model, cfg, tmp_path):
    hook, runner = hub.ExportHook(), runner_of(model, cfg, tmp_path / 'run')
    hook.before_save_checkpoint(runner, {})
    shutil.rmtree(tmp_path / 'run')
    hook.after_train(runner)
    assert not (tmp_path / 'run').exists()
    runner.iter += 1
    hook.after_train(runner)
    assert_bit_for_bit(sparc_vlm.load(tmp_path / 'run'), model)


def test_only_the_first_process_exports(model, cfg, tmp_path):
    runner = runner_of(model, cfg, tmp_path / 'run', rank=1)
    hub.ExportHook().after_train(runner)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('where', ['atomic_file', 'write_json'])
def test_a_full_disk_costs_the_export_alone(
    model, cfg, folder, tmp_path, monkeypatch, log, where
):
    before = model.vision_adapter.weight.clone()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(hub, where, full)
    hub.ExportHook().after_train(runner_of(model, cfg, folder.parent))
    assert 'No space left on device' in log[-1]
    assert 'training goes on' in log[-1]
    # what stood there still loads
    loaded = sparc_vlm.load(folder)
    assert torch.equal(loaded.vision_adapter.weight, before)


def test_other_errors_of_an_export_are_not_hidden(model, cfg, tmp_path):
    del cfg['vision']
    with pytest.raises(KeyError):
        hub.ExportHook().after_train(runner_of(model, cfg, tmp_path))
