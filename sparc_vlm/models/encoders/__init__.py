"""Encoders: images to patches, captions to tokens."""

from sparc_vlm.models.encoders.efficientnet_lite import EfficientNetLite0
from sparc_vlm.models.encoders.pretrained import (
    HuggingFaceText,
    MMPretrainVision,
)
from sparc_vlm.models.encoders.text import TextTransformer
from sparc_vlm.models.encoders.trunk import TrunkWithLayers
from sparc_vlm.models.encoders.vision import PatchFeatures, SparcViT

__all__ = [
    'EfficientNetLite0',
    'HuggingFaceText',
    'MMPretrainVision',
    'PatchFeatures',
    'SparcViT',
    'TextTransformer',
    'TrunkWithLayers',
]
