"""SparcViT against mmpretrain's own transformer, and what it adds."""

from __future__ import annotations

import mmdet.models  # noqa: F401
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones import VisionTransformer
from safetensors.torch import save_file
from torch.nn import functional as F

from sparc_vlm.models import SparcViT
from sparc_vlm.weights import WeightsError
from tests.test_models.tiny_models import ARCH, assert_same, build, gradients


def vit(**changes):
    cfg = dict(type='SparcViT', arch=ARCH, img_size=32, patch_size=8)
    return build(cfg | changes).double()


def mmpretrains(**changes):
    cfg = dict(arch=ARCH, img_size=32, patch_size=8, out_type='raw')
    torch.manual_seed(1)
    model = VisionTransformer(**dict(with_cls_token=False) | cfg | changes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.double()


def images(height=32, width=32, count=2):
    torch.manual_seed(7)
    return torch.randn(count, 3, height, width, dtype=torch.float64)


# forward


def test_shapes_of_both_ways_out():
    model = vit(out_indices=(0, -1))
    maps = model(images())
    assert [tuple(m.shape) for m in maps] == [(2, 16, 4, 4)] * 2
    features = model.forward_patches(images())
    assert features.values.shape == (2, 16, 16)
    assert (features.grid, features.kept) == ((4, 4), None)
    last = features.values.transpose(1, 2).view(2, 16, 4, 4)
    torch.testing.assert_close(maps[1], last)
    assert not torch.allclose(maps[0], last)


@pytest.mark.parametrize('indices', [-1, 2, [0, 2], (-3, -1), (-2,)])
def test_chosen_layers(indices):
    chosen = [indices] if isinstance(indices, int) else indices
    every = vit(out_indices=(0, 1, 2))(images())
    maps = vit(out_indices=indices)(images())
    assert len(maps) == len(chosen)
    for output, index in zip(maps, chosen, strict=True):
        torch.testing.assert_close(output, every[index])


@pytest.mark.parametrize('size', [(32, 32), (48, 32), (24, 64), (16, 16)])
def test_the_matrix_product_is_the_convolution(size):
    model = vit()
    with torch.no_grad():
        model.pos_embed.zero_()
    pixels = images(*size)
    tokens, grid = model._embed(pixels)
    wanted, wanted_grid = model.patch_embed(pixels)
    assert grid == tuple(wanted_grid)
    torch.testing.assert_close(tokens, wanted)


@pytest.mark.parametrize(
    ('changes', 'size'),
    [
        (dict(), (32, 32)),
        (dict(), (48, 40)),
        (dict(), (30, 37)),
        (dict(img_size=(24, 40)), (24, 40)),
        (dict(img_size=(24, 40)), (40, 24)),
        (dict(patch_size=16), (32, 32)),
        (dict(pre_norm=True), (32, 32)),
        (dict(final_norm=False), (32, 32)),
        (dict(layer_scale_init_value=0.1), (32, 32)),
        (dict(interpolate_mode='bilinear'), (64, 64)),
    ],
)
def test_agrees_with_mmpretrain(changes, size):
    """Values and gradients; the same weights load as they are."""
    theirs = mmpretrains(**changes)
    ours = vit(**changes)
    ours.load_state_dict(theirs.state_dict())
    pixels = images(*size)
    # dimensions of the resized positions are float32 in both
    (wanted,) = theirs(pixels)
    features = ours.forward_patches(pixels)
    torch.testing.assert_close(features.values, wanted)
    assert features.grid == (
        -(-size[0] // theirs.patch_embed.projection.stride[0]),
        -(-size[1] // theirs.patch_embed.projection.stride[0]),
    )
    assert_same(
        gradients(ours, features.values.pow(2).sum()),
        gradients(theirs, wanted.pow(2).sum()),
    )


def test_odd_sizes_are_padded_below_and_to_the_right():
    model = vit()
    pixels = images(27, 33)
    whole = F.pad(pixels, (0, 7, 0, 5))
    output = model.forward_patches(pixels)
    assert output.grid == (4, 5)
    torch.testing.assert_close(
        output.values, model.forward_patches(whole).values
    )


@pytest.mark.parametrize(
    ('name', 'millions'),
    [('tiny', 5.5), ('small', 21.7), ('base', 85.8)],
)
def test_named_architectures_have_their_sizes(name, millions):
    with torch.device('meta'):
        model = SparcViT(name)
    count = sum(p.numel() for p in model.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='huge'), 'arch must be one of'),
        (dict(patch_drop_rate=1.0), 'patch_drop_rate must be in'),
        (dict(patch_drop_rate=-0.1), 'patch_drop_rate must be in'),
        (dict(out_indices=3), 'below the 3 layers'),
        (dict(patch_cfg=dict(stride=4)), 'plain tiles'),
        (dict(patch_cfg=dict(norm_cfg=dict(type='LN'))), 'plain tiles'),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        vit(**changes)


# loading


def test_a_class_token_is_left_out_on_loading():
    theirs = mmpretrains(with_cls_token=True)
    ours = vit()
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours.pos_embed, theirs.pos_embed[:, 1:])


@pytest.mark.parametrize('with_token', [False, True])
@pytest.mark.parametrize('size', [48, (40, 16), (16, 24), (32, 16)])
def test_positions_are_resized_to_the_own_grid(with_token, size):
    """(40, 16) has 3 x 3 + 1 patches, (16, 24) one less than the loaded."""
    side = 24 if size == (40, 16) else 32
    theirs = mmpretrains(with_cls_token=with_token, img_size=side)
    ours = vit(img_size=size)
    ours.load_state_dict(theirs.state_dict())
    loaded = theirs.pos_embed[:, int(with_token) :]
    grid = side // 8
    square = loaded.transpose(1, 2).view(1, 16, grid, grid).float()
    wanted = F.interpolate(square, ours.patch_resolution, mode='bicubic')
    wanted = wanted.flatten(2).transpose(1, 2).double()
    torch.testing.assert_close(ours.pos_embed.data, wanted)


def test_as_many_positions_are_taken_to_be_of_the_own_grid():
    """The same number may be of another grid: weights do not say."""
    square, wide = vit(img_size=32), vit(img_size=(16, 64))
    assert wide.patch_resolution == (2, 8)
    wide.load_state_dict(square.state_dict())
    assert torch.equal(wide.pos_embed, square.pos_embed)
    own = vit(img_size=(16, 64))
    own.load_state_dict(wide.state_dict())
    assert torch.equal(own.pos_embed, wide.pos_embed)


@pytest.mark.parametrize('is_named', [True, False])
def test_a_class_token_beside_an_oblong_grid(is_named):
    theirs = mmpretrains(with_cls_token=True, img_size=(16, 24))
    ours = vit(img_size=(16, 24))
    state = theirs.state_dict()
    if not is_named:  # as where only its position is left
        del state['cls_token']
    ours.load_state_dict(state)
    torch.testing.assert_close(ours.pos_embed, theirs.pos_embed[:, 1:])


@pytest.mark.parametrize('size', [(40, 16), (16, 24), (24, 24), 32])
def test_own_weights_load_unchanged(size):
    """10 = 3 x 3 + 1 oblong positions are no class token and nine others."""
    ours, others = vit(img_size=size), vit(img_size=size)
    with torch.no_grad():
        others.pos_embed.zero_()
    others.load_state_dict(ours.state_dict())
    assert_same(others.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_positions_of_an_oblong_grid_cannot_be_guessed():
    with pytest.raises(ValueError, match='do not make a square grid'):
        vit().load_state_dict(vit(img_size=(16, 24)).state_dict())


@pytest.mark.parametrize('kind', ['pth', 'safetensors', 'folder', 'plain'])
def test_pretrained_weights_by_init_cfg(tmp_path, kind):
    source = vit().float()
    state = {f'vision.{k}': v for k, v in source.state_dict().items()}
    state['log_scale'] = torch.ones(())
    prefix = 'vision.'
    path = tmp_path / 'x.safetensors'
    if kind == 'pth':
        path = tmp_path / 'x.pth'
        torch.save(dict(state_dict=state, meta=dict(iter=3)), path)
    elif kind == 'folder':
        path = tmp_path
        save_file(state, tmp_path / 'model.safetensors')
    elif kind == 'safetensors':
        save_file(state, path)
    else:
        prefix = None
        save_file(source.state_dict(), path)
    target = SparcViT(
        ARCH,
        32,
        8,
        init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix=prefix),
    )
    target.init_weights()
    assert_same(target.state_dict(), source.state_dict(), rtol=0, atol=0)
    # a second call, as of a detector that holds it, changes nothing
    target.init_weights()
    assert_same(target.state_dict(), source.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize('change', ['missing', 'unexpected', 'shape'])
def test_pretrained_weights_that_do_not_fit(tmp_path, change):
    state = {f'vision.{k}': v for k, v in vit().float().state_dict().items()}
    if change == 'missing':
        del state['vision.ln1.bias']
    elif change == 'unexpected':
        state['vision.more'] = torch.ones(1)
    else:
        state['vision.ln1.bias'] = torch.ones(4)
    save_file(state, tmp_path / 'x.safetensors')
    model = SparcViT(
        ARCH,
        32,
        8,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=str(tmp_path / 'x.safetensors'),
            prefix='vision.',
        ),
    )
    with pytest.raises(WeightsError, match='do not fit SparcViT') as error:
        model.init_weights()
    assert '\n' not in str(error.value)
    assert ('more' if change == 'unexpected' else 'ln1.bias') in str(
        error.value
    )


def test_a_prefix_that_is_not_there(tmp_path):
    save_file(vit().float().state_dict(), tmp_path / 'x.safetensors')
    model = SparcViT(
        ARCH,
        32,
        8,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=str(tmp_path / 'x.safetensors'),
            prefix='vision.',
        ),
    )
    with pytest.raises(WeightsError, match="no key begins with 'vision.'"):
        model.init_weights()


def test_random_weights_differ_and_positions_are_not_zero():
    model = SparcViT(ARCH, 32, 8)
    hidden = model.layers[0].ffn.layers[0][0].weight
    before = hidden.detach().clone()
    model.init_weights()
    assert model.pos_embed.detach().std() == pytest.approx(0.02, rel=0.2)
    assert not torch.equal(before, hidden)


# training


@pytest.mark.parametrize('stages', [-1, 0, 1, 3])
def test_frozen_stages(stages):
    model = vit(
        frozen_stages=stages, drop_rate=0.5, drop_path_rate=0.5, pre_norm=True
    ).train()
    frozen = {'patch_embed', 'pre_norm', 'pos_embed'} if stages >= 0 else set()
    frozen |= {f'layers.{i}' for i in range(max(stages, 0))}
    frozen |= {'ln1'} if stages == 3 else set()
    for name, parameter in model.named_parameters():
        inside = any(name.startswith(part) for part in frozen)
        assert parameter.requires_grad == (not inside), name
    for index, layer in enumerate(model.layers):
        assert layer.training == (index >= stages)
        assert layer.attn.out_drop.training == (index >= stages)
    assert model.drop_after_pos.training == (stages < 0)
    if stages < 3:
        grads = gradients(model, model(images())[0].pow(2).sum())
        assert any(name.startswith('layers.2.') for name in grads)
        assert all(not n.startswith(tuple(frozen)) for n in grads if frozen)


def test_a_frozen_model_is_still_deterministic_in_training():
    model = vit(frozen_stages=3, drop_rate=0.5, drop_path_rate=0.5).train()
    torch.testing.assert_close(model(images()), model(images()))


def test_checkpointing_gives_the_same_gradients():
    plain, recomputed = vit().train(), vit(with_cp=True).train()
    weights = images()
    output, again = plain(weights)[0], recomputed(weights)[0]
    torch.testing.assert_close(output, again)
    assert_same(
        gradients(plain, output.pow(2).sum()),
        gradients(recomputed, again.pow(2).sum()),
    )


def test_checkpointing_recomputes():
    model = vit(with_cp=True).train()
    calls = []
    model.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
    output = model(images())[0]
    assert len(calls) == 1
    output.sum().backward()
    assert len(calls) == 2


@pytest.mark.parametrize(('rate', 'left'), [(0.5, 8), (0.3, 11), (0.99, 1)])
def test_patch_dropout(rate, left):
    model = vit(patch_drop_rate=rate).train()
    pixels = images(count=6)
    features = model.forward_patches(pixels)
    assert features.values.shape == (6, left, 16)
    assert features.grid == (4, 4)
    kept = features.kept
    assert kept.shape == (6, left)
    assert (kept.diff(dim=1) > 0).all(), 'in reading order, none twice'
    assert kept.min() >= 0
    assert kept.max() < 16
    assert len({tuple(row) for row in kept.tolist()}) > 1
    if left > 1:
        again = model.forward_patches(pixels).kept
        assert not torch.equal(kept, again)


def test_dropped_patches_are_as_if_they_had_never_been():
    model = vit(patch_drop_rate=0.5).train()
    pixels = images()
    features = model.forward_patches(pixels)
    tokens, _ = model._embed(pixels)
    for image, kept in enumerate(features.kept):
        alone = tokens[image : image + 1, kept]
        for output in model._run_layers(alone):
            alone = output
        torch.testing.assert_close(features.values[image], alone[0])


def test_patch_dropout_is_off_outside_training():
    model = vit(patch_drop_rate=0.5).eval()
    features = model.forward_patches(images())
    assert features.kept is None
    torch.testing.assert_close(
        features.values, vit().forward_patches(images()).values
    )
    # detectors' feature maps stay whole even in training
    assert model.train()(images())[0].shape == (2, 16, 4, 4)


def test_bf16_autocast_is_close():
    model = vit().float()
    pixels = images().float()
    wanted = model.forward_patches(pixels).values
    with torch.autocast('cpu', torch.bfloat16):
        values = model.forward_patches(pixels).values
    error = (values.float() - wanted).norm() / wanted.norm()
    assert error < 0.03


# mmdet


def test_builds_from_mmdets_registry():
    model = MMDET_MODELS.build(
        dict(type='sparc_vlm.SparcViT', arch=ARCH, img_size=32, patch_size=8)
    )
    assert type(model) is SparcViT
    assert model(torch.zeros(1, 3, 32, 32))[0].shape == (1, 16, 4, 4)


def retina(checkpoint):
    return dict(
        type='RetinaNet',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=8),
        backbone=dict(
            type='sparc_vlm.SparcViT',
            arch=ARCH,
            img_size=32,
            patch_size=8,
            out_indices=(0, -1),
            frozen_stages=1,
            init_cfg=dict(
                type='Pretrained', checkpoint=checkpoint, prefix='vision.'
            ),
        ),
        neck=None,
        bbox_head=dict(
            type='RetinaHead',
            num_classes=2,
            in_channels=16,
            stacked_convs=1,
            feat_channels=8,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[8, 8],
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss'),
        ),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.4,
                min_pos_iou=0,
            ),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=20,
            min_bbox_size=0,
            score_thr=0.0,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=5,
        ),
    )


def test_runs_under_a_detector_of_mmdet(tmp_path):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    source = vit().float()
    save_file(
        {f'vision.{k}': v for k, v in source.state_dict().items()},
        tmp_path / 'model.safetensors',
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MMDET_MODELS.build(ConfigDict(retina(str(tmp_path))))
        model.init_weights()
        assert_same(
            model.backbone.state_dict(), source.state_dict(), rtol=0, atol=0
        )
        sample = DetDataSample()
        sample.set_metainfo(
            dict(
                img_shape=(40, 48),
                pad_shape=(40, 48),
                batch_input_shape=(40, 48),
                ori_shape=(40, 48),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[2.0, 2.0, 30.0, 30.0]]),
            labels=torch.tensor([1]),
        )
        batch = torch.randn(1, 3, 40, 48)
        losses = model.train().loss(batch, [sample])
        total = sum(sum(values) for values in losses.values())
        grads = gradients(model, total)
        assert any(n.startswith('backbone.layers.2') for n in grads)
        assert not any(n.startswith('backbone.layers.0') for n in grads)
        with torch.no_grad():
            (result,) = model.eval().predict(batch, [sample])
    assert 0 < len(result.pred_instances) <= 5
