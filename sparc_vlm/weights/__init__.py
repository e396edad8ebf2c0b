"""Weights: read from disk safely, and loaded so that nothing is silent."""

from sparc_vlm.weights.errors import WeightsError
from sparc_vlm.weights.init_cfg import (
    is_pretrained,
    load_named,
    unless_empty,
)
from sparc_vlm.weights.loading import LoadReport, load_into
from sparc_vlm.weights.reading import (
    WEIGHTS_FILE,
    State,
    read_weights,
    select_prefix,
)

__all__ = [
    'WEIGHTS_FILE',
    'LoadReport',
    'State',
    'WeightsError',
    'is_pretrained',
    'load_into',
    'load_named',
    'read_weights',
    'select_prefix',
    'unless_empty',
]
