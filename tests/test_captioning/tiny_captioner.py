"""Captioners small enough for a test, and conversations for them."""

from __future__ import annotations

import torch

from sparc_vlm.captioning import IGNORED, IMAGE, ChatBatch
from sparc_vlm.registry import MODELS
from tests.test_models.tiny_models import VIT

PROJECTORS = {
    'MLPProjector': dict(type='MLPProjector'),
    'PixelShuffleProjector': dict(type='PixelShuffleProjector', factor=2),
    'PerceiverResampler': dict(
        type='PerceiverResampler',
        num_latents=5,
        depth=2,
        num_heads=2,
        head_dims=4,
        expansion=2,
    ),
}
LORA = dict(lora=dict(r=2, lora_alpha=4))
EYES = dict(type='SparcEyes', vision=dict(VIT), image_size=32)


def captioner_cfg(folder, options=None, **changes):
    """Config of a captioner that looks at 32 x 32 pictures.

    `folder` is that which `save_language` wrote, `options` are arguments of
    `Language`.
    """
    cfg = dict(
        type='Captioner',
        eyes=dict(EYES),
        projector=dict(PROJECTORS['PixelShuffleProjector']),
        language=dict(path=str(folder), **(options or {})),
    )
    return cfg | changes


def build(cfg, seed=0):
    """A captioner with random weights that say something."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    model.init_weights()
    shake(model)
    return model.eval()


def shake(model, std=0.3):
    """Gives all that trains random weights: LoRA starts with zeros."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=std)


def pictures(count=2, side=32, seed=0):
    """Noise, as bytes."""
    torch.manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8)


def training(model, *turns):
    """A batch of (prompt, answer), padded on the right, by hand."""
    rows = []
    for prompt, answer in turns:
        before = [IMAGE] * model.image_tokens + _ids(model, prompt)
        learned = [*_ids(model, answer), model.language.end_ids[0]]
        labels = [IGNORED] * len(before) + learned
        rows.append((before + learned, labels))
    return _padded(rows)


def prompts(model, *texts):
    """A batch of prompts, padded on the left, by hand."""
    rows = []
    for text in texts:
        ids = [IMAGE] * model.image_tokens + _ids(model, text)
        rows.append((ids, [IGNORED] * len(ids)))
    return _padded(rows, left=True)


def _ids(model, text):
    return model.language.tokenizer(text, add_special_tokens=False).input_ids


def _padded(rows, left=False):
    longest = max(len(ids) for ids, _ in rows)
    padded = []
    for ids, labels in rows:
        missing = longest - len(ids)
        row = []
        for values, filling in (
            (ids, 0),
            (labels, IGNORED),
            ([True] * len(ids), False),
        ):
            rest = [filling] * missing
            row.append(rest + values if left else values + rest)
        padded.append(row)
    columns = zip(*padded, strict=True)
    return ChatBatch(*(torch.tensor(column) for column in columns))
