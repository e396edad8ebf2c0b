"""A captioner on our encoders, as LLaVA: eyes, a projector, a language model.

Importing the package registers everything under the scope `sparc_vlm`, so
that a config needs `custom_imports` of it and no more.
"""

import sparc_vlm  # noqa: F401 (stand-ins and registries first)
from sparc_vlm.captioning.chat import IGNORED, IMAGE, ChatBatch

__all__ = [
    'IGNORED',
    'IMAGE',
    'ChatBatch',
]
