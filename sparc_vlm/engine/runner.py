"""mmengine's runner with checkpoints that can be relied on.

Only what touches checkpoints and CPU processes differs: they are written
whole, hold plain data and the place in the training data, and are read
without running code. Any OpenMMLab recipe runs under it as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine import dist
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from torch import Tensor, nn

from sparc_vlm.engine.checkpoint import OWN
from sparc_vlm.engine.contents import contents
from sparc_vlm.engine.histories import ShortHistories
from sparc_vlm.engine.processes import PATIENCE, from_first, join_processes
from sparc_vlm.engine.resuming import (
    check_contents,
    check_learning,
    take_place,
    take_seed,
    tell_changes,
)
from sparc_vlm.engine.run_files import (
    latest_readable,
    read_any,
    read_run,
    write_or_say,
)
from sparc_vlm.engine.sharding import Sharding
from sparc_vlm.engine.snapshot import restore_schedulers
from sparc_vlm.engine.strategies import (
    ddp_options,
    on_cpu,
    share_out,
    shares_out,
    wrap_ddp,
)
from sparc_vlm.engine.strategy_check import check_strategy
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import RUNNERS
from sparc_vlm.weights import load_into


@RUNNERS.register_module()
class SparcRunner(Runner):
    """mmengine's `Runner`; takes the same arguments.

    Three more fields of the config are read: `trust=True` unpickles whatever
    a checkpoint holds (only for files whose origin you trust),
    `load_strict=False` lets `load_from` take weights of which only a part
    fits, and `strategy` is mmengine's FSDPStrategy or DDPStrategy, of which
    the way to wrap the model is taken.

    Attributes:
        loaded_iter: Updates that the weights loaded last had seen, or None.
    """

    loaded_iter: int | None = None
    _sharding: Sharding | None = None
    _gathered: nn.Module | None = None

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """As mmengine's; processes on a CPU meet through gloo."""
        limits = env_cfg.get('dist_cfg') or {}
        join_processes(limits.get('timeout', PATIENCE))
        super().setup_env(env_cfg)

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """As mmengine's, with histories that do not grow with the run."""
        hub = super().build_message_hub(message_hub)
        hub._log_scalars = ShortHistories(hub.log_scalars)
        return hub

    @property
    def bare_model(self) -> nn.Module:
        """The model itself; under FSDP whole while it is `gathered`."""
        if self._gathered is not None:
            return self._gathered
        wrapped = is_model_wrapper(self.model)
        return self.model.module if wrapped else self.model

    def weights(self) -> dict[str, Tensor]:
        """The model's weights, on the CPU, in the first process.

        For all processes to call.
        """
        if self._sharding is not None:
            return self._sharding.weights()
        if not dist.is_main_process():
            return {}
        return weights_to_cpu(self.bare_model.state_dict())

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Has a whole model in the first process; for all to enter.

        Under FSDP it is a copy, to encode with.
        """
        if self._sharding is not None:
            self._gathered = self._sharding.whole_model()
        try:
            yield
        finally:
            self._gathered = None

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """As mmengine's, or as a `strategy` says."""
        check_strategy(self.cfg)
        strategy = self.cfg.get('strategy')
        if strategy and not self.distributed:
            self.logger.info(
                'strategy: one process wraps and shares out nothing, so it '
                'makes no difference here'
            )
        if not self.distributed or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        model = model.to(get_device())
        if shares_out(strategy):
            # Before there is but a piece of each parameter.
            super()._init_model_weights()
            self._sharding = share_out(self, strategy, model)
            return self._sharding.wrapped
        if strategy:
            return wrap_ddp(strategy, model)
        if on_cpu():
            unused = self.cfg.get('find_unused_parameters', False)
            given = model_wrapper_cfg or {}
            model_wrapper_cfg = ddp_options(
                {'find_unused_parameters': unused, **given}
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> bool:
        """Writes a checkpoint that is either whole or not there.

        Every process must call this; the first one writes. A full disk does
        not stop the run: it is said, and the last good checkpoint stays.

        Args:
            out_dir: A local folder.
            filename: Name in it.
            file_client_args: Must be None; kept for mmengine's hooks.
            save_optimizer: Whether training can be resumed from it.
            save_param_scheduler: As `save_optimizer`.
            meta: More to save under 'meta', such as 'iter'.
            by_epoch: Whether an epoch ended, rather than an iteration.
            backend_args: Must be None; kept for mmengine's hooks.

        Returns:
            Whether it was written, the same in every process.

        Raises:
            ValueError: `out_dir` is not a local folder.
        """
        if file_client_args or backend_args or '://' in str(out_dir):
            raise UsageError(
                f'checkpoints are written to local folders, not to {out_dir}: '
                'set work_dir to one and copy them from there'
            )
        path = Path(out_dir) / filename
        # All processes: each may hold a part of it.
        checkpoint = contents(
            self, meta or {}, by_epoch, save_optimizer, save_param_scheduler
        )

        def write() -> bool:
            self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
            last = self.message_hub.get_info('last_ckpt', 'none yet')
            return write_or_say(checkpoint, path, last, self.logger)

        return from_first(write)

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = 'cpu',
        strict: bool | None = None,
        revise_keys: list | None = None,
    ) -> dict[str, Any]:
        """Loads weights, saying which keys fitted.

        Args:
            filename: A .pth or .safetensors file, a saved model folder, or
                an address that mmengine knows (https://, torchvision://).
            map_location: Only used for addresses.
            strict: Whether every key must fit; None: as `load_strict` in the
                config says, and without that, yes.
            revise_keys: (pattern, replacement) pairs applied to the keys.

        Returns:
            The checkpoint, as far as it could be read.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: Keys do not fit, or nothing there holds weights.
            CheckpointError: The file is damaged, or holds code.
        """
        if strict is None:
            strict = self.cfg.get('load_strict', True)
        checkpoint = read_any(filename, map_location, self._trust)
        for pattern, replacement in revise_keys or ():
            checkpoint['state_dict'] = {
                re.sub(pattern, replacement, key): value
                for key, value in checkpoint['state_dict'].items()
            }
        self._take_weights(checkpoint, strict)
        self.logger.info(f'loaded the weights of {filename}')
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'cpu',
    ) -> None:
        """Goes on with a run, exactly where it was.

        Args:
            filename: A checkpoint that this runner wrote.
            resume_optimizer: Whether to take the optimizer's state.
            resume_param_scheduler: Whether to take the schedule's.
            map_location: Where its tensors go first; 'default' is the CPU.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: It is damaged, holds code, or only weights, or
                the config asks for another optimizer or schedule.
            ValueError: Its weights or data do not fit the config.
        """
        if map_location == 'default':
            map_location = 'cpu'
        checkpoint = read_run(filename, self._trust, map_location)
        with_schedule = (
            resume_param_scheduler and self.param_schedulers is not None
        )
        check_contents(checkpoint, with_schedule, filename)
        if resume_optimizer and resume_param_scheduler:
            check_learning(self, checkpoint['meta'], filename)
        self._take_weights(checkpoint, strict=True)
        meta = checkpoint['meta']
        self.train_loop._epoch = meta['epoch']
        self.train_loop._iter = meta['iter']
        take_seed(self, meta.get('seed'), filename)
        tell_changes(self, meta.get('cfg', ''))
        self.message_hub.load_state_dict(checkpoint['message_hub'])
        # Its own name was not known yet when it was written.
        self.message_hub.update_info('last_ckpt', str(filename))
        if resume_optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        if with_schedule:
            self.param_schedulers = self.build_param_scheduler(
                self.param_schedulers
            )
            restore_schedulers(
                self.param_schedulers, checkpoint['param_schedulers']
            )
        take_place(self, checkpoint.get('loop'))
        self.logger.info(f'resumed {filename} at iteration {self.iter}')

    def load_or_resume(self) -> None:
        """As mmengine's; falls back to the last checkpoint that is whole."""
        named = self._load_from and self._resume != OWN
        if self._has_loaded or not self._resume or named:
            return super().load_or_resume()
        path = from_first(
            lambda: latest_readable(self.work_dir, self._trust, self.logger)
        )
        if path is not None:
            return self.resume(path)
        self.logger.warning(
            f'nothing to resume: {self.work_dir} holds no whole checkpoint, '
            'so training starts from the beginning'
        )
        self._resume = False
        return super().load_or_resume()

    def _init_model_weights(self) -> None:
        """As mmengine's, once: FSDP has done so before."""
        if self._sharding is None:
            super()._init_model_weights()

    @property
    def _trust(self) -> bool:
        return self.cfg.get('trust', False)

    def _take_weights(self, checkpoint: dict[str, Any], strict: bool) -> None:
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        state = checkpoint['state_dict']
        if self._sharding is None:
            load_into(self.bare_model, state, strict)
        else:
            self._sharding.load_weights(state, strict)
        self.loaded_iter = checkpoint.get('meta', {}).get('iter')
        self._has_loaded = True
