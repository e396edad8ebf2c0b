"""Eyes see what their encoder gives, and are never trained."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

import sparc_vlm
from sparc_vlm.captioning import HuggingFaceEyes, SparcEyes
from sparc_vlm.errors import UsageError
from sparc_vlm.weights import WeightsError
from tests.test_captioning.tiny_captioner import pictures
from tests.test_models.tiny_models import TEXT_SIZES, VIT
from tests.test_study.made import save_model

SIZES = dict(
    hidden_size=20,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=16,
    image_size=32,
    patch_size=8,
)


def save_clip(folder):
    """A tiny CLIP as it lies on the hub: both encoders, preprocessing."""
    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT_SIZES, vision_config=SIZES)
    CLIPModel(config).save_pretrained(folder)
    side = dict(height=32, width=32)
    CLIPImageProcessor(
        size=dict(shortest_edge=32), crop_size=side
    ).save_pretrained(folder)
    return folder


def save_others(folder):
    """Vision models alone, in folders by name."""
    side = dict(height=32, width=32)
    for name, model, processor in (
        (
            'clip_vision',
            CLIPVisionModel(CLIPVisionConfig(**SIZES)),
            CLIPImageProcessor(size=side, crop_size=side),
        ),
        (
            'siglip',
            SiglipVisionModel(SiglipVisionConfig(**SIZES)),
            SiglipImageProcessor(size=side),
        ),
        (
            'dino',
            Dinov2Model(Dinov2Config(**SIZES)),
            SiglipImageProcessor(size=side),
        ),
    ):
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('eyes')
    save_clip(folder / 'clip')
    save_model(folder)
    return save_others(folder)


def check_frozen(eyes):
    eyes.train()
    assert not any(part.training for part in eyes.modules())
    assert not any(weights.requires_grad for weights in eyes.parameters())
    assert not eyes(pictures(1)).values.requires_grad


def test_sparc_eyes_see_the_patches_of_the_last_layer(folder):
    eyes = SparcEyes(str(folder / 'model'))
    model = sparc_vlm.load(folder / 'model')
    images = pictures(2)
    normal = model.data_preprocessor.normalise(images)
    expected = model.vision.forward_patches(normal)
    found = eyes(images)
    torch.testing.assert_close(found.values, expected.values)
    assert torch.equal(eyes(normal).values, found.values)
    assert found.grid == eyes.grid == (4, 4)
    assert eyes.embed_dims == 16
    assert (eyes.image_size, eyes.resize) == (32, 'stretch')
    check_frozen(eyes)
    # The whole model is kept, and is no part of the eyes.
    tokens = model.encode_text(['a red circle']).tokens
    found = eyes.pretrained.encode_text(['a red circle']).tokens
    assert torch.equal(found, tokens)
    assert not any('text' in name for name, _ in eyes.named_parameters())


@pytest.mark.parametrize('layer', [-2, 0, 2])
def test_sparc_eyes_see_the_patches_of_another_layer(folder, layer):
    eyes = SparcEyes(str(folder / 'model'), layer=layer)
    vision = sparc_vlm.load(folder / 'model').vision
    images = eyes.preprocessor.normalise(pictures(2))
    tokens, _ = vision._embed(images)
    for each in list(vision.layers)[: layer % 3 + 1]:
        tokens = each(tokens)
    expected = vision.ln1(tokens) if layer == 2 else tokens
    found = eyes(images)
    torch.testing.assert_close(found.values, expected)
    assert found.grid == (4, 4)


def test_random_eyes_and_eyes_with_weights(folder):
    vision = dict(VIT)
    eyes = SparcEyes(vision=vision, image_size=32)
    assert eyes.is_random
    before = eyes(pictures(1)).values
    eyes.init_weights()
    assert not torch.equal(eyes(pictures(1)).values, before)
    start = dict(
        type='Pretrained', checkpoint=str(folder / 'model'), prefix='vision.'
    )
    given = SparcEyes(vision=dict(vision, init_cfg=start), image_size=32)
    assert not given.is_random
    given.init_weights()
    expected = SparcEyes(str(folder / 'model'))(pictures(1)).values
    assert torch.equal(given(pictures(1)).values, expected)
    assert given.pretrained is None


@pytest.mark.parametrize('layer', [-2, -1, 0])
@pytest.mark.parametrize('kind', ['clip', 'clip_vision', 'siglip', 'dino'])
def test_eyes_of_transformers_see_a_layers_patches(folder, kind, layer):
    eyes = HuggingFaceEyes(str(folder / kind), layer)
    mean, std = eyes.preprocessor.shift, eyes.preprocessor.scale
    images = pictures(2) * std + mean
    found = eyes(pictures(2))
    states = eyes.vision(images, output_hidden_states=True).hidden_states
    assert len(states) == 4
    extra = 0 if kind == 'siglip' else 1
    assert states[0].shape[1] == 16 + extra
    expected = states[layer][:, extra:]
    torch.testing.assert_close(found.values, expected)
    assert found.grid == eyes.grid == (4, 4)
    assert eyes.embed_dims == 20
    assert eyes.image_size == 32
    check_frozen(eyes)
    assert not any('text' in name for name, _ in eyes.named_parameters())


def test_a_picture_is_prepared_as_transformers_does_it(folder):
    from transformers import AutoImageProcessor

    for kind, resize in (('clip', 'crop'), ('siglip', 'stretch')):
        eyes = HuggingFaceEyes(str(folder / kind))
        assert eyes.resize == resize
        (image,) = pictures(1)
        processor = AutoImageProcessor.from_pretrained(folder / kind)
        expected = processor(images=image, return_tensors='pt').pixel_values
        found = eyes.preprocessor.normalise(image[None])
        torch.testing.assert_close(found, expected)


def test_what_cannot_be_eyes_is_said(folder, tmp_path):
    with pytest.raises(UsageError, match='a checkpoint or a vision: give one'):
        SparcEyes()
    with pytest.raises(UsageError, match=r'eyes\.layer=3: a SparcViT has 3'):
        SparcEyes(str(folder / 'model'), layer=3)
    with pytest.raises(WeightsError, match='train a model first'):
        SparcEyes(str(tmp_path / 'none'))
    with pytest.raises(UsageError, match=r'eyes\.layer=-5: .* has 3 layers'):
        HuggingFaceEyes(str(folder / 'clip'), -5)
    with pytest.raises(UsageError, match='cannot load eyes from') as caught:
        HuggingFaceEyes(str(tmp_path))
    assert '\n' not in str(caught.value)
