"""Draws alignment maps of a few held-out pictures while training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from PIL import Image

from sparc_vlm.registry import DATASETS, HOOKS
from sparc_vlm.visualization.maps import (
    FunctionWords,
    Patches,
    as_array,
    draw_word_maps,
    word_maps,
)


@HOOKS.register_module()
class AlignmentMapHook(Hook):
    """After each validation, one figure a picture of where its words look.

    Written to `<work_dir>/maps/<iteration>/<index>.png` and handed to
    mmengine's visualizer (TensorBoard among its backends). A figure that
    fails is warned of once for each reason; training goes on.

    Args:
        dataset: Source of held-out pictures, or the config of one.
        indices: Which of its pictures.
        caption: Which of each picture's captions.
        patches: 'patches' as the local loss sees them, or 'dense'.
        function_words: How words such as 'the' are drawn, see
            `draw_word_maps`.
    """

    priority = 'LOW'

    def __init__(
        self,
        dataset: Any,
        indices: Sequence[int] = (0, 1, 2, 3),
        caption: int = 0,
        patches: Patches = 'patches',
        function_words: FunctionWords = 'dim',
    ) -> None:
        self.source = (
            DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        )
        self.indices = tuple(indices)
        self.caption = caption
        self.patches = patches
        self.function_words = function_words
        self._warned: set[str] = set()

    @master_only
    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Draws the figures; see mmengine's `Hook`."""
        # Whole during validation, also where processes share it out.
        model = getattr(runner, 'bare_model', runner.model)
        model = model.module if is_model_wrapper(model) else model
        folder = Path(runner.work_dir) / 'maps' / str(runner.iter)
        for index in self.indices:
            # A picture must never cost the run that it illustrates.
            try:
                self._draw(runner, model, index, folder / f'{index}.png')
            except Exception as error:
                self._warn(runner, error)

    def _draw(
        self, runner: Runner, model: Any, index: int, path: Path
    ) -> None:
        """One picture's figure."""
        maps = word_maps(
            model,
            self.source.image(index),
            self.source.captions(index)[self.caption],
            self.patches,
        )
        figure = as_array(draw_word_maps(maps, self.function_words))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(figure).save(path)
        runner.visualizer.add_image(f'maps/{index}', figure, step=runner.iter)

    def _warn(self, runner: Runner, error: Exception) -> None:
        """Says why a figure failed, the first time that it does."""
        reason = f'{type(error).__name__}: {error}'
        if reason not in self._warned:
            self._warned.add(reason)
            runner.logger.log(
                logging.WARNING,
                'an alignment map could not be drawn and is left out '
                f'({reason}); said once for each reason',
            )
