"""Sources of pairs in the layouts that data sets come in."""

from sparc_vlm.datasets.readers.aro import Aro
from sparc_vlm.datasets.readers.cifar import Cifar
from sparc_vlm.datasets.readers.coco import CocoCaptions
from sparc_vlm.datasets.readers.entity_lines import EntityLines
from sparc_vlm.datasets.readers.flickr_entities import FlickrEntities
from sparc_vlm.datasets.readers.foils import SugarCrepe
from sparc_vlm.datasets.readers.imagenet import ImageNet, ImageNetFolders
from sparc_vlm.datasets.readers.imagenet_parts import ImageNetC, ImageNetV2
from sparc_vlm.datasets.readers.instances import CocoInstances
from sparc_vlm.datasets.readers.judgements import Flickr8kJudgements
from sparc_vlm.datasets.readers.karpathy import KarpathyCaptions
from sparc_vlm.datasets.readers.labelled import ClassFolders, LabelLists
from sparc_vlm.datasets.readers.llava import LlavaConversations
from sparc_vlm.datasets.readers.panoptic import CocoPanoptic
from sparc_vlm.datasets.readers.pascal_context import PascalContext
from sparc_vlm.datasets.readers.tables import CsvCaptions
from sparc_vlm.datasets.readers.voc import PascalVoc

__all__ = [
    'Aro',
    'Cifar',
    'ClassFolders',
    'CocoCaptions',
    'CocoInstances',
    'CocoPanoptic',
    'CsvCaptions',
    'EntityLines',
    'Flickr8kJudgements',
    'FlickrEntities',
    'ImageNet',
    'ImageNetC',
    'ImageNetFolders',
    'ImageNetV2',
    'KarpathyCaptions',
    'LabelLists',
    'LlavaConversations',
    'PascalContext',
    'PascalVoc',
    'SugarCrepe',
]
