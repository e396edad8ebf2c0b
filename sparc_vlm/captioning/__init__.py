"""A captioner on our encoders, as LLaVA: eyes, a projector, a language model.

Importing the package registers everything under the scope `sparc_vlm`, so
that a config needs `custom_imports` of it and no more.
"""

import sparc_vlm  # noqa: F401 (stand-ins and registries first)
from sparc_vlm.captioning.attribution import Attribution
from sparc_vlm.captioning.captioner import Captioner
from sparc_vlm.captioning.chat import (
    IGNORED,
    IMAGE,
    ChatBatch,
    ChatFormat,
    Conversation,
)
from sparc_vlm.captioning.dataset import ChatDataset
from sparc_vlm.captioning.eyes import SparcEyes
from sparc_vlm.captioning.huggingface_eyes import HuggingFaceEyes
from sparc_vlm.captioning.language import Language
from sparc_vlm.captioning.loaded import LoadedCaptioner
from sparc_vlm.captioning.loading import load
from sparc_vlm.captioning.perceiver import PerceiverResampler
from sparc_vlm.captioning.projectors import MLPProjector, PixelShuffleProjector
from sparc_vlm.captioning.rerank import Rerank
from sparc_vlm.captioning.sample_hook import CaptionSampleHook
from sparc_vlm.captioning.saving import CaptionerExportHook, save
from sparc_vlm.captioning.vision import Vision, load_vision

__all__ = [
    'IGNORED',
    'IMAGE',
    'CaptionSampleHook',
    'Attribution',
    'Captioner',
    'CaptionerExportHook',
    'ChatBatch',
    'ChatDataset',
    'ChatFormat',
    'Conversation',
    'HuggingFaceEyes',
    'Language',
    'LoadedCaptioner',
    'MLPProjector',
    'PerceiverResampler',
    'PixelShuffleProjector',
    'Rerank',
    'SparcEyes',
    'Vision',
    'load',
    'load_vision',
    'save',
]
