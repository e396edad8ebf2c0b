"""The text of a config is laid out once for each of its contents."""

from __future__ import annotations

import mmengine.config.config as configs
import pytest
from mmengine.config import Config
from yapf.yapflib.yapf_api import FormatCode

from sparc_vlm.compat import config_text


@pytest.fixture
def laid_out(monkeypatch):
    """The texts that the formatter was called for; it is the real one."""
    texts = []

    def lay_out(text, **settings):
        texts.append(text)
        return FormatCode(text, **settings)

    monkeypatch.setattr(configs, 'FormatCode', lay_out)
    config_text.install()
    return texts


def test_once_for_each_content(laid_out):
    config = Config(dict(model=dict(type='A', sizes=[1, 2])))
    first = config.pretty_text
    assert config.pretty_text == first
    assert first.startswith('model = dict(')
    assert len(laid_out) == 1


def test_a_change_is_laid_out_anew(laid_out):
    config = Config(dict(model=dict(type='A')))
    before = config.pretty_text
    config.model.type = 'B'
    assert config.pretty_text == before.replace("'A'", "'B'")
    assert len(laid_out) == 2


def test_put_in_place_twice_remembers_once(laid_out):
    kept = configs.FormatCode
    config_text.install()
    assert configs.FormatCode is kept


def test_other_settings_are_other_texts(laid_out):
    wide = configs.FormatCode('a = [1,2]\n', style_config={'column_limit': 79})
    tall = configs.FormatCode('a = [1,2]\n', style_config={'column_limit': 5})
    assert wide != tall
    assert laid_out == ['a = [1,2]\n'] * 2
