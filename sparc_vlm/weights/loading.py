"""Putting weights into a module, out loud.

Weights that do not fit are an error that names the keys, never a module
that quietly stays random.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import Tensor, nn

from sparc_vlm.weights.errors import WeightsError, some


@dataclass(frozen=True)
class LoadReport:
    """What became of each key.

    Attributes:
        total: Keys that the module has.
        matched: How many of them got their weights.
        missing: Keys of the module that the weights lack.
        unexpected: Keys of the weights that the module lacks.
        mismatched: Keys whose shapes differ, with both shapes.
    """

    total: int
    matched: int
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    def __str__(self) -> str:
        """One sentence, naming a few keys of each kind."""
        parts = [f'{self.matched} of {self.total} keys matched']
        for kind in ('missing', 'unexpected', 'mismatched'):
            keys = getattr(self, kind)
            if keys:
                parts.append(f'{len(keys)} {kind} ({some(keys)})')
        return ', '.join(parts)


def _load(module: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Loads every key that fits, after the module's own load hooks.

    Raises:
        WeightsError: The module refuses for a reason other than shapes.
    """
    own = module.state_dict()
    differing: list[str] = []
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        # only the module knows: its hooks may have resized some of them
        text = str(error)
        differing = [k for k in own if f'size mismatch for {k}:' in text]
        rest = {k: v for k, v in state.items() if k not in differing}
        try:
            missing, unexpected = module.load_state_dict(rest, strict=False)
        except RuntimeError as other:
            raise WeightsError(str(other)) from other
    missing = [k for k in missing if k not in differing]
    mismatched = [
        f'{k}: {tuple(state[k].shape)} where {tuple(own[k].shape)} is needed'
        if k in state
        else k
        for k in differing
    ]
    matched = len(own) - len(missing) - len(mismatched)
    return LoadReport(len(own), matched, missing, unexpected, mismatched)


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    strict: bool = True,
    allow_missing: Iterable[str] = (),
    at_least: float = 0.5,
) -> LoadReport:
    """Loads weights into a module and says what fitted.

    Hooks of the module that change the weights first, such as resizing
    position embeddings, run as they do in `load_state_dict`.

    Args:
        module: Where the weights go.
        state: Weights by key, as `read_weights` returns them.
        strict: Whether every key must fit.
        allow_missing: Beginnings of keys that the weights may lack even so,
            such as 'head.'.
        at_least: Share of the module's other keys that must match even when
            not strict.

    Returns:
        What became of each key; it is logged too.

    Raises:
        WeightsError: Too few keys fit. Those that do are loaded by then, so
            the module is no longer what it was.
    """
    allowed = tuple(allow_missing)
    report = _load(module, state)
    lacking = [k for k in report.missing if not k.startswith(allowed)]
    wanted = report.matched + len(lacking) + len(report.mismatched)
    if report.matched < at_least * wanted or (
        strict and (lacking or report.unexpected or report.mismatched)
    ):
        raise WeightsError(
            f'the weights do not fit {type(module).__name__}: {report}'
        )
    print_log(f'weights of {type(module).__name__}: {report}', 'current')
    return report
