"""Encoders, alignment, losses and objectives, and the pretrainer."""

from sparc_vlm.models.encoders import (
    EfficientNetLite0,
    HuggingFaceText,
    MMPretrainVision,
    SparcViT,
    TextTransformer,
    TrunkWithLayers,
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
    'EfficientNetLite0',
    'GLoRIA',
    'HuggingFaceText',
    'ImageTextPretrainer',
    'MMPretrainVision',
    'PairPreprocessor',
    'SigLIP',
    'SparcViT',
    'TextTransformer',
    'TrunkWithLayers',
]
