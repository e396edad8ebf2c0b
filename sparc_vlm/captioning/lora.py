"""LoRA on a language model, by peft: made, written and read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.weights import WeightsError, read_weights
from sparc_vlm.weights.errors import some

if TYPE_CHECKING:
    from peft import PeftModel

DEFAULTS = dict(
    r=16, lora_alpha=32, lora_dropout=0.0, target_modules='all-linear'
)
"""All linear layers of the blocks; the head and the embeddings stay."""
WEIGHTS = 'adapter_model.safetensors'


def add_lora(
    model: nn.Module, options: Mapping[str, Any], name: str
) -> PeftModel:
    """Puts low-rank layers beside those of a language model, in place.

    Args:
        model: A causal language model of transformers; it is frozen.
        options: Arguments of peft's `LoraConfig`, on top of `DEFAULTS`.
        name: Where the model comes from, for whoever loads the adapter.

    Raises:
        ValueError: peft does not take an argument, or finds no such layer.
    """
    from peft import LoraConfig, get_peft_model

    # peft writes them down as JSON, and a config's own types are not plain.
    plain = {
        key: list(value) if isinstance(value, (list, tuple)) else value
        for key, value in (DEFAULTS | dict(options)).items()
    }
    try:
        config = LoraConfig(task_type='CAUSAL_LM', **plain)
        with warnings.catch_warnings():
            # peft asks transformers for something by its old name.
            warnings.simplefilter('ignore', FutureWarning)
            wrapped = get_peft_model(model, config)
    except (TypeError, ValueError) as error:
        said = ' '.join(str(error).split())
        raise UsageError(f'language.lora: {said}') from error
    wrapped.peft_config['default'].base_model_name_or_path = name
    return wrapped


def write_adapter(
    wrapped: PeftModel, folder: Path, weights: Mapping[str, Tensor]
) -> None:
    """Writes an adapter that `PeftModel.from_pretrained` takes.

    Args:
        wrapped: The language model with its low-rank layers.
        folder: Where to.
        weights: Its state, the low-rank layers' at least.
    """
    wrapped.save_pretrained(
        str(folder),
        state_dict=dict(weights),
        # Nothing was added to them, and peft would ask the hub to find out.
        save_embedding_layers=False,
    )


def read_adapter(wrapped: PeftModel, folder: Path) -> None:
    """Takes the weights of an adapter that `write_adapter` wrote.

    Args:
        wrapped: A language model with low-rank layers of the same kind.
        folder: Of the adapter.

    Raises:
        WeightsError: It is not there, damaged, or of another model.
    """
    from peft import set_peft_model_state_dict
    from peft.utils import get_peft_model_state_dict

    weights = read_weights(folder / WEIGHTS)
    needed = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    wrong = [
        key
        for key in {**needed, **weights}
        if key not in needed
        or key not in weights
        or needed[key].shape != weights[key].shape
    ]
    if wrong:
        raise WeightsError(
            f'the adapter in {folder} does not fit this language model and '
            f'its lora: {len(wrong)} of {len(needed)} weights are missing or '
            f'differ ({some(wrong)})'
        )
    set_peft_model_state_dict(wrapped, weights)
