"""Captions of a few held-out pictures, while training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from sparc_vlm.captioning.loaded import LoadedCaptioner
from sparc_vlm.datasets import BrokenImage
from sparc_vlm.files import reason, write_json
from sparc_vlm.registry import DATASETS, HOOKS


@HOOKS.register_module()
class CaptionSampleHook(Hook):
    """Shows what the captioner writes, beside what others wrote.

    A loss that falls does not tell whether a captioner still ends its
    sentences. Captions go to the log and to
    `<work_dir>/samples/<iteration>.json`.

    Args:
        dataset: Source of held-out pictures, or the config of one.
        indices: Which of its pictures; those that it does not have, or that
            cannot be read, are left out.
        interval: Updates between captions; there are some at the end, too.
        max_new_tokens: Tokens of a caption at most.
        shown: Captions of others in the log, of each picture.
    """

    priority = 'LOW'

    def __init__(
        self,
        dataset: Any,
        indices: Sequence[int] = (0, 1, 2, 3),
        interval: int = 100,
        max_new_tokens: int = 40,
        shown: int = 2,
    ) -> None:
        self.source = (
            DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        )
        self.indices = [i for i in indices if i < len(self.source)]
        self.interval = interval
        self.max_new_tokens = max_new_tokens
        self.shown = shown

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Reads the pictures; says which cannot be read."""
        self._pictures = {}
        for index in self.indices:
            try:
                self._pictures[index] = self.source.image(index)
            except BrokenImage as error:
                runner.logger.warning(f'no sample caption: {error}')

    @master_only
    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Writes captions when it is time; see mmengine's `Hook`."""
        done = runner.iter + 1
        if done % self.interval and done != runner.max_iters:
            return
        if not self._pictures:
            return
        model = getattr(runner, 'bare_model', runner.model)
        captions = LoadedCaptioner(model).caption(
            list(self._pictures.values()), max_new_tokens=self.max_new_tokens
        )
        samples = [
            {
                'key': self.source.key(index),
                'caption': caption,
                'references': self.source.captions(index),
            }
            for index, (caption,) in zip(self._pictures, captions, strict=True)
        ]
        runner.logger.info(self._text(samples, done))
        path = Path(runner.work_dir) / 'samples' / f'{done}.json'
        try:
            write_json(path, dict(prompt=model.prompt, samples=samples))
        except OSError as error:
            runner.logger.warning(f'{path} is not written: {reason(error)}')

    def _text(self, samples: list[dict[str, Any]], done: int) -> str:
        """Captions below each other, for the log."""
        lines = [f'captions at iteration {done}:']
        for sample in samples:
            lines.append(f'  {sample["key"]}')
            lines.append(f'    writes: {sample["caption"] or "(nothing)"}')
            lines += [
                f'    others: {text}'
                for text in sample['references'][: self.shown]
            ]
        return '\n'.join(lines)
