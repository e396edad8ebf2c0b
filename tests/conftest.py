"""What every test needs: no network, few threads, a look at the log."""

from __future__ import annotations

import logging
import os

# before transformers is imported, which reads them once
os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TRANSFORMERS_OFFLINE'] = '1'
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
os.environ.setdefault('MPLBACKEND', 'Agg')

WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
# tiny tensors: more threads only wait for each other
THREADS = max(1, min(2, os.cpu_count() or 1) // WORKERS)
if WORKERS > 1:
    # before torch is imported, and for the processes that tests start
    os.environ.setdefault('OMP_NUM_THREADS', str(THREADS))

import pytest
import torch
from mmengine.logging import MMLogger

# before any test imports mmcv, whose ops it may stand in for
import sparc_vlm  # noqa: F401

if 'OMP_NUM_THREADS' not in os.environ:
    torch.set_num_threads(THREADS)


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
