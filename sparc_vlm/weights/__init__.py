"""Weights: read from disk safely, and loaded so that nothing is silent."""

from sparc_vlm.weights.errors import WeightsError
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
    'load_into',
    'read_weights',
    'select_prefix',
]
