"""Captioned pictures: where they come from and how they are batched."""

from sparc_vlm.datasets.huggingface import HuggingFaceTokenizer
from sparc_vlm.datasets.images import BrokenImage
from sparc_vlm.datasets.loader import PairLoader
from sparc_vlm.datasets.pairs import PairDataset, PairSource
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.datasets.tokenizer import CaptionTokenizer, load_tokenizer
from sparc_vlm.datasets.tokens import TokenIds
from sparc_vlm.datasets.transforms import PairTransform, collate

__all__ = [
    'BrokenImage',
    'CaptionTokenizer',
    'HuggingFaceTokenizer',
    'PairDataset',
    'PairLoader',
    'PairSource',
    'PairTransform',
    'Scenes',
    'TokenIds',
    'collate',
    'load_tokenizer',
]
