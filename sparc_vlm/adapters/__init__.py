"""Other people's models as tasks see ours, and ours as theirs are seen."""

from sparc_vlm.adapters.clip_tokens import ClipTokenizer
from sparc_vlm.adapters.huggingface_clip import HuggingFaceClip
from sparc_vlm.adapters.open_clip_model import OpenClipModel

__all__ = ['ClipTokenizer', 'HuggingFaceClip', 'OpenClipModel']
