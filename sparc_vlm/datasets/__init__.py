"""Captioned pictures: where they come from and how they are batched."""

from sparc_vlm.datasets.huggingface import HuggingFaceTokenizer
from sparc_vlm.datasets.images import BrokenImage
from sparc_vlm.datasets.loader import PairLoader
from sparc_vlm.datasets.pairs import PairDataset, PairSource
from sparc_vlm.datasets.readers import (
    Aro,
    Cifar,
    ClassFolders,
    CocoCaptions,
    CocoInstances,
    CocoPanoptic,
    CsvCaptions,
    EntityLines,
    Flickr8kJudgements,
    FlickrEntities,
    ImageNet,
    ImageNetC,
    ImageNetFolders,
    ImageNetV2,
    KarpathyCaptions,
    LabelLists,
    LlavaConversations,
    PascalContext,
    PascalVoc,
    SugarCrepe,
)
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.datasets.shards import ShardLoader, write_shards
from sparc_vlm.datasets.source import data_from_flag
from sparc_vlm.datasets.statistics import all_captions, count_tokens
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.datasets.tokenizer import (
    CaptionTokenizer,
    has_tokenizer,
    load_tokenizer,
)
from sparc_vlm.datasets.tokens import TokenIds
from sparc_vlm.datasets.transforms import PairTransform, collate

__all__ = [
    'Aro',
    'BrokenImage',
    'CaptionTokenizer',
    'Cifar',
    'ClassFolders',
    'CocoCaptions',
    'CocoInstances',
    'CocoPanoptic',
    'CsvCaptions',
    'EntityLines',
    'Flickr8kJudgements',
    'FlickrEntities',
    'HuggingFaceTokenizer',
    'ImageNet',
    'ImageNetC',
    'ImageNetFolders',
    'ImageNetV2',
    'ImageStore',
    'KarpathyCaptions',
    'LabelLists',
    'LlavaConversations',
    'PairDataset',
    'PairLoader',
    'PairSource',
    'PairTransform',
    'PascalContext',
    'PascalVoc',
    'Scenes',
    'ShardLoader',
    'SugarCrepe',
    'TokenIds',
    'all_captions',
    'collate',
    'count_tokens',
    'data_from_flag',
    'has_tokenizer',
    'load_tokenizer',
    'write_shards',
]
