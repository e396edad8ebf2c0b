"""The cost of one update of one device: operations and memory.

The model is the config's, the step that of training: normalised images,
encoders and objective under autocast, the way back, the optimizer.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, DefaultScope
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from sparc_vlm.cost.abstract import AbstractRun
from sparc_vlm.cost.count import flop_counter
from sparc_vlm.cost.memory import KINDS, MemoryTracker
from sparc_vlm.cost.one_shot import all_pairs_at_once
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch

DTYPES = {'bf16': torch.bfloat16, 'fp32': None}
MACHINES = ('accelerator', 'cpu')


@dataclass(frozen=True)
class Setting:
    """What an update is made of.

    Attributes:
        batch_size: Pairs of an update, over all devices.
        devices: How many share them, each an equal part.
        tokens: Tokens of each caption; None for the longest that the text
            encoder takes.
        dtype: 'bf16' (autocast) or 'fp32'.
        machine: 'accelerator' or 'cpu': whose attention and blocks of pairs
            are taken, see `AbstractRun`.

    Raises:
        ValueError: A batch that does not divide by the devices, a name that
            is none of those above, or a number below 1.
    """

    batch_size: int
    devices: int = 256
    tokens: int | None = None
    dtype: str = 'bf16'
    machine: str = 'accelerator'

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.devices < 1:
            raise UsageError(
                'batch size and devices must be at least 1, got '
                f'{self.batch_size} and {self.devices}'
            )
        if self.batch_size % self.devices:
            raise UsageError(
                f'a batch of {self.batch_size} cannot be shared evenly by '
                f'{self.devices} devices: take a multiple'
            )
        if self.tokens is not None and self.tokens < 1:
            raise UsageError(f'tokens must be at least 1, got {self.tokens}')
        for name, known in (('dtype', DTYPES), ('machine', MACHINES)):
            given = getattr(self, name)
            if given not in known:
                raise UsageError(
                    f'{name} must be one of {", ".join(known)}, got {given!r}'
                )

    @property
    def local_batch(self) -> int:
        """Pairs of one device."""
        return self.batch_size // self.devices


@dataclass(frozen=True)
class Cost:
    """What one update costs one device.

    Attributes:
        flops: Floating-point operations, an addition and a multiplication
            counted as two.
        peak: Bytes by kind (`memory.KINDS`) when most are held.
        peak_phase: 'forward', 'backward' or 'step'.
        kept: Bytes of activations that the way forward leaves for the way
            back.
    """

    flops: int
    peak: dict[str, int]
    peak_phase: str
    kept: int

    @property
    def peak_bytes(self) -> int:
        """All kinds together."""
        return sum(self.peak.values())

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {'peak_bytes': self.peak_bytes}


def update_costs(cfg: Config, setting: Setting) -> tuple[Cost, Cost]:
    """Counts one update of a config's model, in both ways.

    Args:
        cfg: A pretraining config; `model` and `optim_wrapper` are read.
        setting: Batch, devices, captions, precision.

    Returns:
        As this project computes it, and with all pairs of the batch at once;
        the same twice where the objective compares no patches across pairs.

    Raises:
        ValueError: Captions longer than the text encoder takes, or a model
            whose shapes depend on the values of its features.
    """
    with all_pairs_at_once() as asked:
        one_shot = _update_cost(cfg, setting)
    if not asked.yes:
        return one_shot, one_shot
    return _update_cost(cfg, setting), one_shot


def _update_cost(cfg: Config, setting: Setting) -> Cost:
    run = AbstractRun(setting.devices, setting.machine == 'accelerator')
    model_cfg = copy.deepcopy(cfg.model)
    model_cfg.pop('tokenizer', None)
    longest = model_cfg.text.get('max_length', 55)
    tokens = setting.tokens or longest
    if tokens > longest:
        raise UsageError(
            f'captions of {tokens} tokens are longer than the text '
            f'encoder takes: at most {longest}'
        )
    with DefaultScope.overwrite_default_scope('sparc_vlm'):
        model = run.build(lambda: MODELS.build(model_cfg)).train()
    optimizer = OPTIMIZERS.build(
        dict(cfg.optim_wrapper.optimizer, params=model.parameters())
    )
    side = model.image_size
    images = run.empty(setting.local_batch, 3, side, side, dtype=torch.uint8)
    batch = dict(images=images, tokens=_captions(setting.local_batch, tokens))
    try:
        with run.running():
            fill_state(model, optimizer)
            return count_update(model, optimizer, batch, DTYPES[setting.dtype])
    except DataDependentOutputException as error:
        raise UsageError(
            'cannot count this model: a shape depends on the values of its '
            f'features ({error})'
        ) from error


def count_update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Any],
    dtype: torch.dtype | None,
) -> Cost:
    """Runs one update and counts it, with values or without.

    Args:
        model: The pretrainer.
        optimizer: Of its parameters, with its state filled already.
        batch: `images` and `tokens`.
        dtype: Of autocast; None for full precision.
    """
    tracker, counter = MemoryTracker(), flop_counter()
    tracker.claim(model.parameters(), 'parameters')
    tracker.claim(model.buffers(), 'parameters')
    tracker.claim(_state(optimizer), 'optimizer')
    tracker.claim([batch['images'], *_tensors(batch['tokens'])], 'activations')
    tracker.claim_gradients(model.parameters())
    with counter, tracker:
        tracker.phase = 'forward'
        with torch.autocast('cpu', dtype, enabled=dtype is not None):
            data = model.data_preprocessor(batch, training=True)
            losses = model(**data, mode='loss')
            loss, _ = model.parse_losses(losses)
        del losses, data
        kept = tracker.held['activations']
        tracker.phase = 'backward'
        loss.backward()
        del loss
        tracker.phase = 'step'
        optimizer.step()
    peak = {kind: tracker.peak[kind] for kind in KINDS}
    return Cost(counter.get_total_flops(), peak, tracker.peak_phase, kept)


def _captions(count: int, length: int) -> TokenBatch:
    return TokenBatch(
        ids=torch.zeros(count * length, dtype=torch.int64),
        lengths=torch.full((count,), length),
    )


def _tensors(tokens: TokenBatch) -> list[torch.Tensor]:
    return [value for value in tokens if value is not None]


def fill_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Gives the optimizer its state, as every step but the first has it.

    Args:
        model: The pretrainer; its parameters change if they have values.
        optimizer: Of its parameters.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _state(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [
        value
        for values in optimizer.state.values()
        for value in values.values()
        if isinstance(value, torch.Tensor)
    ]
