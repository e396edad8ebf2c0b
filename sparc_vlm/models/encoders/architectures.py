"""The sizes of vision transformer that go by a name."""

from __future__ import annotations

from sparc_vlm.errors import UsageError

ARCHITECTURES = {
    'mini': (128, 5, 4),
    'tiny': (192, 12, 3),
    'small': (384, 12, 6),
    'base': (768, 12, 12),
    'large': (1024, 24, 16),
}
"""Width, layers and heads; the hidden layer is 4 times the width."""


def architecture(arch: str | dict[str, int]) -> dict[str, int]:
    """An architecture as mmpretrain's transformer takes it.

    Args:
        arch: A name, or the dict itself.

    Raises:
        ValueError: There is none of that name.
    """
    if isinstance(arch, dict):
        return arch
    if arch not in ARCHITECTURES:
        raise UsageError(
            f'arch must be one of {list(ARCHITECTURES)} or a dict, got '
            f'{arch!r}'
        )
    width, layers, heads = ARCHITECTURES[arch]
    return dict(
        embed_dims=width,
        num_layers=layers,
        num_heads=heads,
        feedforward_channels=4 * width,
    )
