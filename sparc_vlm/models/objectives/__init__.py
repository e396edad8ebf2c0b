"""Objectives: each takes `PairEmbeddings`, returns a dict of losses."""

from sparc_vlm.models.objectives.clip import CLIP
from sparc_vlm.models.objectives.filip import FILIP
from sparc_vlm.models.objectives.gloria import GLoRIA
from sparc_vlm.models.objectives.mgca import MGCA
from sparc_vlm.models.objectives.pacl import PACL
from sparc_vlm.models.objectives.siglip import SigLIP
from sparc_vlm.models.objectives.sparc import SPARC

__all__ = [
    'CLIP',
    'FILIP',
    'MGCA',
    'PACL',
    'SPARC',
    'GLoRIA',
    'SigLIP',
]
