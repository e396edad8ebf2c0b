"""Encoders, alignment, losses and objectives, and the pretrainer."""

from sparc_vlm.models.encoders import (
    HuggingFaceText,
    MMPretrainVision,
    SparcViT,
    TextTransformer,
)
from sparc_vlm.models.objectives import (
    CLIP,
    FILIP,
    MGCA,
    PACL,
    SPARC,
    GLoRIA,
    SigLIP,
)
from sparc_vlm.models.preprocessor import PairPreprocessor
from sparc_vlm.models.pretrainer import ImageTextPretrainer

__all__ = [
    'CLIP',
    'FILIP',
    'MGCA',
    'PACL',
    'SPARC',
    'GLoRIA',
    'HuggingFaceText',
    'ImageTextPretrainer',
    'MMPretrainVision',
    'PairPreprocessor',
    'SigLIP',
    'SparcViT',
    'TextTransformer',
]
