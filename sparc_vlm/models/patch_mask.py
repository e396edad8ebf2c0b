"""Masks that come with the data meet the patches that the encoder made."""

from __future__ import annotations

from torch import Tensor

from sparc_vlm.errors import UsageError


def check_grid(masked: int | None, grid: tuple[int, int]) -> None:
    """Refuses a mask over another grid, which would hide the wrong patches.

    Args:
        masked: Patches that the mask counts, None where there is no mask.
        grid: Rows and columns of the encoder's patches.

    Raises:
        ValueError: They are not as many.
    """
    rows, columns = grid
    if masked is not None and masked != rows * columns:
        raise UsageError(
            f'patch_mask counts {masked} patches, but the image encoder sees '
            f'{rows} x {columns}: give the data the patch size of the model'
        )


def of_kept(patch_mask: Tensor | None, kept: Tensor | None) -> Tensor | None:
    """The mask over the patches that were not dropped.

    Args:
        patch_mask: (B, L, P) bool over all patches, or None.
        kept: (B, K) indices of those that were kept, None for all.

    Returns:
        (B, L, K) bool, or None where there is no mask.
    """
    if patch_mask is None or kept is None:
        return patch_mask
    return patch_mask.gather(
        2, kept[:, None].expand(-1, patch_mask.shape[1], -1)
    )
