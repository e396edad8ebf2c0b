"""Going on with a run: what must be as it was, and what is put back."""

from __future__ import annotations

from typing import Any

from sparc_vlm.engine.checkpoint import CheckpointError
from sparc_vlm.engine.snapshot import (
    config_changes,
    learning,
    learning_changes,
    place_for_all,
)

RATE = 'optim_wrapper.optimizer.lr='


def check_contents(
    checkpoint: dict[str, Any], with_schedule: bool, filename: str
) -> None:
    """Stops at a checkpoint that no run can be resumed from.

    Args:
        checkpoint: What it holds.
        with_schedule: Whether the run has a schedule.
        filename: Its name, for the message.

    Raises:
        CheckpointError: A part is missing.
    """
    needed = {'meta', 'message_hub', 'optimizer'}
    if with_schedule:
        needed.add('param_schedulers')
    missing = needed - checkpoint.keys()
    if missing:
        raise CheckpointError(
            f'{filename} holds no {" and no ".join(sorted(missing))}, so '
            'no run can be resumed from it: use it as load_from'
        )


def check_learning(runner: Any, meta: dict[str, Any], filename: str) -> None:
    """Refuses hyperparameters that the checkpoint would undo.

    Args:
        runner: The runner.
        meta: What the checkpoint says of its run.
        filename: Its name, for the message.

    Raises:
        CheckpointError: The config asks for others.
    """
    before = meta.get('learning')
    changes = learning_changes(before or {}, learning(runner.cfg))
    if not before or not changes:
        return
    advice = (
        f'set the config back, or start a new run with load_from={filename}'
    )
    if runner.cfg.get('auto_batch') and any(
        change.startswith(RATE) for change in changes
    ):
        advice = _about_batch(runner, meta.get('batches') or []) or advice
    raise CheckpointError(
        f'{filename} was trained with {", ".join(changes)}, and a '
        f'resumed run keeps objective, optimizer and schedule: {advice}'
    )


def batches(runner: Any) -> list[int]:
    """Pairs of one batch of each loader, over all processes."""
    loaders = getattr(runner.train_loop.dataloader, 'loaders', [])
    return [loader.batch_size * runner.world_size for loader in loaders]


def tell_changes(runner: Any, before: str) -> None:
    """Says in which lines the config differs from the run's.

    Args:
        runner: The runner.
        before: Text of the run's config.
    """
    changes = config_changes(before, runner.cfg.pretty_text)
    if before and changes:
        runner.logger.warning(
            'the config is not the one that the run was started with:\n'
            + changes
        )


def take_seed(runner: Any, seed: int | None, filename: str) -> None:
    """Goes on with the seed of the run that is resumed.

    Args:
        runner: The runner.
        seed: The run's, if the checkpoint knows it.
        filename: Its name, for the message.

    Raises:
        CheckpointError: The config asks for another, which the order of the
            data has followed already.
    """
    wanted = runner._randomness_cfg.get('seed')
    if seed is None or seed == wanted:
        return
    if wanted is not None:
        raise CheckpointError(
            f'{filename} was trained with seed {seed}, and a resumed run '
            f'keeps it: set randomness.seed={seed}, where the config says '
            f'{wanted}'
        )
    runner._randomness_cfg.update(seed=seed)
    runner.set_randomness(**runner._randomness_cfg)


def take_place(runner: Any, places: list[Any] | None) -> None:
    """Puts the data where they were, each process its own part.

    Args:
        runner: The runner; its training loop is built.
        places: The place of each process of the run.
    """
    if not hasattr(runner.train_loop, 'load_state_dict'):
        return
    places = places or []
    if len(places) == runner.world_size:
        place = places[runner.rank]
    else:
        place = place_for_all(places, runner.rank)
    if place is None:
        runner.logger.warning(
            f'the run had {len(places)} places in the data and '
            f'there are {runner.world_size} processes now: the data start '
            'from their beginning, so some are seen again'
        )
        return
    runner.train_loop.load_state_dict(place)


def _about_batch(runner: Any, before: list[int]) -> str | None:
    """What to do where the rate differs since another batch was fitted."""
    now = batches(runner)
    if not before or before == now or len(set(before)) > 1:
        return None
    pairs, processes = before[0], runner.world_size
    share, rest = divmod(pairs, processes)
    fitted = (
        f'the rate goes with the batch, which was {pairs} pairs and is '
        f'{now[0]} here, so '
    )
    if rest:
        return fitted + (
            f'resume on a number of processes that {pairs} can be divided by'
        )
    said = (
        f'{fitted}resume with --cfg-options '
        f'train_dataloader.batch_size={share}'
    )
    if isinstance(runner.cfg.train_dataloader, list):
        # Several --data take it from the one loader that the config has.
        each = ' '.join(
            f'train_dataloader.{i}.batch_size={share}'
            for i in range(len(before))
        )
        said += f', or, where the config itself has several, {each}'
    return said
