"""Encoders, alignment, losses and objectives, and the pretrainer."""

from sparc_vlm.models.encoders import (
    HuggingFaceText,
    MMPretrainVision,
    SparcViT,
    TextTransformer,
)
from sparc_vlm.models.objectives import CLIP, SPARC
from sparc_vlm.models.preprocessor import PairPreprocessor
from sparc_vlm.models.pretrainer import ImageTextPretrainer

__all__ = [
    'CLIP',
    'SPARC',
    'HuggingFaceText',
    'ImageTextPretrainer',
    'MMPretrainVision',
    'PairPreprocessor',
    'SparcViT',
    'TextTransformer',
]
