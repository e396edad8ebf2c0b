"""A captioner in parts that others load.

adapter/    LoRA in peft's format, for the language model it was made on
language/   the language model with LoRA merged in, and its tokenizer
vision/     eyes and projector, which make a picture's tokens
README.md   how transformers' own `generate` writes a caption with them
"""

from __future__ import annotations

from pathlib import Path

from sparc_vlm import hub
from sparc_vlm.captioning.captioner import Captioner
from sparc_vlm.captioning.loading import build
from sparc_vlm.captioning.lora import write_adapter
from sparc_vlm.captioning.saving import (
    ADAPTER,
    LANGUAGE,
    PART,
    replaced_folder,
)
from sparc_vlm.captioning.templates import PICTURE, PLAIN
from sparc_vlm.captioning.vision import save_vision
from sparc_vlm.errors import UsageError
from sparc_vlm.files import check_writable, write_text

VISION = 'vision'
README = 'README.md'
PAGE = """\
# A captioner in parts

Made by sparc_vlm. `language` is a model of transformers like any other, with
all that was trained merged in; {adapter}`vision` makes a
picture's tokens, {tokens} of them, {width} wide.

```python
import torch

from sparc_vlm.captioning import load_vision  # mends torchvision: first

from transformers import AutoModelForCausalLM, AutoTokenizer

vision = load_vision('{folder}/vision')
model = AutoModelForCausalLM.from_pretrained('{folder}/language')
tokenizer = AutoTokenizer.from_pretrained('{folder}/language')


def embed(text):
    ids = tokenizer.encode(
        text, add_special_tokens=False, return_tensors='pt'
    )
    return model.get_input_embeddings()(ids.long())


asked = [{{'role': 'user', 'content': {content!r}}}]
text = tokenizer.apply_chat_template(
    asked, tokenize=False, add_generation_prompt=True, enable_thinking=False
)
before, after = text.split('{mark}')
picture = vision('photo.jpg').to(model.dtype)
ids = model.generate(
    inputs_embeds=torch.cat([embed(before), picture, embed(after)], 1),
    max_new_tokens=40,
)
print(tokenizer.decode(ids[0], skip_special_tokens=True).strip())
```
"""
ABOUT_ADAPTER = (
    '`adapter` is the same\n'
    'for `peft.PeftModel.from_pretrained(model, adapter)` on the model that '
    'it was\ntrained on, {base}; '
)


def export(
    path: str | Path, out: str | Path, language: str | None = None
) -> Path:
    """Writes the parts of a trained captioner.

    Args:
        path: As `sparc_vlm.captioning.load` takes it.
        out: Where to; appears once it is whole.
        language: As `sparc_vlm.captioning.load` takes it.

    Returns:
        The folder that was written.

    Raises:
        ValueError: There is something at `out` already, or the folder above
            cannot be written to.
        WeightsError: The captioner cannot be loaded.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f'there is a {out} already: name another folder')
    check_writable(out.parent)
    captioner = build(path, language)
    described = hub.read_config(
        hub.model_folder(Path(path).expanduser()) / hub.CONFIG_FILE, PART
    )
    with replaced_folder(out) as new:
        save_vision(captioner, described['projector'], new / VISION)
        write_text(new / README, _page(captioner, out.name))
        if captioner.language.has_lora:
            wrapped = captioner.language.model
            write_adapter(wrapped, new / ADAPTER, wrapped.state_dict())
        _write_merged(captioner, new / LANGUAGE)
    return out


def _write_merged(captioner: Captioner, folder: Path) -> None:
    """Writes the language model without peft; merges in place."""
    language = captioner.language
    model, tokenizer = language.model, language.tokenizer
    if language.has_lora:
        model = model.merge_and_unload()
    # What conversations were written with, if it had none of its own.
    tokenizer.chat_template = tokenizer.chat_template or PLAIN
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _page(captioner: Captioner, folder: str) -> str:
    language = captioner.language
    about = ''
    if language.has_lora:
        about = ABOUT_ADAPTER.format(base=Path(language.source['path']).name)
    return PAGE.format(
        adapter=about,
        tokens=captioner.image_tokens,
        width=language.embed_dims,
        folder=folder,
        mark=PICTURE,
        content=f'{PICTURE}\n{captioner.prompt}',
    )
