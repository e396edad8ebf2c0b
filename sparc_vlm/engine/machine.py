"""What a run was trained on, noted in its folder.

A recipe that asks for bfloat16 trains in float32 on a CPU without it, and a
run may go on elsewhere: who compares trainings must be able to see that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from sparc_vlm.engine.versions import versions
from sparc_vlm.files import write_json

NOTE = 'trained_on.json'


def note_machine(cfg: Config) -> None:
    """Notes precision, device and versions, unless the last note is alike.

    Args:
        cfg: Of the run, fitted to this machine; `work_dir` is there.
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    now = {
        'device': device.type if device else 'cpu',
        'precision': cfg.optim_wrapper.get('dtype') or 'float32',
        'versions': versions(),
    }
    noted = machines_of(cfg.work_dir)
    if now not in noted[-1:]:
        write_json(Path(cfg.work_dir) / NOTE, [*noted, now])


def machines_of(folder: str | Path) -> list[dict[str, Any]]:
    """What was noted of a run, the oldest first; empty if nothing was.

    Args:
        folder: Its work folder.
    """
    try:
        return json.loads((Path(folder) / NOTE).read_text('utf-8'))
    except (OSError, json.JSONDecodeError):
        return []
