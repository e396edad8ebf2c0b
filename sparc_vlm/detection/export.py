"""Has training leave a detector's folder, which `load` opens.

The hook that writes it, what a recipe says for it, and the hook for recipes
of MMDetection, which have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from sparc_vlm import hub
from sparc_vlm.detection.folder import save
from sparc_vlm.engine import ConfigError
from sparc_vlm.engine.config_types import resolve
from sparc_vlm.registry import HOOKS


@HOOKS.register_module()
class DetectorExportHook(hub.ExportHook):
    """Keeps `<work_dir>/model`, which `load` takes, up to date.

    As `ExportHook` does for pretraining; the transforms of `test_dataloader`
    are those of the folder.

    Args:
        folder: Name of the folder in the work folder.
    """

    def before_train(self, runner: Runner) -> None:
        """Makes sure, before any work, that there is all that is written.

        Raises:
            ConfigError: The config has no test data, or the training data
                have no names of classes.
        """
        inference_pipeline(runner.cfg)
        _classes(runner)

    def _write(
        self,
        runner: Runner,
        model: nn.Module,
        folder: Path,
        weights: dict[str, Tensor] | None,
    ) -> None:
        """Writes the folder of a detector."""
        save(
            model,
            folder,
            runner.cfg.model.to_dict(),
            inference_pipeline(runner.cfg),
            _classes(runner),
            weights,
        )


def use_export(cfg: Config) -> list[str]:
    """Has a detector leave a model folder where its recipe does not say so.

    Args:
        cfg: The config; changed in place. One that has the hook, or sets
            `default_hooks.export=None`, stays as it is.

    Returns:
        Lines that say what was added.
    """
    kind, _ = resolve(cfg.model.type, 'model', cfg.get('default_scope'))
    hooks = cfg.get('default_hooks') or {}
    named = [*hooks.values(), *(cfg.get('custom_hooks') or [])]
    is_there = 'export' in hooks or any(
        str(hook['type']).endswith(DetectorExportHook.__name__)
        for hook in named
        if isinstance(hook, dict)
    )
    if is_there or not issubclass(kind, BaseDetector):
        return []
    hook = dict(type='sparc_vlm.DetectorExportHook')
    cfg.default_hooks = dict(hooks, export=hook)
    return [
        'model folder: the recipe has no DetectorExportHook, so one is added '
        '(default_hooks.export=None leaves it out)'
    ]


def inference_pipeline(cfg: Config) -> list[dict[str, Any]]:
    """Configs of the transforms of a recipe's test data.

    Raises:
        ConfigError: The recipe has neither test nor validation data.
    """
    for stage in ('test', 'val'):
        dataset = (cfg.get(f'{stage}_dataloader') or {}).get('dataset') or {}
        # A data set may be wrapped into others.
        while 'pipeline' not in dataset and 'dataset' in dataset:
            dataset = dataset['dataset']
        if dataset.get('pipeline'):
            return [dict(step) for step in dataset['pipeline']]
    raise ConfigError(
        'the detector cannot be exported, since nothing says what a picture '
        'goes through: give the recipe a test_dataloader, or set '
        'default_hooks.export=None'
    )


def _classes(runner: Runner) -> Sequence[str]:
    """What a detector by words has been told, or the training data name."""
    model = getattr(runner, 'bare_model', runner.model)
    if hasattr(model, 'words'):
        return model.words or ()
    dataset = runner.train_loop.dataloader.dataset
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if not classes:
        raise ConfigError(
            'the detector cannot be exported, since its training data have '
            'no names of classes: set metainfo=dict(classes=[...]), or '
            'default_hooks.export=None'
        )
    return classes
