"""What is in memory while a step runs, and what for.

Every tensor that an operation makes is seen as it appears and as it goes;
a storage counts once, however many tensors look at it. It works the same on
tensors with and without values.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KINDS = ('parameters', 'gradients', 'optimizer', 'activations')
"""What memory is for. Activations are all that is not one of the others:
the batch, what is kept for the way back, gradients of activations, casts of
weights, and what an operation needs for a moment."""


@dataclass
class _Storage:
    """One piece of memory."""

    size: int
    kind: str


class MemoryTracker(TorchDispatchMode):
    """Counts bytes by kind, and remembers the moment when most were held.

    An allocator's rounding, its fragments and a kernel's inner workspace are
    not seen.

    Attributes:
        phase: What the step is doing; set by the caller.
        peak: Bytes by kind when most were held.
        peak_phase: What the step was doing then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = ''
        self.peak: Counter[str] = Counter()
        self.peak_phase = ''
        self._held: Counter[str] = Counter()
        self._storages: dict[int, tuple[_Storage, weakref.ref]] = {}

    @property
    def held(self) -> Counter[str]:
        """Bytes by kind that are held now."""
        return Counter(self._held)

    def claim(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Says what tensors are for, and counts them if they are not yet.

        Args:
            tensors: Tensors of any age.
            kind: One of `KINDS`.
        """
        for tensor in tensors:
            self._see(tensor)
            storage, _ = self._storages[tensor.untyped_storage()._cdata]
            self._held[storage.kind] -= storage.size
            self._held[kind] += storage.size
            storage.kind = kind

    def claim_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Counts gradients as such once they reach their parameters.

        Args:
            parameters: Of the model.
        """
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(
                    lambda p: self.claim([p.grad], 'gradients')
                )

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        # The address names a storage as long as it lives.
        key = storage._cdata
        if key in self._storages:
            return
        known = _Storage(storage.nbytes(), 'activations')
        forget = weakref.ref(storage, lambda _: self._forget(key))
        self._storages[key] = known, forget
        self._held[known.kind] += known.size
        if self._held.total() > self.peak.total():
            self.peak, self.peak_phase = self.held, self.phase

    def _forget(self, key: int) -> None:
        storage, _ = self._storages.pop(key)
        self._held[storage.kind] -= storage.size
