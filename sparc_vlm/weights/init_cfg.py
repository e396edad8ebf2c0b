"""mmengine's `init_cfg` of type 'Pretrained', with every key accounted.

mmengine's own way loads what fits and lets the rest be random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from sparc_vlm.weights.loading import LoadReport, load_into
from sparc_vlm.weights.reading import read_weights, select_prefix


def is_pretrained(init_cfg: Any) -> bool:
    """Whether an `init_cfg` is of type 'Pretrained'."""
    return (
        isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained'
    )


def unless_empty(init_cfg: Any) -> Any:
    """The same, or None where its checkpoint is None: a random start.

    So that a config can have a place for a checkpoint and name none.

    Args:
        init_cfg: Of any type, or None.
    """
    if is_pretrained(init_cfg) and init_cfg.get('checkpoint') is None:
        return None
    return init_cfg


def load_named(module: nn.Module, init_cfg: Mapping[str, Any]) -> LoadReport:
    """Loads the weights that an `init_cfg` names.

    Args:
        module: Where they go.
        init_cfg: `checkpoint` is a .pth, a .safetensors or a model folder;
            of a whole model, `prefix` is what the module's keys begin with.

    Raises:
        WeightsError: There are no such weights, or a key does not fit.
    """
    state = read_weights(init_cfg['checkpoint'])
    if init_cfg.get('prefix'):
        state = select_prefix(state, init_cfg['prefix'])
    return load_into(module, state)
