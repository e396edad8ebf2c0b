"""Where a detector by words starts: two encoders, random or pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import nn

from sparc_vlm.datasets import has_tokenizer, load_tokenizer
from sparc_vlm.datasets.tokens import Tokenizer
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.models import ImageTextPretrainer
from sparc_vlm.registry import MODELS, TOKENIZERS
from sparc_vlm.weights import LoadReport, load_into, read_weights

OBJECTIVE = 'objective.'
"""Where the pretrainer's objective keeps parameters of its own."""
TOKENIZER = 'tokenizer'


def build_encoders(
    cfg: dict[str, Any], checkpoint: str | Path | None = None
) -> ImageTextPretrainer:
    """The pretrainer with a tokenizer and without its objective.

    Args:
        cfg: Of the pretrainer; the text encoder's `vocab_size` is the
            tokenizer's whatever it says.
        checkpoint: A model folder, or a file in it or beside it, whose
            tokenizer is taken where `cfg` names none.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: There is no tokenizer, or the image encoder leaves
            patches out.
    """
    tokenizer = _tokenizer(cfg.get('tokenizer'), checkpoint)
    text = dict(cfg['text'])
    if 'vocab_size' in text:
        text['vocab_size'] = tokenizer.vocab_size
    own = dict(text=text, tokenizer=None, init_cfg=None, _scope_='sparc_vlm')
    encoders = MODELS.build(dict(cfg, **own))
    if getattr(encoders.vision, 'patch_drop_rate', 0):
        raise UsageError(
            'every patch predicts a box: leave patch_drop_rate out of '
            'encoders.vision'
        )
    encoders.tokenizer = tokenizer
    # Whether there is h_v follows from it; nothing else is left to it.
    encoders.objective = nn.Identity()
    encoders.log_scale.requires_grad_(False)
    return encoders


def load_start(
    encoders: ImageTextPretrainer, checkpoint: str | Path
) -> LoadReport:
    """Puts the weights of a pretraining run into the encoders.

    Args:
        encoders: From `build_encoders`.
        checkpoint: A model folder, or a file of weights.

    Raises:
        WeightsError: A key does not fit; the objective's are left out.
    """
    state = read_weights(checkpoint)
    kept = {k: v for k, v in state.items() if not k.startswith(OBJECTIVE)}
    if len(kept) < len(state):
        print_log(
            f'{checkpoint}: left out {len(state) - len(kept)} weights of the '
            'pretraining objective',
            'current',
        )
    return load_into(encoders, kept)


def _tokenizer(
    cfg: dict[str, Any] | None, checkpoint: str | Path | None
) -> Tokenizer:
    if cfg and cfg.get('path'):
        if 'type' not in cfg:
            return load_tokenizer(cfg['path'], cfg.get('max_length'))
        return TOKENIZERS.build(dict(cfg, _scope_='sparc_vlm'))
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        if not path.exists():
            raise MissingFileError(
                f'there is no {path} to start from: name the model folder '
                'that pretraining wrote'
            )
        folder = path if path.is_dir() else path.parent
        for place in (folder, folder / 'model'):
            if has_tokenizer(place / TOKENIZER):
                return load_tokenizer(place / TOKENIZER)
        raise UsageError(
            f'there is no tokenizer beside {checkpoint}: name the model '
            'folder that pretraining wrote, or set '
            'model.encoders.tokenizer.path'
        )
    raise UsageError(
        'a detector by words needs a tokenizer: set '
        'model.init_cfg.checkpoint to the model folder that pretraining '
        'wrote, or model.encoders.tokenizer.path to a tokenizer'
    )
