"""What every test needs: no network, few threads, a look at the log."""

from __future__ import annotations

import logging
import os

# before transformers is imported, which reads them once
os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TRANSFORMERS_OFFLINE'] = '1'
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
os.environ.setdefault('MPLBACKEND', 'Agg')

import pytest
import torch
from mmengine.logging import MMLogger

# before any test imports mmcv, whose ops it may stand in for
import sparc_vlm  # noqa: F401

if 'OMP_NUM_THREADS' not in os.environ:
    # tiny tensors: more threads only wait for each other
    torch.set_num_threads(min(2, os.cpu_count() or 1))


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
