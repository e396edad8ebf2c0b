import pytest
from mmengine.config import Config

from sparc_vlm.engine import precision
from sparc_vlm.engine.precision import computes_bfloat16, fit_precision


@pytest.fixture(params=[True, False])
def native(request, monkeypatch):
    monkeypatch.setattr(precision, 'computes_bfloat16', lambda: request.param)
    return request.param


def recipe(dtype='bfloat16'):
    return Config(dict(optim_wrapper=dict(dtype=dtype)))


def test_bfloat16_stays_where_the_machine_computes_in_it(native):
    cfg = recipe()
    lines = fit_precision(cfg)
    assert cfg.optim_wrapper.dtype == ('bfloat16' if native else None)
    assert len(lines) == (not native)
    assert native or 'optim_wrapper.dtype=bfloat16' in lines[0]


def test_what_was_asked_for_stays(native):
    cfg = recipe()
    assert fit_precision(cfg, asked=True) == []
    assert cfg.optim_wrapper.dtype == 'bfloat16'


@pytest.mark.parametrize('dtype', [None, 'float16'])
def test_other_types_stay(native, dtype):
    cfg = recipe(dtype)
    assert fit_precision(cfg) == []
    assert cfg.optim_wrapper.dtype == dtype


def test_a_config_that_only_evaluates(native):
    assert fit_precision(Config(dict(model=dict(type='A')))) == []


def test_the_machine_is_asked():
    assert computes_bfloat16() in (True, False)
