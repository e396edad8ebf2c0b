"""Other ways to turn scores into patch weights, beside equations 2 to 4.

The paper leaves them as future work. All take what `sparse_alignment` takes
and return what it returns, so that an objective can be given any of them.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.models.alignment import (
    AlignmentFunction,
    dense_alignment,
    masked_scores,
    softmax_alignment,
    sparse_alignment,
    thresholded_alignment,
)
from sparc_vlm.models.entmax import entmax15, sparsemax
from sparc_vlm.models.temperature import check_temperature


def sparsemax_alignment(
    tokens: Tensor,
    patches: Tensor,
    patch_mask: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Sparsemax over the patches in place of equations 2 to 4.

    Args:
        tokens: (B, L, D) token embeddings.
        patches: (B, P, D) patch embeddings.
        patch_mask: (B, L, P) bool, the patches that a token may look at.
        temperature: Scores are divided by it: a patch that much under the
            best one gets nothing.

    Returns:
        (B, L, P) weights as `sparse_alignment` gives them.

    Raises:
        ValueError: Shapes that do not fit, or a temperature of 0 or less.
    """
    check_temperature(temperature)
    scores = masked_scores(tokens, patches, patch_mask)
    return sparsemax(scores / temperature)


def entmax_alignment(
    tokens: Tensor,
    patches: Tensor,
    patch_mask: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Entmax-1.5 over the patches in place of equations 2 to 4.

    Args, Returns and Raises as in `sparsemax_alignment`; a patch two
    temperatures under the best one gets nothing.
    """
    check_temperature(temperature)
    scores = masked_scores(tokens, patches, patch_mask)
    return entmax15(scores / temperature)


def top_k_alignment(
    tokens: Tensor,
    patches: Tensor,
    k: int,
    patch_mask: Tensor | None = None,
) -> Tensor:
    """Equation 3 with a number of patches in place of a threshold.

    What ties with the k-th patch is kept as well, so that the weights do not
    depend on the order of the patches. The lowest patch of all has the
    weight 0 whatever k is, as in equation 2.

    Args:
        tokens: (B, L, D) token embeddings.
        patches: (B, P, D) patch embeddings.
        k: How many patches a token keeps; more than there are is all.
        patch_mask: (B, L, P) bool, the patches that a token may look at.

    Returns:
        (B, L, P) weights as `sparse_alignment` gives them.

    Raises:
        ValueError: Shapes that do not fit, or k below 1.
    """
    if k < 1:
        raise UsageError(f'a token keeps at least 1 patch, got k={k}')

    def kth(relative: Tensor, count: Tensor) -> Tensor:
        best = relative.topk(min(k, relative.shape[-1])).values
        return best[..., -1:].clamp(min=0)

    return thresholded_alignment(tokens, patches, kth, patch_mask)


def quantile_alignment(
    tokens: Tensor,
    patches: Tensor,
    quantile: float,
    patch_mask: Tensor | None = None,
) -> Tensor:
    """Equation 3 with a share of the patches in place of a threshold.

    1 / P drops next to nothing where there are many patches; a quantile
    drops the same share whatever the scores look like.

    Args:
        tokens: (B, L, D) token embeddings.
        patches: (B, P, D) patch embeddings.
        quantile: Share of the (allowed) patches that is dropped, the lowest
            ones, rounded down; what ties with the lowest kept is kept.
        patch_mask: (B, L, P) bool, the patches that a token may look at.

    Returns:
        (B, L, P) weights as `sparse_alignment` gives them.

    Raises:
        ValueError: Shapes that do not fit, or a quantile outside [0, 1).
    """
    if not 0 <= quantile < 1:
        raise UsageError(
            f'quantile is a share of the patches, 0 <= quantile < 1, got '
            f'{quantile}'
        )

    def lowest_kept(relative: Tensor, count: Tensor) -> Tensor:
        # 0.29 * 100 is a hair under 29 in binary.
        dropped = (count.double() * quantile + 1e-9).floor()
        ranked = relative.sort(-1, descending=True).values
        return ranked.gather(-1, (count - dropped - 1).long())

    return thresholded_alignment(tokens, patches, lowest_kept, patch_mask)


ALIGNMENTS: dict[str, tuple[AlignmentFunction, tuple[str, ...]]] = {
    'sparse': (sparse_alignment, ('threshold', 'quantile')),
    'dense': (dense_alignment, ()),
    'softmax': (softmax_alignment, ()),
    'sparsemax': (sparsemax_alignment, ('temperature',)),
    'entmax': (entmax_alignment, ('temperature',)),
    'topk': (top_k_alignment, ('k',)),
}
"""Alignments by name, and the options that each takes."""


def build_alignment(name: str, **options: float | None) -> AlignmentFunction:
    """An alignment by its name.

    Args:
        name: 'sparse' (the method; options `threshold`, or `quantile` in its
            place), 'dense', 'softmax', 'sparsemax' or 'entmax' (option
            `temperature`), 'topk' (option `k`, needed).
        options: Arguments of the alignment; those that are None are left
            out.

    Returns:
        A function of tokens (B, L, D), patches (B, P, D) and `patch_mask`,
        which gives weights (B, L, P).

    Raises:
        ValueError: An unknown name, or options that it does not take.
    """
    if name not in ALIGNMENTS:
        raise UsageError(
            f'alignment must be one of {sorted(ALIGNMENTS)}, got {name!r}'
        )
    function, known = ALIGNMENTS[name]
    options = {key: v for key, v in options.items() if v is not None}
    for option in options:
        if option not in known:
            raise UsageError(
                f'alignment {name!r} has no {option}: leave it out'
            )
    if name == 'topk' and 'k' not in options:
        raise UsageError(
            "alignment 'topk' needs k, the number of patches that are kept"
        )
    if 'quantile' in options:
        if 'threshold' in options:
            raise UsageError('give either a threshold or a quantile, not both')
        function = quantile_alignment
    return partial(function, **options)
