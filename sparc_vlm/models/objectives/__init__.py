"""Objectives: each takes `PairEmbeddings`, returns a dict of losses."""

from sparc_vlm.models.objectives.clip import CLIP
from sparc_vlm.models.objectives.sparc import SPARC

__all__ = ['CLIP', 'SPARC']
