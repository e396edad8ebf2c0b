"""A trained captioner as a folder that anyone can load: writing it.

    config.json            how it is built, and which eyes it was trained with
    projector.safetensors
    eyes/                  the eyes, unless they are the hub's
    language.json          where the language model comes from, and which
    adapter/               its low-rank layers in peft's format, if it has any
    language/              in their place, a language model trained whole

As in the folder of a pretrained model there is no code, and none is run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.runner import Runner
from safetensors.torch import save as serialise
from torch import Tensor

from sparc_vlm import hub
from sparc_vlm.captioning.captioner import Captioner
from sparc_vlm.captioning.fingerprints import check_same, sampled_fingerprint
from sparc_vlm.captioning.lora import write_adapter
from sparc_vlm.files import atomic_file, write_json
from sparc_vlm.registry import HOOKS
from sparc_vlm.weights import select_prefix

PART = 'captioner'
PROJECTOR = 'projector.safetensors'
ADAPTER = 'adapter'
LANGUAGE = 'language'
LANGUAGE_FILE = 'language.json'


def save(
    captioner: Captioner,
    folder: str | Path,
    model_cfg: dict[str, Any],
    weights: dict[str, Tensor] | None = None,
    with_eyes: bool = True,
) -> Path:
    """Writes a captioner's folder.

    Args:
        captioner: The captioner.
        folder: Where to; made if it is not there.
        model_cfg: The config that it was built from.
        weights: In place of those that it has, its trained keys.
        with_eyes: Whether to write the eyes, which are there already if this
            is not the first time.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = weights or captioner.state_dict()
    language = captioner.language
    if with_eyes:
        captioner.eyes.write(folder)
    write_projector(select_prefix(weights, 'projector.'), folder)
    source = dict(
        language.source, lora=language.lora, fingerprint=language.fingerprint
    )
    if language.has_lora:
        with replaced_folder(folder / ADAPTER) as new:
            own = select_prefix(weights, 'language.model.')
            write_adapter(language.model, new, own)
    elif not language.is_frozen:
        with replaced_folder(folder / LANGUAGE) as new:
            own = select_prefix(weights, 'language.model.')
            language.model.save_pretrained(new, state_dict=own)
            language.tokenizer.save_pretrained(new)
        source.update(path=LANGUAGE, gguf_file=None, fingerprint=None)
    write_json(folder / LANGUAGE_FILE, plain(source))
    described = dict(
        eyes=captioner.eyes.describe(),
        projector=model_cfg['projector'],
        prompt=captioner.prompt,
        freeze_language=language.is_frozen,
        eyes_fingerprint=sampled_fingerprint(captioner.eyes),
    )
    write_json(
        folder / hub.CONFIG_FILE,
        {'format': hub.FORMAT, PART: plain(described)},
    )
    return folder


@HOOKS.register_module()
class CaptionerExportHook(hub.ExportHook):
    """Keeps `<work_dir>/model`, which `load` takes, up to date.

    As `ExportHook` does for pretraining. The eyes never change and are
    written once.

    Args:
        folder: Name of the folder in the work folder.
    """

    _has_eyes = False

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Notes what the checkpoint leaves out; exports its weights.

        Args:
            runner: The runner.
            checkpoint: What it holds.
        """
        meta = checkpoint.setdefault('meta', {})
        meta['frozen_parts'] = runner.bare_model.frozen_parts
        super().before_save_checkpoint(runner, checkpoint)

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Stops where the run went on with other eyes or language model.

        Args:
            runner: The runner.
            checkpoint: What was read.

        Raises:
            WeightsError: They are not those that it was trained with.
        """
        wanted = checkpoint.get('meta', {}).get('frozen_parts', {})
        for part, own in runner.bare_model.frozen_parts.items():
            check_same(own, wanted.get(part, own), part, 'the checkpoint')

    def _write(
        self,
        runner: Runner,
        model: Captioner,
        folder: Path,
        weights: dict[str, Tensor] | None,
    ) -> None:
        """Writes the folder of a captioner."""
        cfg = runner.cfg.model.to_dict()
        save(model, folder, cfg, weights, with_eyes=not self._has_eyes)
        self._has_eyes = True


def write_projector(weights: dict[str, Tensor], folder: Path) -> None:
    """Writes the weights of a projector, whole or not at all."""
    state = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    with atomic_file(folder / PROJECTOR) as file:
        file.write(serialise(state))


def plain(value: Any) -> Any:
    """A config as JSON holds it."""
    return json.loads(json.dumps(value, default=str))


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of the old one at last.

    Args:
        folder: Need not be there.
    """
    new = folder.with_name(f'{folder.name}.{os.getpid()}')
    old = folder.with_name(f'{new.name}.old')
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        # Deleted once the new one is there: that can take a while.
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
