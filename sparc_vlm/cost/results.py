"""Costs side by side: by objective and batch, ours and the paper's.

What the tool writes as JSON and what tables and figures read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from sparc_vlm.cost.update import Cost, Setting, update_costs
from sparc_vlm.engine.versions import versions
from sparc_vlm.files import write_json

PAPER = Path(__file__).with_name('paper_table11.json')
MEGABYTE = 10**6
TERA = 10**12
FIELDS = ('flops', 'peak', 'peak_phase', 'kept')


class Point(NamedTuple):
    """One cell of the paper's table 11.

    Attributes:
        tflops: 10^12 floating-point operations of an update on one device.
        megabytes: Peak memory of one device.
    """

    tflops: float
    megabytes: float


@dataclass(frozen=True)
class Line:
    """One objective at one batch.

    Attributes:
        objective: What the table calls it.
        config: The config's name.
        batch_size: Pairs of an update, over all devices.
        ours: As this project computes it.
        one_shot: All pairs of the batch at once, as the paper computed them;
            the same as `ours` where an objective compares no patches across
            pairs.
        paper: The paper's own numbers, where it has them for this model.
    """

    objective: str
    config: str
    batch_size: int
    ours: Cost
    one_shot: Cost
    paper: Point | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Line:
        """What `to_json` gave.

        Args:
            value: Plain values.
        """
        costs = {
            way: Cost(**{k: v for k, v in value[way].items() if k in FIELDS})
            for way in ('ours', 'one_shot')
        }
        said = value['paper'] and Point(**value['paper'])
        return cls(**{**value, **costs, 'paper': said})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            'objective': self.objective,
            'config': self.config,
            'batch_size': self.batch_size,
            'ours': self.ours.to_json(),
            'one_shot': self.one_shot.to_json(),
            'paper': self.paper and self.paper._asdict(),
        }


def point(cost: Cost) -> Point:
    """A cost in the table's units."""
    return Point(cost.flops / TERA, cost.peak_bytes / MEGABYTE)


@cache
def paper_table() -> dict[str, dict[int, Point]]:
    """The paper's table 11: by objective and batch size."""
    table = json.loads(PAPER.read_text())['objectives']
    return {
        name: {batch: Point(*numbers) for batch, *numbers in rows}
        for name, rows in table.items()
    }


def cost_line(cfg: Config, path: str, name: str, setting: Setting) -> Line:
    """Counts one config at one batch.

    Args:
        cfg: A pretraining config.
        path: Its file.
        name: What the table calls its objective.
        setting: Batch, devices, captions, precision.

    Raises:
        ValueError: As `update_costs`.
    """
    ours, one_shot = update_costs(cfg, setting)
    said = None
    if is_papers(cfg, setting):
        said = paper_table().get(name, {}).get(setting.batch_size)
    batch = setting.batch_size
    return Line(name, Path(path).stem, batch, ours, one_shot, said)


def name_objectives(configs: Mapping[str, Config]) -> dict[str, str]:
    """What tables call each config: its objective, where that tells it.

    Args:
        configs: By their path.

    Returns:
        Names by path.
    """
    types = {path: cfg.model.objective.type for path, cfg in configs.items()}
    kinds = list(types.values())
    return {
        path: kind if kinds.count(kind) == 1 else Path(path).stem
        for path, kind in types.items()
    }


def write_lines(
    path: str | Path,
    lines: Sequence[Line],
    setting: Setting,
    configs: Mapping[str, Config],
) -> None:
    """Writes what was counted as JSON.

    Args:
        path: The file.
        lines: What was counted.
        setting: Of any of them; its batch size is left out.
        configs: What was counted, by path; their models are written too.

    Raises:
        OSError: It cannot be written.
    """
    shared = asdict(setting)
    del shared['batch_size']
    report = {
        'setting': shared,
        'models': {
            Path(name).stem: cfg.model.to_dict()
            for name, cfg in configs.items()
        },
        'lines': [line.to_json() for line in lines],
        'versions': versions(),
    }
    write_json(path, report)


def read_lines(path: str | Path) -> list[Line]:
    """Reads what `write_lines` wrote.

    Args:
        path: The file.
    """
    found = json.loads(Path(path).read_text())['lines']
    return [Line.from_json(value) for value in found]


def is_papers(cfg: Config, setting: Setting) -> bool:
    """Whether this is what the paper's table counts: ViT-B/16, 256 devices.

    Captions have all their 55 tokens there, since the paper pads them.

    Args:
        cfg: A pretraining config.
        setting: What is counted.
    """
    vision = cfg.model.vision
    devices = json.loads(PAPER.read_text())['devices']
    return (
        (vision.get('arch'), vision.get('patch_size')) == ('base', 16)
        and cfg.model.get('image_size') == 224
        and setting.devices == devices
        and setting.tokens in (None, 55)
    )
