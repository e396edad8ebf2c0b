"""Features of a frozen trunk: computed once, kept, and read by every run."""

from sparc_vlm.features.keep import keep_features
from sparc_vlm.features.use import (
    KeptFeaturesHook,
    trunk_fingerprint,
    use_kept_features,
    use_recipes_features,
)

__all__ = [
    'KeptFeaturesHook',
    'keep_features',
    'trunk_fingerprint',
    'use_kept_features',
    'use_recipes_features',
]
