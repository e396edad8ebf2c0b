"""mmengine's runner with checkpoints that can be relied on.

Only what touches checkpoints and CPU processes differs: they are written
whole, hold plain data and the place in the training data, and are read
without running code. Any OpenMMLab recipe runs under it as it stands.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from torch import nn

from sparc_vlm.engine.checkpoint import CheckpointError
from sparc_vlm.engine.histories import ShortHistories
from sparc_vlm.engine.processes import (
    PATIENCE,
    from_first,
    join_processes,
)
from sparc_vlm.engine.run_files import (
    latest_readable,
    read_any,
    read_run,
    write_or_say,
)
from sparc_vlm.engine.snapshot import (
    config_changes,
    learning,
    learning_changes,
    place_for_all,
    restore_schedulers,
    scheduler_states,
    to_cpu,
)
from sparc_vlm.engine.versions import versions
from sparc_vlm.registry import RUNNERS
from sparc_vlm.weights import load_into


@RUNNERS.register_module()
class SparcRunner(Runner):
    """mmengine's `Runner`; takes the same arguments.

    Two more fields of the config are read: `trust=True` unpickles whatever a
    checkpoint holds (only for files whose origin you trust), and
    `load_strict=False` lets `load_from` take weights of which only a part
    fits.

    Attributes:
        loaded_iter: Updates that the weights loaded last had seen, or None.
    """

    loaded_iter: int | None = None

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

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """As mmengine's; on a CPU, DDP is not told a device."""
        on_cpu = torch.device(get_device()).type == 'cpu'
        if self.distributed and on_cpu and not is_model_wrapper(model):
            unused = self.cfg.get('find_unused_parameters', False)
            model_wrapper_cfg = {
                'broadcast_buffers': False,
                'find_unused_parameters': unused,
                **(model_wrapper_cfg or {}),
                'device_ids': None,
            }
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
            raise ValueError(
                f'checkpoints are written to local folders, not to {out_dir}: '
                'set work_dir to one and copy them from there'
            )
        place = self._loop_state()
        path = Path(out_dir) / filename

        def write() -> bool:
            checkpoint = self._contents(
                place,
                meta or {},
                by_epoch,
                save_optimizer,
                save_param_scheduler,
            )
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
        needed = {'meta', 'message_hub', 'optimizer'}
        if resume_param_scheduler and self.param_schedulers is not None:
            needed.add('param_schedulers')
        missing = needed - checkpoint.keys()
        if missing:
            raise CheckpointError(
                f'{filename} holds no {" and no ".join(sorted(missing))}, so '
                'no run can be resumed from it: use it as load_from'
            )
        if resume_optimizer and resume_param_scheduler:
            self._check_learning(checkpoint['meta'].get('learning'), filename)
        self._take_weights(checkpoint, strict=True)
        meta = checkpoint['meta']
        self.train_loop._epoch = meta['epoch']
        self.train_loop._iter = meta['iter']
        self._take_seed(meta.get('seed'))
        self._tell_changes(meta.get('cfg', ''))
        self.message_hub.load_state_dict(checkpoint['message_hub'])
        # Its own name was not known yet when it was written.
        self.message_hub.update_info('last_ckpt', str(filename))
        if resume_optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        if resume_param_scheduler and self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(
                self.param_schedulers
            )
            restore_schedulers(
                self.param_schedulers, checkpoint['param_schedulers']
            )
        self._take_place(checkpoint.get('loop'))
        self.logger.info(f'resumed {filename} at iteration {self.iter}')

    def load_or_resume(self) -> None:
        """As mmengine's; falls back to the last checkpoint that is whole."""
        if self._has_loaded or not self._resume or self._load_from:
            super().load_or_resume()
            return
        path = from_first(
            lambda: latest_readable(self.work_dir, self._trust, self.logger)
        )
        if path is not None:
            self.resume(path)
            return
        self.logger.warning(
            f'nothing to resume: {self.work_dir} holds no whole checkpoint, '
            'so training starts from the beginning'
        )

    @property
    def _trust(self) -> bool:
        return self.cfg.get('trust', False)

    @property
    def _bare_model(self) -> nn.Module:
        wrapped = is_model_wrapper(self.model)
        return self.model.module if wrapped else self.model

    def _take_weights(self, checkpoint: dict[str, Any], strict: bool) -> None:
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_into(self._bare_model, checkpoint['state_dict'], strict)
        self.loaded_iter = checkpoint.get('meta', {}).get('iter')
        self._has_loaded = True

    def _take_seed(self, seed: int | None) -> None:
        """Goes on with the seed of the run that is resumed."""
        wanted = self._randomness_cfg.get('seed')
        if seed is None or seed == wanted:
            return
        if wanted is not None:
            self.logger.warning(
                f'the run was started with seed {seed}, which is kept: the '
                f'config says {wanted}'
            )
        self._randomness_cfg.update(seed=seed)
        self.set_randomness(**self._randomness_cfg)

    def _check_learning(
        self, before: dict[str, str] | None, filename: str
    ) -> None:
        """Refuses hyperparameters that the checkpoint would undo."""
        changes = learning_changes(before or {}, learning(self.cfg))
        if before and changes:
            raise CheckpointError(
                f'{filename} was trained with {", ".join(changes)}, and a '
                'resumed run keeps its optimizer and schedule: set the config '
                f'back, or start a new run with load_from={filename}'
            )

    def _tell_changes(self, before: str) -> None:
        """Says in which lines the config differs from the run's."""
        changes = config_changes(before, self.cfg.pretty_text)
        if before and changes:
            self.logger.warning(
                'the config is not the one that the run was started with:\n'
                + changes
            )

    def _take_place(self, places: list[Any] | None) -> None:
        """Puts the data where they were, each process its own part."""
        if not hasattr(self.train_loop, 'load_state_dict'):
            return
        places = places or []
        if len(places) == self.world_size:
            place = places[self.rank]
        else:
            place = place_for_all(places, self.rank)
        if place is None:
            self.logger.warning(
                f'the run had {len(places)} places in the data and '
                f'there are {self.world_size} processes now: the data start '
                'from their beginning, so some are seen again'
            )
            return
        self.train_loop.load_state_dict(place)

    def _contents(
        self,
        place: list[Any] | None,
        meta: dict[str, Any],
        by_epoch: bool,
        save_optimizer: bool,
        save_schedule: bool,
    ) -> dict[str, Any]:
        """What a checkpoint holds."""
        checkpoint = {
            'meta': self._meta(meta, by_epoch),
            'state_dict': weights_to_cpu(self._bare_model.state_dict()),
            'message_hub': self.message_hub.state_dict(),
            'loop': place,
        }
        if save_optimizer:
            checkpoint['optimizer'] = to_cpu(self.optim_wrapper.state_dict())
        if save_schedule and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = scheduler_states(
                self.param_schedulers
            )
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        return checkpoint

    def _loop_state(self) -> list[Any] | None:
        """The place in the data of every process."""
        if not hasattr(self.train_loop, 'state_dict'):
            return None
        return dist.all_gather_object(self.train_loop.state_dict())

    def _meta(self, given: dict[str, Any], by_epoch: bool) -> dict[str, Any]:
        # Hooks save before the loop counts the epoch or iteration as done.
        meta = {
            'epoch': self.epoch + (1 if by_epoch else 0),
            'iter': self.iter + (0 if by_epoch else 1),
            **given,
            'cfg': self.cfg.pretty_text,
            'learning': learning(self.cfg),
            'seed': self.seed,
            'experiment_name': self.experiment_name,
            'time': time.strftime('%Y%m%d_%H%M%S'),
            'mmengine_version': versions()['mmengine'],
            'versions': versions(),
        }
        dataset = getattr(self.train_loop.dataloader, 'dataset', None)
        if hasattr(dataset, 'metainfo'):
            meta['dataset_meta'] = dataset.metainfo
        return meta
