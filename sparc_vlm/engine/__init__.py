"""How a run goes: loops, checkpoints, mixed precision, its log."""

from sparc_vlm.engine.checkpoint import (
    BrokenCheckpointError,
    CheckpointError,
    RefusedCheckpointError,
    is_whole,
    read_checkpoint,
    whole_checkpoints,
    write_checkpoint,
)
from sparc_vlm.engine.checkpoint_hook import SafeCheckpointHook
from sparc_vlm.engine.config_check import check_config, load_config
from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.config_overrides import KeyValues
from sparc_vlm.engine.layer_decay import LayerDecayConstructor
from sparc_vlm.engine.loops import PretrainLoop
from sparc_vlm.engine.optim import AutocastOptimWrapper, NonFiniteError
from sparc_vlm.engine.param_groups import GroupingConstructor
from sparc_vlm.engine.processes import join_processes
from sparc_vlm.engine.runner import SparcRunner
from sparc_vlm.engine.task_loop import TaskLoop
from sparc_vlm.engine.throughput_hook import ThroughputHook

__all__ = [
    'AutocastOptimWrapper',
    'BrokenCheckpointError',
    'CheckpointError',
    'ConfigError',
    'GroupingConstructor',
    'KeyValues',
    'LayerDecayConstructor',
    'NonFiniteError',
    'PretrainLoop',
    'RefusedCheckpointError',
    'SafeCheckpointHook',
    'SparcRunner',
    'TaskLoop',
    'ThroughputHook',
    'check_config',
    'is_whole',
    'join_processes',
    'load_config',
    'read_checkpoint',
    'whole_checkpoints',
    'write_checkpoint',
]
