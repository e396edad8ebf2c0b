"""Drawn scenes: layout, pixels, captions and the claims behind them."""

from sparc_vlm.datasets.scenes.alterations import ALTERATIONS
from sparc_vlm.datasets.scenes.captions import Caption, write_captions
from sparc_vlm.datasets.scenes.claims import (
    Backdrop,
    Claim,
    Mention,
    Place,
    Relation,
    Total,
)
from sparc_vlm.datasets.scenes.draw import draw
from sparc_vlm.datasets.scenes.foils import Foil, contradicts, write_foils
from sparc_vlm.datasets.scenes.layout import Scene, SceneObject, lay_out
from sparc_vlm.datasets.scenes.source import Scenes

__all__ = [
    'ALTERATIONS',
    'Backdrop',
    'Caption',
    'Claim',
    'Foil',
    'Mention',
    'Place',
    'Relation',
    'Scene',
    'SceneObject',
    'Scenes',
    'Total',
    'contradicts',
    'draw',
    'lay_out',
    'write_captions',
    'write_foils',
]
