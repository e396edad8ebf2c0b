"""A captioner that is saved and loaded says what it said before."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForCausalLM

import sparc_vlm
from sparc_vlm import captioning
from sparc_vlm.captioning.loading import build as build_from
from sparc_vlm.captioning.loading import start_from
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import WeightsError
from tests.test_captioning.test_captioner import TURNS
from tests.test_captioning.test_eyes import save_clip
from tests.test_captioning.tiny_captioner import (
    EYES,
    LORA,
    PROJECTORS,
    build,
    captioner_cfg,
    pictures,
    training,
)
from tests.test_captioning.tiny_language import save_language
from tests.test_study.made import save_model


@pytest.fixture(scope='module')
def language(tmp_path_factory):
    return save_language(tmp_path_factory.mktemp('language'))


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp('pretrained'))


def same(first, second):
    """Whether they give the same logits."""
    images, chat = pictures(3, first.eyes.image_size), training(first, *TURNS)
    return torch.equal(first(images, chat), second(images, chat))


def files(folder):
    found = (p.relative_to(folder) for p in folder.rglob('*') if p.is_file())
    return sorted(map(str, found))


def configs(language, pretrained, clip):
    eyes = dict(type='SparcEyes', checkpoint=str(pretrained))
    other = dict(type='HuggingFaceEyes', path=str(clip))
    mlp, bridge = PROJECTORS['MLPProjector'], PROJECTORS['PerceiverResampler']
    return dict(
        random=captioner_cfg(language, LORA),
        sparc=captioner_cfg(language, eyes=eyes, projector=bridge),
        clip=captioner_cfg(language, LORA, eyes=other, projector=mlp),
        whole=captioner_cfg(language, freeze_language=False),
    )


WRITTEN = dict(
    random=['eyes/model.safetensors'],
    sparc=[
        'eyes/config.json',
        'eyes/model.safetensors',
        'eyes/tokenizer/tokenizer.json',
        'eyes/tokenizer/tokenizer_settings.json',
    ],
    clip=[
        'eyes/config.json',
        'eyes/model.safetensors',
        'eyes/preprocessor_config.json',
    ],
    whole=['eyes/model.safetensors'],
)


@pytest.mark.parametrize('kind', WRITTEN)
def test_round_trip(kind, language, pretrained, tmp_path):
    """Of what was on another machine, only the language model is needed."""
    clip = save_clip(tmp_path / 'clip')
    moved = shutil.copytree(pretrained, tmp_path / 'pretrained')
    cfg = configs(language, moved, clip)[kind]
    model = build(cfg)
    folder = captioning.save(model, tmp_path / 'model', cfg)
    shutil.rmtree(clip)
    shutil.rmtree(moved)
    assert [f for f in files(folder) if f.startswith('eyes/')] == WRITTEN[kind]
    loaded = build_from(folder)
    assert not loaded.training
    assert same(model, loaded)
    assert str(tmp_path) not in (folder / 'config.json').read_text()
    for wanted in ('projector.safetensors', 'language.json', 'config.json'):
        assert wanted in files(folder)
    assert (folder / 'adapter').is_dir() == model.language.has_lora
    assert (folder / 'language').is_dir() == (kind == 'whole')


def test_the_adapter_is_pefts(language, tmp_path):
    cfg = captioner_cfg(language, LORA)
    model = build(cfg)
    folder = captioning.save(model, tmp_path / 'model', cfg)
    base = AutoModelForCausalLM.from_pretrained(language)
    ids = torch.arange(20)[None]
    plain = base(ids).logits
    wrapped = PeftModel.from_pretrained(base, folder / 'adapter').eval()
    expected = model.language.model(ids).logits
    torch.testing.assert_close(wrapped(ids).logits, expected)
    assert not torch.allclose(plain, expected)


def test_weights_in_place_of_its_own(language, tmp_path):
    cfg = captioner_cfg(language, LORA)
    first, second = build(cfg), build(cfg, seed=1)
    second.eyes.load_state_dict(first.eyes.state_dict())
    folder = captioning.save(
        first, tmp_path / 'model', cfg, second.state_dict()
    )
    assert same(build_from(folder), second)
    # Those of a checkpoint beside it.
    torch.save(first.state_dict(), tmp_path / 'iter_3.pth')
    assert same(build_from(tmp_path / 'iter_3.pth'), first)
    assert same(build_from(tmp_path), second)


def test_what_a_loaded_one_does(language, pretrained, tmp_path):
    eyes = dict(type='SparcEyes', checkpoint=str(pretrained))
    cfg = captioner_cfg(language, LORA, eyes=eyes, prompt='what is it?')
    model = build(cfg)
    captioning.save(model, tmp_path, cfg)
    loaded = captioning.load(tmp_path)
    loaded.batch_size = 2
    images = [as_picture(image) for image in pictures(3, 48)]
    found = loaded.caption(images, max_new_tokens=5)
    assert [len(samples) for samples in found] == [1, 1, 1]
    assert len({text for (text,) in found}) > 1
    asked = ['what is it?'] * 3
    assert loaded.answer(images, asked, 5) == [text for (text,) in found]
    assert loaded.answer(images, ['where?'] * 3, 5) != [t for (t,) in found]
    samples = loaded.caption(images, None, 2, 1.0, 5, seed=3)
    loaded.batch_size = 3
    assert loaded.caption(images, None, 2, 1.0, 5, seed=3) == samples
    # The pictures are made square as the eyes' model does it.
    model = loaded.eyes_model
    patches = model.encode_image(images).patches
    assert patches.shape[:2] == (3, 16)
    assert model.encode_text(['a red circle']).text.shape == (1, 8)
    captions = ['a red circle', 'a dog', 'nothing']
    likely = loaded.likelihood(images, captions)
    each = [
        loaded.likelihood([image], [caption])[0]
        for image, caption in zip(images, captions, strict=True)
    ]
    assert likely == pytest.approx(each, rel=1e-4)
    assert all(value < 0 for value in likely)
    with pytest.raises(ValueError, match='3 pictures and 1 texts'):
        loaded.answer(images, ['where?'])
    for alone in (images[0], 'photo.jpg'):
        with pytest.raises(ValueError, match='pictures come in a list'):
            loaded.caption(alone)


def as_picture(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def test_without_a_pretrained_model_there_is_none(language, tmp_path):
    cfg = captioner_cfg(language)
    captioning.save(build(cfg), tmp_path, cfg)
    assert captioning.load(tmp_path).eyes_model is None


def test_another_language_model_is_refused(language, tmp_path):
    cfg = captioner_cfg(language, LORA)
    model = build(cfg)
    captioning.save(model, tmp_path / 'model', cfg)
    moved = shutil.copytree(language, tmp_path / 'moved')
    assert same(build_from(tmp_path, str(moved)), model)
    other = save_language(tmp_path / 'other', seed=1)
    with pytest.raises(WeightsError, match='with another language model'):
        build_from(tmp_path, str(other))


def test_stage_two_starts_from_stage_one(language, tmp_path):
    """Projector and random eyes; the adapter, which was not there, is new."""
    cfg = captioner_cfg(language)
    first = build(cfg)
    captioning.save(first, tmp_path / 'model', cfg)
    start = dict(type='Pretrained', checkpoint=str(tmp_path))
    for options in (LORA, None):
        cfg = captioner_cfg(language, options, init_cfg=start)
        torch.manual_seed(5)
        second = MODELS.build(cfg)
        second.init_weights()
        # Low-rank layers begin as nothing.
        assert same(first, second.eval())
    bridge = dict(PROJECTORS['MLPProjector'])
    second = build(captioner_cfg(language, projector=bridge))
    with pytest.raises(WeightsError, match='do not fit MLPProjector'):
        start_from(second, tmp_path)


def test_a_language_model_trained_whole_is_gone_on_with(language, tmp_path):
    cfg = captioner_cfg(language, freeze_language=False)
    first = build(cfg)
    folder = captioning.save(first, tmp_path / 'model', cfg)
    start = dict(type='Pretrained', checkpoint=str(folder))
    second = MODELS.build(captioner_cfg(language, LORA, init_cfg=start))
    with pytest.raises(WeightsError, match='trained, too: take the one in'):
        second.init_weights()
    with pytest.raises(WeightsError, match='trained, too: take the one in'):
        build_from(folder, str(language))
    own = folder / 'language'
    second = MODELS.build(captioner_cfg(own, LORA, init_cfg=start))
    second.init_weights()
    assert same(first, second.eval())


def test_a_checkpoint_is_no_folder_to_start_from(language, tmp_path):
    cfg = captioner_cfg(language)
    captioning.save(build(cfg), tmp_path / 'model', cfg)
    checkpoint = tmp_path / 'iter_3.pth'
    torch.save({}, checkpoint)
    with pytest.raises(UsageError, match='is a checkpoint, .* name .*model'):
        start_from(build(cfg), checkpoint)


def test_other_eyes_are_refused_as_a_start(language, pretrained, tmp_path):
    eyes = dict(type='SparcEyes', checkpoint=str(pretrained))
    cfg = captioner_cfg(language, eyes=eyes)
    captioning.save(build(cfg), tmp_path / 'model', cfg)
    moved = dict(
        EYES['vision'],
        init_cfg=dict(
            type='Pretrained', checkpoint=str(pretrained), prefix='vision.'
        ),
    )
    second = build(captioner_cfg(language, eyes=dict(EYES, vision=moved)))
    start_from(second, tmp_path)
    with torch.no_grad():
        second.eyes.vision.ln1.weight += 0.5
    with pytest.raises(WeightsError, match='with another image encoder'):
        start_from(second, tmp_path)


@pytest.mark.parametrize(
    ('key', 'value'), [('layer', -2), ('image_size', 64), ('resize', 'crop')]
)
def test_eyes_that_see_otherwise_are_refused_as_a_start(
    key, value, language, tmp_path
):
    """Their weights are the same."""
    cfg = captioner_cfg(language)
    captioning.save(build(cfg), tmp_path / 'model', cfg)
    vision = dict(EYES['vision'], img_size=64 if key == 'image_size' else 32)
    eyes = dict(EYES, vision=vision) | {key: value}
    second = build(captioner_cfg(language, eyes=eyes))
    with pytest.raises(WeightsError, match=f'with eyes.{key}='):
        start_from(second, tmp_path)


def test_a_tuned_start_is_not_dropped(language, tmp_path):
    cfg = captioner_cfg(language, LORA)
    captioning.save(build(cfg), tmp_path / 'model', cfg)
    second = build(captioner_cfg(language))
    with pytest.raises(WeightsError, match='was tuned by low-rank layers'):
        start_from(second, tmp_path)


def test_a_folder_that_lost_its_adapter_is_refused(language, tmp_path):
    cfg = captioner_cfg(language, LORA)
    folder = captioning.save(build(cfg), tmp_path / 'model', cfg)
    shutil.rmtree(folder / 'adapter')
    with pytest.raises(WeightsError, match='no adapter/, though .* tuned'):
        build_from(folder)
    with pytest.raises(WeightsError, match='no adapter/, though .* tuned'):
        start_from(build(cfg), folder)


def damage(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('name', 'change', 'said'),
    [
        (
            'config.json',
            lambda c: c['captioner']['eyes'].update(type='os.system'),
            r'os\.system, which is no registered model',
        ),
        (
            'config.json',
            lambda c: c['captioner']['projector'].update(fctor=1),
            'cannot be built: .*fctor',
        ),
        (
            'config.json',
            lambda c: c['captioner']['projector'].update(factor=1),
            'do not fit PixelShuffleProjector: .* mismatched',
        ),
        (
            'config.json',
            lambda c: c['captioner'].pop('eyes'),
            "is damaged: KeyError \\('eyes'\\)",
        ),
        ('language.json', lambda c: c.pop('path'), 'is damaged: KeyError'),
        (
            'language.json',
            lambda c: c['lora'].update(r=3),
            'does not fit this language model .* weights are missing or',
        ),
    ],
)
def test_a_folder_that_is_not_as_it_was(
    language, tmp_path, name, change, said
):
    cfg = captioner_cfg(language, LORA)
    folder = captioning.save(build(cfg), tmp_path / 'model', cfg)
    damage(folder, name, change)
    with pytest.raises(WeightsError, match=said) as caught:
        captioning.load(folder)
    assert '\n' not in str(caught.value)


def test_each_kind_of_folder_says_who_loads_it(language, pretrained, tmp_path):
    cfg = captioner_cfg(language)
    folder = captioning.save(build(cfg), tmp_path / 'model', cfg)
    with pytest.raises(
        WeightsError,
        match=r'of a captioner: load it with sparc_vlm\.captioning\.load',
    ):
        sparc_vlm.load(folder)
    with pytest.raises(WeightsError, match=r'load it with sparc_vlm\.load'):
        captioning.load(pretrained)
