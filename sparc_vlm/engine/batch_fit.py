"""Fits the paper's global batch to the machine at hand.

A recipe states the batch it was made for (16384 pairs on 256 devices). Here
the batch that this machine can hold is worked out, the learning rate follows,
and what that means is said in words.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import nn

from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.registry import MODELS

CPU_BATCH = 32
PAIRS = 'pairs'
"""What a batch is counted in unless `auto_batch.unit` says otherwise."""
USABLE = 0.8
"""Share of the free memory to plan with; the rest is fragmentation."""
TRAINING_BYTES = 16
"""Of a parameter: itself, its gradient and AdamW's two moments, float32."""


class EncoderSize(NamedTuple):
    """What decides how much memory an encoder's activations take.

    Attributes:
        tokens: Patches, or tokens of the longest caption.
        layers: Transformer layers.
        width: Width of the stream between them.
        checkpointed: Whether layers are recomputed on the way back.
    """

    tokens: int
    layers: int
    width: int
    checkpointed: bool = False

    def bytes_per_sample(self, half: bool) -> int:
        """Memory of the activations that backward needs.

        A layer keeps 18 values a token and channel in the width of its
        products: 4 around query, key and value, 4 around attention and its
        projection (attention itself keeps no matrix), 10 around the hidden
        layer, much as counted by Korthikanti et al., arXiv 2205.05198. Its
        two norms keep their float32 input. With activation checkpointing a
        layer keeps its input alone, and one layer at a time is in memory in
        full.

        Args:
            half: Whether products run in 16 bits.
        """
        in_full = 18 * (2 if half else 4) + 2 * 4
        layers = self.layers
        values = (
            4 * layers + in_full if self.checkpointed else in_full * layers
        )
        return values * self.tokens * self.width


def fit_batch(
    cfg: Config,
    world_size: int = 1,
    free_bytes: int | None = None,
    keep: bool = False,
) -> tuple[Config, list[str]]:
    """Sets the batch per device and the learning rate.

    Reads `auto_batch=dict(global_batch_size=...)`: the batch that the
    learning rate was chosen for, in pairs, or in what `unit='pictures'` says:
    then there are no negatives, each round counts as one of `max_iters`, as
    mmengine's own loops have it, and the loader must have a `batch_size`. A
    `batch_size` that the loaders already
    have is taken as the user's; where it is None, a CPU takes 32 pairs and a
    GPU the largest power of two whose estimated memory fits, in no case more
    than its share of the stated batch. With `model.micro_batch`, memory is
    the user's matter, and each process takes its whole share. What an update
    takes in several rounds (`optim_wrapper.accumulative_counts`) counts as
    one batch for the learning rate, and not for the negatives.

    The learning rate is multiplied by the square root of the ratio of the
    batches. That is the rule for Adam: its step is normalised by the
    gradient's size, so it is the noise of the gradient, which falls with the
    root of the batch, that sets how far to go (Malladi et al., "On the SDEs
    and scaling rules for adaptive gradient algorithms", arXiv 2205.10287).
    The linear rule belongs to SGD.

    Args:
        cfg: The config; it is not changed.
        world_size: Processes.
        free_bytes: Free memory of one GPU, or None on a CPU.
        keep: Takes the stated batch and learning rate as they are.

    Returns:
        The fitted config, and lines that tell the user what was changed and
        what it means. Without `auto_batch`: the config as it was, no lines.

    Raises:
        ConfigError: The stated batch cannot be shared out evenly, not even
            a batch of two fits, nobody says how many pictures fit, or
            mmengine is to scale the rate, too.
    """
    cfg = copy.deepcopy(cfg)
    if not cfg.get('auto_batch'):
        return cfg, []
    if (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise ConfigError(
            'auto_scale_lr.enable: auto_batch scales the learning rate '
            'already, so leave one of them out (auto_batch=None)'
        )
    stated = cfg.auto_batch['global_batch_size']
    rounds = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    shares = world_size * rounds
    loaders = _loaders(cfg)
    given = {loader.get('batch_size') for loader in loaders}
    if len(given) > 1:
        raise ConfigError(
            'the loaders have different batch sizes '
            f'({", ".join(map(str, given))}): give all of them the same, or '
            'none'
        )
    chosen = given.pop()
    if chosen is None:
        if cfg.auto_batch.get('unit', PAIRS) != PAIRS:
            raise ConfigError(
                'train_dataloader.batch_size: set it, since how many '
                f'{cfg.auto_batch.unit} fit is estimated for no such model'
            )
        if keep or cfg.model.get('micro_batch'):
            chosen = _share(stated, world_size, rounds)
        else:
            chosen = _largest(cfg, stated, shares, world_size, free_bytes)
    for loader in loaders:
        loader['batch_size'] = chosen
    fitted = chosen * shares
    lines = [_batch_line(cfg, chosen, world_size, rounds, free_bytes)]
    if fitted != stated and not keep:
        lines.append(_scale_rate(cfg, math.sqrt(fitted / stated)))
    if fitted != stated or rounds > 1:
        lines += _meaning(cfg, fitted, stated, len(loaders), rounds)
    return cfg, lines


def model_sizes(model: nn.Module) -> list[EncoderSize]:
    """Sizes of a pretrainer's two encoders, read off its modules.

    Transformers only: a layer is taken to have two LayerNorms.

    Args:
        model: With `vision`, `text` and `image_size`; meta tensors will do.
    """
    patch = next(
        (m for m in model.vision.modules() if isinstance(m, nn.Conv2d)), None
    )
    stride = patch.stride[0] if patch is not None else 16
    tokens = {
        'vision': (model.image_size // stride) ** 2,
        'text': getattr(model.text, 'max_length', 55),
    }
    sizes = []
    for name, count in tokens.items():
        encoder = getattr(model, name)
        norms = [m for m in encoder.modules() if isinstance(m, nn.LayerNorm)]
        again = bool(getattr(encoder, 'with_cp', False))
        layers = max(len(norms) // 2, 1)
        sizes.append(EncoderSize(count, layers, encoder.embed_dims, again))
    return sizes


def _loaders(cfg: Config) -> list[dict[str, Any]]:
    loaders = cfg.train_dataloader
    return list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]


def _share(stated: int, world_size: int, rounds: int) -> int:
    """The stated batch, shared out evenly."""
    chosen, rest = divmod(stated, world_size * rounds)
    if rest:
        times = f' in {rounds} rounds' if rounds > 1 else ''
        raise ConfigError(
            f'a batch of {stated} cannot be shared by {world_size} '
            f'processes{times}: set auto_batch.global_batch_size to a '
            'multiple of their number'
        )
    return chosen


def _largest(
    cfg: Config,
    stated: int,
    shares: int,
    world_size: int,
    free_bytes: int | None,
) -> int:
    """The largest batch per device that fits."""
    share = max(stated // shares, 1)
    if free_bytes is None:
        return min(CPU_BATCH, share)
    plan = {**cfg.model, 'tokenizer': None}
    with torch.device('meta'):
        model = MODELS.build(plan)
    half = bool(cfg.optim_wrapper.get('dtype'))
    pair = sum(size.bytes_per_sample(half) for size in model_sizes(model))
    parameters = sum(p.numel() for p in model.parameters())
    room = USABLE * free_bytes - TRAINING_BYTES * parameters
    best = 0
    for power in range(1, share.bit_length()):
        batch = 2**power
        # Both directions' float32 logits of one process, and their gradient.
        logits = 4 * 4 * batch * batch * world_size
        if batch * pair + logits <= room:
            best = batch
    if best == 0:
        raise ConfigError(
            f'{free_bytes / 2**30:.1f} GiB of free memory do not hold this '
            'model and two pairs: choose a smaller model or a smaller image'
        )
    return best


def _batch_line(
    cfg: Config,
    batch: int,
    world_size: int,
    rounds: int,
    free_bytes: int | None,
) -> str:
    stated = cfg.auto_batch['global_batch_size']
    unit = cfg.auto_batch.get('unit', PAIRS)
    kind = 'CPU process' if free_bytes is None else 'GPU'
    total = batch * world_size * rounds
    times = f' in {rounds} rounds' if rounds > 1 else ''
    return (
        f'batch: {total} {unit} ({batch} on each of {world_size} {kind}'
        f'{"es" if kind != "GPU" and world_size > 1 else ""}'
        f'{"s" if kind == "GPU" and world_size > 1 else ""}{times}), '
        f'the recipe states {stated}'
    )


def _scale_rate(cfg: Config, factor: float) -> str:
    """Scales the learning rate and a schedule's floor."""
    optimizer = cfg.optim_wrapper.optimizer
    before = optimizer.lr
    optimizer.lr = before * factor
    schedules = cfg.get('param_scheduler') or []
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        if schedule.get('eta_min'):
            schedule['eta_min'] *= factor
    return (
        f'learning rate: {optimizer.lr:.3g} instead of {before:.3g}, by the '
        'square root of the ratio (--keep-batch leaves both as stated)'
    )


def _meaning(
    cfg: Config, fitted: int, stated: int, datasets: int, rounds: int
) -> list[str]:
    steps = cfg.train_cfg.get('max_iters')
    unit = cfg.auto_batch.get('unit', PAIRS)
    parts, taken = [], fitted
    if unit == PAIRS:
        parts.append(
            f'{fitted // rounds - 1} negatives for each row of the global '
            f'loss instead of {stated - 1}'
        )
    else:
        taken //= rounds
    if steps and taken != stated:
        seen, planned = (steps * size * datasets for size in (taken, stated))
        parts.append(
            f'{_short(seen)} {unit} seen in {steps} '
            f'{"updates" if taken == fitted else "rounds"} instead of '
            f'{_short(planned)}'
        )
    lines = [f'meaning: {", and ".join(parts)}'] if parts else []
    if fitted // rounds < stated:
        lines.append("do not expect the paper's numbers from this run")
    return lines


def _short(count: int) -> str:
    for size, name in ((10**9, 'billion'), (10**6, 'million')):
        if count >= size:
            return f'{count / size:.1f} {name}'
    return str(count)
