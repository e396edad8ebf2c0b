"""Reading weights from disk without running what a file may carry.

Safetensors hold tensors and nothing else; pickles of torch are read for
their tensors only, unless the caller trusts whoever wrote them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sparc_vlm.weights.errors import WeightsError, some

State = dict[str, Tensor]

WEIGHTS_FILE = 'model.safetensors'
_PICKLES = ('.pth', '.pt', '.ckpt', '.bin')
# where frameworks keep the weights inside a checkpoint
_CONTAINERS = ('state_dict', 'model')
# what DistributedDataParallel and torch.compile put before every key
_WRAPPERS = ('module.', '_orig_mod.')


class _LeftOut:
    """Stands for an object of a checkpoint that is not needed.

    mmengine keeps its log in its checkpoints, as objects that torch rightly
    refuses to rebuild unasked. They become this instead, which runs nothing.
    """

    def __init__(self, *args: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


_LOG_TYPES = (
    'mmengine.logging.history_buffer.HistoryBuffer',
    'builtins.getattr',
    'numpy.ndarray',
    'numpy.dtype',
    'numpy._core.multiarray._reconstruct',
    'numpy._core.multiarray.scalar',
    'numpy.core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
)


def _find(path: Path) -> Path:
    """The file that holds the weights.

    Raises:
        WeightsError: There is none; the message says what was looked for.
    """
    if path.is_dir():
        if (path / WEIGHTS_FILE).is_file():
            return path / WEIGHTS_FILE
        raise WeightsError(
            f'the folder {path} holds no weights: there is no {WEIGHTS_FILE}'
        )
    if not path.is_file():
        here = path.parent
        names = [p.name for p in here.iterdir()] if here.is_dir() else []
        near = difflib.get_close_matches(path.name, names, 1)
        hint = f'; there is a {here / near[0]}' if near else ''
        raise WeightsError(
            f'no weights at {path}: looked for a file {some(_PICKLES)} or '
            f'.safetensors, or a folder with {WEIGHTS_FILE} in it{hint}'
        )
    if path.suffix not in (*_PICKLES, '.safetensors'):
        raise WeightsError(
            f'{path} is no file of weights: its name must end in '
            f'{", ".join(_PICKLES)} or .safetensors'
        )
    return path


def _unpickle(path: Path, trust: bool) -> Any:
    """Whatever a .pth file holds, on the CPU.

    Raises:
        WeightsError: It is damaged, or holds code and is not trusted.
    """
    left_out = [(_LeftOut, name) for name in _LOG_TYPES]
    try:
        with torch.serialization.safe_globals(left_out):
            return torch.load(path, 'cpu', weights_only=not trust)
    except Exception as error:  # a damaged pickle may raise anything
        code = re.search(r'GLOBAL (\S+)', str(error))
        if code:
            raise WeightsError(
                f'{path} holds more than tensors ({code[1]}), and reading '
                'that may run code of whoever wrote it: pass --trust '
                '(trust=True) if you trust them'
            ) from error
        raise WeightsError(
            f'{path} is damaged or no checkpoint of torch: '
            f'{type(error).__name__} on reading it'
        ) from error


def _flatten(content: Any, path: Path) -> State:
    """The tensors of a checkpoint, by plain keys.

    Raises:
        WeightsError: There are none.
    """
    for container in _CONTAINERS:
        if isinstance(content, Mapping):
            inner = content.get(container)
            content = inner if isinstance(inner, Mapping) else content
    if not isinstance(content, Mapping):
        raise WeightsError(
            f'{path} holds a {type(content).__name__}, not a dict of weights'
        )
    state = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    others = [str(key) for key in content if key not in state]
    if not state:
        raise WeightsError(f'{path} holds no tensors, only {some(others)}')
    if others:
        print_log(
            f'{path}: left out what is no tensor: {some(others)}', 'current'
        )
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in state):
            state = {k.removeprefix(wrapper): v for k, v in state.items()}
    return state


def read_weights(path: str | Path, trust: bool = False) -> State:
    """Reads the weights of a file or of a saved model's folder.

    Args:
        path: A .pth, .pt, .ckpt or .bin file of torch (weights at the top,
            or under 'state_dict' or 'model'), a .safetensors file, or a
            folder with model.safetensors in it.
        trust: Unpickles whatever the file holds, which may run code. Only
            for files whose author you trust.

    Returns:
        Tensors on the CPU by key, without the prefixes of DDP and
        torch.compile.

    Raises:
        WeightsError: Nothing is there, the file is damaged or holds no
            weights, or it holds code and `trust` is off.
    """
    file = _find(Path(path).expanduser())
    if file.suffix != '.safetensors':
        return _flatten(_unpickle(file, trust), file)
    try:
        return _flatten(load_file(file), file)
    except SafetensorError as error:
        raise WeightsError(
            f'{file} is damaged or no safetensors file: {error}'
        ) from error


def select_prefix(state: Mapping[str, Tensor], prefix: str) -> State:
    """The weights under a prefix, such as 'vision.', without the prefix.

    Raises:
        WeightsError: There are none; the message names the prefixes that
            there are.
    """
    chosen = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    if not chosen:
        tops = sorted({key.split('.')[0] + '.' for key in state})
        raise WeightsError(
            f'no key begins with {prefix!r}: the keys begin with {some(tops)}'
        )
    return chosen
