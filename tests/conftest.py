"""What every test needs: no network, few threads, a look at the log."""

from __future__ import annotations

import logging
import os

# before transformers is imported, which reads them once
os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TRANSFORMERS_OFFLINE'] = '1'
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
os.environ.setdefault('MPLBACKEND', 'Agg')

# tiny tensors: more threads only wait for each other
os.environ.setdefault(
    'OMP_NUM_THREADS',
    '1' if 'PYTEST_XDIST_WORKER' in os.environ else '2',
)

import pytest
from mmengine.config import config as mmengine_config
from mmengine.logging import MMLogger
from yapf.yapflib.yapf_api import FormatCode

# before any test imports mmcv, whose ops it may stand in for
import sparc_vlm  # noqa: F401


@pytest.fixture
def log():
    """The lines that mmengine's logger writes during the test."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    logger, handler = MMLogger.get_current_instance(), Keep()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def unformatted(monkeypatch):
    """Texts of configs as they are: yapf takes up to seconds over each.

    Processes that a test starts lay theirs out as a user's do, and a test
    that takes `laid_out` does.
    """
    monkeypatch.setattr(
        mmengine_config, 'FormatCode', lambda text, **_: (text, True)
    )


@pytest.fixture
def laid_out(unformatted, monkeypatch):
    """Texts of configs as a user sees them."""
    monkeypatch.setattr(mmengine_config, 'FormatCode', FormatCode)
