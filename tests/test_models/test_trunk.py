"""A trunk under layers: what is trained, and what it may be handed."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS as MMDET
from mmengine.registry import DefaultScope
from safetensors.torch import save_file

from sparc_vlm.models import TrunkWithLayers
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import WeightsError
from tests.test_models.test_pretrained import RESNET
from tests.test_models.tiny_models import (
    ARCH,
    VIT,
    assert_same,
    captions,
    gradients,
    model_cfg,
)

TRUNK = dict(type='MMPretrainVision', backbone=RESNET, out_index=0)
VISION = dict(type='TrunkWithLayers', trunk=TRUNK, arch=ARCH, img_size=32)


def encoder(seed=0, **changes) -> TrunkWithLayers:
    torch.manual_seed(seed)
    return MODELS.build(VISION | changes)


def images(count=3, size=32):
    torch.manual_seed(1)
    return torch.randn(count, 3, size, size)


def test_layers_see_the_cells_of_the_map():
    model = encoder().eval()
    assert model.map_shape == (16, 4, 4)
    assert model.embed_dims == 16
    features = model.forward_patches(images())
    assert features.values.shape == (3, 16, 16)
    assert features.grid == (4, 4)
    maps = model.trunk.backbone(images())[0]
    wanted = model.layers.forward_patches(maps)
    torch.testing.assert_close(features.values, wanted.values)


@pytest.mark.parametrize('trunk', [TRUNK, VIT], ids=['resnet', 'vit'])
def test_maps_in_place_of_pictures(trunk):
    model = encoder(trunk=trunk).eval()
    maps = model.trunk_maps(images())
    torch.testing.assert_close(
        model.forward_patches(maps.half()).values,
        model.forward_patches(images()).values,
        rtol=5e-3,
        atol=5e-3,
    )
    torch.testing.assert_close(
        model.forward_patches(maps).values,
        model.forward_patches(images()).values,
    )


def test_a_detector_gets_maps_of_the_chosen_layers():
    model = encoder(out_indices=[0, -1]).eval()
    first, last = model(images())
    assert first.shape == last.shape == (3, 16, 4, 4)
    features = model.forward_patches(images())
    torch.testing.assert_close(
        last.flatten(2).transpose(1, 2), features.values
    )
    assert not torch.allclose(first, last)
    for found, wanted in zip(
        model(model.trunk_maps(images())), (first, last), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_depths_begin_behind_the_trunk():
    model, prefix = encoder(), 'backbone.'
    depths = {
        name: model.get_layer_depth(prefix + name, prefix)
        for name, _ in model.named_parameters()
    }
    end = len(model.layers.layers) + 1
    assert {count for _, count in depths.values()} == {end + 1}
    for name, (depth, _) in depths.items():
        if name.startswith(('trunk.', 'layers.patch_embed', 'layers.pos')):
            assert depth == 0, name
        elif name.startswith('layers.layers.'):
            assert depth == 1 + int(name.split('.')[2]), name
        else:
            assert (name.split('.')[1], depth) == ('ln1', end)
    assert model.get_layer_depth('neck.weight', prefix) == (end, end + 1)


def saved(folder, model):
    """A file of a whole model that has this encoder."""
    path = folder / 'whole.safetensors'
    state = {f'vision.{k}': v for k, v in model.state_dict().items()}
    save_file(state | {'text.weight': torch.ones(1)}, path)
    return dict(type='Pretrained', checkpoint=str(path), prefix='vision.')


def test_both_parts_start_from_one_checkpoint(tmp_path):
    source = encoder(seed=3)
    start = saved(tmp_path, source)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MMDET.build(
            dict(VISION, type='sparc_vlm.TrunkWithLayers', init_cfg=start)
        )
    model.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert 'init_cfg' not in model.portable_cfg()
    with pytest.raises(WeightsError, match='do not fit TrunkWithLayers'):
        encoder(arch=ARCH | dict(num_layers=1), init_cfg=start).init_weights()


def test_no_checkpoint_leaves_each_part_to_itself():
    model = encoder(init_cfg=dict(type='Pretrained', checkpoint=None))
    model.layers.pos_embed.data.zero_()
    model.init_weights()
    assert model.layers.pos_embed.any()
    with pytest.raises(ValueError, match="'Pretrained' alone"):
        encoder(init_cfg=dict(type='Xavier'))


def test_other_sizes():
    model = encoder().eval()
    assert model.forward_patches(images(size=64)).grid == (8, 8)


@pytest.mark.parametrize('frozen', [True, False])
def test_what_is_trained(frozen):
    model = encoder(frozen=frozen).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loss = model.forward_patches(images()).values.pow(2).mean()
    found = gradients(model, loss)
    own = {n for n, _ in model.layers.named_parameters(prefix='layers')}
    assert own <= set(found)
    assert all(found[name].any() for name in own - {'layers.ln1.bias'})
    trunk = set(found) - own
    assert bool(trunk) != frozen
    assert any(found[name].any() for name in trunk) != frozen
    assert model.trunk.training != frozen
    after = model.state_dict()
    moved = [k for k in after if not torch.equal(after[k], before[k])]
    assert bool(moved) != frozen  # normalisation statistics


def test_a_frozen_trunk_runs_in_full_precision():
    """So that what is computed is what was kept, under any optimizer."""
    frozen, free = encoder(), encoder(frozen=False)
    free.load_state_dict(frozen.state_dict())
    wanted = frozen.trunk_maps(images())
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(frozen.trunk_maps(images()), wanted)
        assert free.eval().trunk_maps(images()).dtype == torch.bfloat16
        assert torch.isfinite(frozen.forward_patches(wanted).values).all()


class Known:
    def __init__(self, maps):
        self.maps = maps
        self.asked = 0

    def find(self, images):
        self.asked += 1
        return list(self.maps)


def test_known_pictures_are_looked_up_and_others_computed():
    model = encoder().eval()
    maps = model.trunk_maps(images())
    model.known = Known([maps[0].half(), None, maps[2].half() * 0])
    found = model.forward_patches(images()).values
    wanted = model.layers.forward_patches(maps).values
    torch.testing.assert_close(found[:2], wanted[:2], rtol=5e-3, atol=5e-3)
    assert not torch.allclose(found[2], wanted[2], atol=0.1)
    model.train()
    model.forward_patches(images())
    assert model.known.asked == 1


def test_maps_where_they_do_not_belong():
    maps = torch.zeros(1, 16, 4, 4)
    with pytest.raises(ValueError, match='trunk that is being trained'):
        encoder(frozen=False).forward_patches(maps)
    with pytest.raises(ValueError, match='feature maps of 16, got 5'):
        encoder().forward_patches(maps[:, :5])


def test_weights_are_drawn_anew_in_both_parts():
    model = encoder()
    with torch.no_grad():
        model.trunk.backbone.conv1.weight.zero_()
        model.layers.pos_embed.zero_()
    model.init_weights()
    assert model.trunk.backbone.conv1.weight.any()
    assert model.layers.pos_embed.any()


@pytest.mark.parametrize('trunk', [TRUNK, VIT], ids=['resnet', 'vit'])
def test_the_portable_config_has_no_paths(trunk):
    lost = dict(type='Pretrained', checkpoint='gone.pth')
    trunk = dict(trunk)
    if trunk['type'] == 'SparcViT':
        trunk['init_cfg'] = lost
    else:
        trunk['backbone'] = dict(trunk['backbone'], init_cfg=lost)
    model = encoder(trunk=trunk, patch_drop_rate=0.5).eval()
    cfg = model.portable_cfg()
    assert 'gone.pth' not in str(cfg)
    twin = MODELS.build(cfg).eval()
    assert twin.layers.patch_drop_rate == 0.5
    twin.load_state_dict(model.state_dict())
    assert torch.equal(
        twin.forward_patches(images()).values,
        model.forward_patches(images()).values,
    )


@pytest.mark.parametrize('micro_batch', [None, 2])
def test_in_the_pretrainer_maps_train_as_pictures_do(micro_batch):
    torch.manual_seed(0)
    cfg = model_cfg(vision=VISION, micro_batch=micro_batch)
    model = MODELS.build(cfg).train()
    tokens = captions([4, 3, 5])
    maps = model.vision.trunk_maps(images())
    found = []
    for given in (images(), maps):
        losses = model(given, tokens, mode='loss')
        total = sum(v for k, v in losses.items() if k.startswith('loss'))
        found.append(gradients(model, total))
    assert not any('trunk' in name for name in found[0])
    assert_same(*found, rtol=1e-4, atol=1e-6)
