"""As few parameter groups as there are settings.

mmengine makes a group of every single parameter once anything depends on its
name. An optimizer works group by group: hundreds of small calls, which on a
GPU take longer than the update itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from sparc_vlm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupingConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, `paramwise_cfg` and all, with fewer groups.

    Weights that two modules share, as RTMDet's heads do, are updated once, by
    the settings of the first, whatever `bypass_duplicate` says.
    """

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = '',
        **kwargs: Any,
    ) -> None:
        """Adds the parameters of a module, and of what is below it.

        Args:
            params: Groups so far; changed in place.
            module: Whose parameters are added.
            prefix: Its name, '' for the whole model.
            **kwargs: As mmengine's.
        """
        if prefix:
            super().add_params(params, module, prefix, **kwargs)
            return
        with _without_a_line_each():
            super().add_params(params, module, prefix, **kwargs)
        _drop_repeated(params)
        self.change_groups(params, module)
        params[:] = merge_groups(params)
        frozen = [p for p in module.parameters() if not p.requires_grad]
        if frozen:
            said = f'optimizer: {_counts(frozen)}, frozen'
            print_log(said, logger='current')
        for group in params:
            print_log(f'optimizer: {_describe(group)}', logger='current')

    def change_groups(
        self, groups: list[dict[str, Any]], model: nn.Module
    ) -> None:
        """For subclasses: settings that go beyond `paramwise_cfg`'s usual.

        Args:
            groups: One for each parameter; changed in place.
            model: The whole of it.
        """


def _drop_repeated(groups: list[dict[str, Any]]) -> None:
    """Leaves out, in place, groups of one parameter that was there before.

    An optimizer would take as many steps as there are.
    """
    first = {id(group['params'][0]): group for group in reversed(groups)}
    groups[:] = [g for g in groups if first[id(g['params'][0])] is g]


def _describe(group: dict[str, Any]) -> str:
    """'12 parameters, 3,456 values, weight_decay 0'."""
    own = [f'{k} {v:g}' for k, v in group.items() if k != 'params']
    counts = _counts(group['params'])
    return ', '.join([counts, *(own or ['as set for all'])])


def _counts(parameters: list[nn.Parameter]) -> str:
    values = sum(parameter.numel() for parameter in parameters)
    return f'{len(parameters)} parameters, {values:,} values'


@contextmanager
def _without_a_line_each() -> Iterator[None]:
    """mmengine logs each parameter; warnings still get through.

    That a frozen one is left out is no reason for one.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    logger.addFilter(_is_not_of_a_frozen_one)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_of_a_frozen_one)
        logger.setLevel(level)


def _is_not_of_a_frozen_one(record: logging.LogRecord) -> bool:
    return 'skipped since its requires_grad=False' not in record.getMessage()


def merge_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Joins groups of the same settings, in the order of their first ones.

    Args:
        groups: As an optimizer takes them.
    """
    merged: dict[str, dict[str, Any]] = {}
    for group in groups:
        settings = {k: v for k, v in group.items() if k != 'params'}
        joined = merged.setdefault(
            repr(sorted(settings.items())), {**settings, 'params': []}
        )
        joined['params'] += list(group['params'])
    return list(merged.values())
