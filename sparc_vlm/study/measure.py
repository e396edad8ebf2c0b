"""Runs a task on a model, and keeps what it found so that it is done once.

A sheet holds the numbers, the samples behind them, and what they were made
with; it is taken as it is as long as that stays the same.
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import torch

import sparc_vlm
from sparc_vlm.engine.versions import versions
from sparc_vlm.evaluation.task import Progress, Task
from sparc_vlm.files import atomic_file
from sparc_vlm.study.arm import set_aside
from sparc_vlm.study.memory import peak_memory

Sheet = dict[str, Any]
DIGITS = 6
"""Significant digits of a sample's numbers in a file."""


def measure(task: Task, model: Any, progress: Progress | None = None) -> Sheet:
    """What a task finds, how long it takes and how much memory.

    Args:
        task: Any task.
        model: Has `encode_image` and `encode_text`.
        progress: Told after each chunk how far it has come.

    Returns:
        The task's result as plain values, with `type` of the task,
        `seconds`, `peak_bytes` (None where the system does not tell),
        `device` and `versions`.
    """
    device = device_of(model)
    start = time.perf_counter()
    with torch.no_grad(), peak_memory(device) as peak:
        result = task.run(model, progress)
    return {
        **result.to_json(),
        'type': type(task).__name__,
        'seconds': time.perf_counter() - start,
        'peak_bytes': peak.bytes,
        'device': str(device),
        'versions': versions(),
    }


def device_of(model: Any) -> torch.device:
    """Where a model computes; a model without weights is on the CPU."""
    parameters = getattr(model, 'parameters', None)
    first = next(iter(parameters()), None) if parameters else None
    return torch.device('cpu') if first is None else first.device


def evaluation_settings(
    config: dict[str, Any], weights: str
) -> dict[str, Any]:
    """What decides a sheet, to tell whether it is there already.

    Args:
        config: Of the task.
        weights: What `fingerprint` returned, or the name of a model.
    """
    plain = json.loads(json.dumps(config, default=str))
    return {
        'task': plain,
        'weights': weights,
        'version': sparc_vlm.__version__,
    }


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Writes a sheet, numbers cut to `DIGITS` digits; '.gz' compresses.

    Args:
        path: Where to; what stands there is replaced.
        sheet: What `measure` returned, or more.
    """
    text = json.dumps(_short(sheet), separators=(',', ':'), indent=None)
    data = text.encode()
    if path.suffix == '.gz':
        data = gzip.compress(data, mtime=0)
    with atomic_file(path) as file:
        file.write(data)


def read_sheet(
    path: Path, settings: dict[str, Any] | None = None
) -> Sheet | None:
    """A sheet that was made with these settings.

    Args:
        path: Where it is.
        settings: What it must have been made with; None takes any.

    Returns:
        None where there is none, or it was made with others; these are set
        aside.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == '.gz' else data
        sheet = json.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError):
        sheet = {}  # damaged: as good as of other settings
    if settings is None:
        return sheet or None
    if sheet.get('settings') != settings:
        set_aside(path)
        return None
    return sheet


def _short(value: Any) -> Any:
    """Plain values with short numbers; metrics keep all their digits."""
    if isinstance(value, float):
        return float(f'{value:.{DIGITS}g}')
    if isinstance(value, list):
        return [_short(part) for part in value]
    if isinstance(value, dict):
        exact = ('metrics', 'chance', 'settings')
        return {
            key: part if key in exact else _short(part)
            for key, part in value.items()
        }
    return value
