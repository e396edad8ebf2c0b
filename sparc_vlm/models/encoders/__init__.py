"""Encoders: images to patches, captions to tokens."""

from sparc_vlm.models.encoders.pretrained import (
    HuggingFaceText,
    MMPretrainVision,
)
from sparc_vlm.models.encoders.text import TextTransformer
from sparc_vlm.models.encoders.vision import PatchFeatures, SparcViT

__all__ = [
    'HuggingFaceText',
    'MMPretrainVision',
    'PatchFeatures',
    'SparcViT',
    'TextTransformer',
]
