"""Drawn scenes: layout, pixels, captions and the claims behind them."""

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
from sparc_vlm.datasets.scenes.layout import Scene, SceneObject, lay_out
from sparc_vlm.datasets.scenes.source import Scenes

__all__ = [
    'Backdrop',
    'Caption',
    'Claim',
    'Mention',
    'Place',
    'Relation',
    'Scene',
    'SceneObject',
    'Scenes',
    'Total',
    'draw',
    'lay_out',
    'write_captions',
]
