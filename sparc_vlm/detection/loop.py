"""mmengine's loop over iterations, resumed in a moment.

mmengine's own reads and prepares again, on resume, all pictures that the run
has seen: at full scale for as long as they took the first time.
"""

from __future__ import annotations

from itertools import chain, islice, repeat
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator

from sparc_vlm.engine.randomness import seed_step
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import LOOPS


@LOOPS.register_module()
class BoxLoop(IterBasedTrainLoop):
    """Goes on with the pictures that would have come next.

    What is drawn in a step, such as the boxes that are sampled, depends on
    the seed and the number of the step alone. How a picture is flipped and
    cut, and which words it is asked for, is drawn anew in a resumed run.

    Args:
        *args: As mmengine's `IterBasedTrainLoop`; the sampler of its data
            must be an `InfiniteSampler`.
        **kwargs: Likewise.

    Raises:
        ValueError: The data have another sampler.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sampler = self.dataloader.sampler
        if not isinstance(sampler, InfiniteSampler):
            raise UsageError(
                'BoxLoop needs train_dataloader.sampler=dict(type='
                f"'InfiniteSampler'), got {type(sampler).__name__}"
            )

    def run(self) -> Any:
        """Trains; skips the numbers of pictures that were seen, unread."""
        if self._iter:
            sampler = self.dataloader.sampler
            seen = self._iter * self.dataloader.batch_size
            sampler.indices = islice(sampler._indices_of_rank(), seen, None)
            coming = _InfiniteDataloaderIterator(self.dataloader)
            # The parent takes a batch for each step that was done.
            self.dataloader_iterator = chain(repeat(None, self._iter), coming)
        return super().run()

    def run_iter(self, data_batch: Any) -> None:
        """One step, its random numbers fixed by its number."""
        seed_step(self.runner.seed, self._iter, get_rank())
        super().run_iter(data_batch)
