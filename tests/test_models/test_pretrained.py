"""Other people's encoders, in place of ours."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models.backbones import ResNet
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

from sparc_vlm.models import HuggingFaceText, MMPretrainVision
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch
from sparc_vlm.weights import WeightsError
from tests.test_models.tiny_models import (
    TEXT_MODELS,
    assert_same,
    captions,
    model_cfg,
)

kinds = pytest.mark.parametrize('kind', TEXT_MODELS)


def text_model(kind, **changes):
    torch.manual_seed(0)
    return HuggingFaceText(config=TEXT_MODELS[kind], **changes).eval()


@kinds
def test_hidden_states_of_each_caption(kind):
    model, tokens = text_model(kind), captions([4, 1, 7, 4])
    assert model.embed_dims == 12
    output = model(tokens)
    assert output.shape == (16, 12)
    wanted = [
        model.model(input_ids=ids[None]).last_hidden_state[0]
        for ids in tokens.ids.split([4, 1, 7, 4])
    ]
    # alone without padding, in a batch with it: the same
    torch.testing.assert_close(output, torch.cat(wanted))


@kinds
def test_every_weight_gets_a_gradient(kind):
    """Unused weights would stop distributed training."""
    model = text_model(kind)
    model(captions([4, 1, 7])).pow(3).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


@kinds
def test_the_portable_config_builds_the_same_architecture(kind):
    model = text_model(kind, frozen_layers=1)
    cfg = model.portable_cfg()
    assert 'pretrained' not in cfg
    twin = MODELS.build(cfg).eval()
    twin.load_state_dict(model.state_dict())
    tokens = captions([4, 1, 7])
    assert torch.equal(twin(tokens), model(tokens))
    assert twin.frozen_layers == 1


@kinds
def test_pretrained_weights_from_a_folder(kind, tmp_path):
    cfg = dict(TEXT_MODELS[kind])
    torch.manual_seed(3)
    source = AutoModel.from_config(
        AutoConfig.for_model(cfg.pop('model_type'), **cfg)
    ).eval()
    source.save_pretrained(tmp_path)
    assert (tmp_path / 'model.safetensors').is_file()
    model = HuggingFaceText(pretrained=str(tmp_path)).eval()
    tokens = captions([5])
    wanted = getattr(source, 'text_model', source)(
        input_ids=tokens.ids[None]
    ).last_hidden_state[0]
    torch.testing.assert_close(model(tokens), wanted)


def test_pickled_weights_are_not_read(tmp_path):
    cfg = dict(TEXT_MODELS['bert'])
    source = AutoModel.from_config(
        AutoConfig.for_model(cfg.pop('model_type'), **cfg)
    )
    source.config.save_pretrained(tmp_path)
    torch.save(source.state_dict(), tmp_path / 'pytorch_model.bin')
    with pytest.raises(OSError, match=r'safetensors'):
        HuggingFaceText(pretrained=str(tmp_path))


@kinds
@pytest.mark.parametrize('layers', [-1, 0, 2])
def test_frozen_layers(kind, layers):
    model = text_model(kind, frozen_layers=layers).train()
    for name, parameter in model.named_parameters():
        if 'embeddings' in name:
            free = layers < 0
        elif 'layer' in name and (number := _layer(name)) is not None:
            free = number >= layers
        else:
            free = True
        assert parameter.requires_grad == free, name
    stack = max(
        (m for m in model.modules() if isinstance(m, torch.nn.ModuleList)),
        key=len,
    )
    assert [m.training for m in stack] == [i >= layers for i in range(3)]
    assert model.training


def _layer(name):
    numbers = [int(part) for part in name.split('.') if part.isdigit()]
    return numbers[0] if numbers else None


def test_one_layer_can_be_frozen():
    cfg = TEXT_MODELS['bert'] | dict(num_hidden_layers=1)
    model = HuggingFaceText(config=cfg, frozen_layers=1)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('both', [True, False])
def test_one_of_two_sources(both):
    given = dict(pretrained='x', config=TEXT_MODELS['bert']) if both else {}
    with pytest.raises(ValueError, match='either pretrained'):
        HuggingFaceText(**given)


def test_marks_are_no_part_of_means_and_masks():
    """Begin and end marks are encoded, and then left out."""
    torch.manual_seed(0)
    text = dict(type='HuggingFaceText', config=TEXT_MODELS['clip_text'])
    model = MODELS.build(model_cfg(text=text)).eval()
    tokens = TokenBatch.from_lists(
        [[58, 3, 4, 59], [58, 5, 59]],
        [[False, True, True, False], [False, True, False]],
    )
    pairs = model(torch.randn(2, 3, 32, 32), tokens)
    assert pairs.token_mask.tolist() == [
        [False, True, True, False],
        [False, True, False, False],
    ]
    features = model.text(tokens)
    wanted = torch.stack([features[1:3].mean(0), features[5]])
    torch.testing.assert_close(pairs.text, model.text_adapter(wanted))


# vision

RESNET = dict(
    type='ResNet', depth=18, base_channels=8, stem_channels=8,
    out_indices=(1, 3),
)  # fmt: skip
NARROW = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 1, 1], channels=[8, 12, 16, 20]),
    gap_before_final_norm=False,
    out_indices=(0, 3),
)
backbones = pytest.mark.parametrize(
    ('backbone', 'widths'),
    [(RESNET, [16, 64]), (NARROW, [8, 20])],
    ids=['resnet', 'convnext'],
)


@backbones
@pytest.mark.parametrize('index', [0, -1])
def test_feature_maps_become_patches(backbone, widths, index):
    torch.manual_seed(0)
    model = MMPretrainVision(backbone, out_index=index).eval()
    assert model.embed_dims == widths[index]
    images = torch.randn(2, 3, 64, 96)
    features = model.forward_patches(images)
    (rows, columns) = features.grid
    assert columns == 1.5 * rows
    assert features.values.shape == (2, rows * columns, widths[index])
    assert features.kept is None
    wanted = model.backbone(images)[index]
    for patch in (0, columns, rows * columns - 1):
        torch.testing.assert_close(
            features.values[:, patch],
            wanted[:, :, patch // columns, patch % columns],
        )


@pytest.mark.parametrize('frozen', [True, False])
def test_freezing_keeps_statistics_and_weights(frozen):
    torch.manual_seed(0)
    model = MMPretrainVision(RESNET, frozen=frozen)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    assert model.training
    assert model.backbone.training != frozen
    output = model.forward_patches(torch.randn(4, 3, 64, 64)).values
    assert output.requires_grad != frozen
    after = model.state_dict()
    moved = [k for k in after if not torch.equal(after[k], before[k])]
    assert bool(moved) != frozen
    assert all(p.requires_grad != frozen for p in model.parameters())


def test_probing_leaves_no_trace():
    model = MMPretrainVision(RESNET)
    assert model.backbone.training
    means = [v for k, v in model.state_dict().items() if 'running_mean' in k]
    assert means
    assert not any(mean.any() for mean in means)


@pytest.mark.parametrize('prefix', [None, 'backbone.'])
def test_weights_loaded_stay_when_the_rest_is_drawn(tmp_path, prefix):
    torch.manual_seed(5)
    source = ResNet(**{k: v for k, v in RESNET.items() if k != 'type'})
    path = tmp_path / 'x.safetensors'
    state = {(prefix or '') + k: v for k, v in source.state_dict().items()}
    save_file(state, path)
    cfg = dict(
        type='MMPretrainVision',
        backbone=RESNET,
        checkpoint=str(path),
        prefix=prefix,
    )
    model = MODELS.build(model_cfg(vision=cfg))
    assert_same(model.vision.backbone.state_dict(), source.state_dict())
    model.init_weights()  # as the runner does
    assert_same(model.vision.backbone.state_dict(), source.state_dict())


def test_without_a_checkpoint_the_backbone_draws_its_own():
    model = MMPretrainVision(RESNET)
    with torch.no_grad():
        model.backbone.conv1.weight.zero_()
    model.init_weights()
    assert model.backbone.conv1.weight.any()


def test_weights_that_do_not_fit(tmp_path):
    save_file({'conv1.weight': torch.ones(1)}, tmp_path / 'x.safetensors')
    with pytest.raises(WeightsError, match='do not fit ResNet'):
        MMPretrainVision(RESNET, checkpoint=str(tmp_path / 'x.safetensors'))


@pytest.mark.parametrize(
    ('backbone', 'index'),
    [
        (RESNET, 2),
        (
            dict(
                type='VisionTransformer',
                arch=dict(
                    embed_dims=16,
                    num_layers=1,
                    num_heads=2,
                    feedforward_channels=16,
                ),
                img_size=64,
            ),
            -1,
        ),
    ],
)
def test_no_feature_map_there(backbone, index):
    with pytest.raises(ValueError, match='has no .B, C, H, W. feature map'):
        MMPretrainVision(backbone, out_index=index)


@backbones
def test_the_portable_config_has_no_paths(backbone, widths, tmp_path):
    init_cfg = dict(type='Pretrained', checkpoint='gone.pth')
    torch.manual_seed(0)
    model = MMPretrainVision(backbone | dict(init_cfg=init_cfg), 0).eval()
    cfg = model.portable_cfg()
    assert 'gone.pth' not in str(cfg)
    twin = MODELS.build(cfg).eval()
    twin.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(
        twin.forward_patches(images).values,
        model.forward_patches(images).values,
    )
