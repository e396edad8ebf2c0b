"""Figures: alignment heat maps, and pages that compare models."""

from sparc_vlm.visualization.hooks import AlignmentMapHook
from sparc_vlm.visualization.maps import (
    WordMaps,
    compare_word_maps,
    draw_word_maps,
    word_maps,
)
from sparc_vlm.visualization.report import Page
from sparc_vlm.visualization.tables import Measure, Table

__all__ = [
    'AlignmentMapHook',
    'Measure',
    'Page',
    'Table',
    'WordMaps',
    'compare_word_maps',
    'draw_word_maps',
    'word_maps',
]
