"""Lets mmengine lay out the text of a config once instead of at every use.

A run asks for the text of its config several times, to log, dump and check
it, and yapf takes up to seconds over it each time.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

from sparc_vlm.compat.imports import after_import

_MODULE = 'mmengine.config.config'
_KEPT = 64
"""Texts at most, of some ten kilobytes each."""


def _keep_texts(module: ModuleType) -> None:
    """Has the module's formatter remember what it has laid out."""
    lay_out = module.FormatCode
    if hasattr(lay_out, 'cache_info'):
        return

    @lru_cache(_KEPT)
    def kept(text: str, settings: tuple[tuple[str, Any], ...]) -> Any:
        return lay_out(text, style_config=dict(settings))

    def remembered(
        text: str, style_config: dict[str, Any], **others: Any
    ) -> Any:
        if others:  # older versions of yapf are also told to check it
            return lay_out(text, style_config=style_config, **others)
        return kept(text, tuple(sorted(style_config.items())))

    remembered.cache_info = kept.cache_info
    module.FormatCode = remembered


def install() -> None:
    """Keeps what is laid out, once mmengine's configs are imported."""
    after_import(_MODULE, _keep_texts)
