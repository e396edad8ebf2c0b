"""Models small enough for a test of a second, and inputs for them."""

from __future__ import annotations

import inspect

import torch

from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch

ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
VIT = dict(type='SparcViT', arch=ARCH, img_size=32, patch_size=8)
TEXT = dict(
    type='TextTransformer',
    vocab_size=60,
    embed_dims=12,
    num_layers=2,
    num_heads=2,
    max_length=9,
)
WORDS = 'a red blue circle square on the left of big small two'.split()

TEXT_SIZES = dict(
    vocab_size=60,
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=12,
    bos_token_id=58,
    eos_token_id=59,
)
VISION_SIZES = dict(
    hidden_size=20,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    image_size=16,
    patch_size=8,
)
TEXT_MODELS = dict(
    bert=dict(model_type='bert', **TEXT_SIZES),
    clip_text=dict(model_type='clip_text_model', **TEXT_SIZES),
    clip=dict(
        model_type='clip', text_config=TEXT_SIZES, vision_config=VISION_SIZES
    ),
    # Of these transformers builds no text tower by itself.
    siglip=dict(
        model_type='siglip',
        text_config=dict(TEXT_SIZES, projection_size=12),
        vision_config=VISION_SIZES,
    ),
)
"""Configs of text models of transformers, by kind."""


def model_cfg(**changes):
    """Config of a tiny pretrainer."""
    cfg = dict(
        type='ImageTextPretrainer',
        vision=dict(VIT),
        text=dict(TEXT),
        objective=dict(type='SPARC'),
        embed_dims=8,
        image_size=32,
    )
    return cfg | changes


def objective_cfg(name, **options):
    """An objective by name, with what it must be told of the tiny model."""
    taken = inspect.signature(MODELS.get(name)).parameters
    width = dict(embed_dims=8) if 'embed_dims' in taken else {}
    return dict(type=name, **width, **options)


def build(cfg, seed=0):
    """A model with random weights, biases and norms included."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    for parameter in model.parameters():
        if parameter.ndim:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def captions(lengths, seed=0, real=None):
    """Random captions of the given numbers of tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 60, (sum(lengths),), generator=generator)
    return TokenBatch.from_lists(
        [part.tolist() for part in ids.split(lengths)], real
    )


def gradients(module, loss):
    """Gradients of a loss by parameter name; the module's are cleared."""
    module.zero_grad(set_to_none=True)
    loss.backward()
    found = {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    module.zero_grad(set_to_none=True)
    return found


def assert_same(left, right, **tolerance):
    """Two dicts of tensors agree."""
    assert left.keys() == right.keys()
    for key in left:
        torch.testing.assert_close(
            left[key],
            right[key],
            **tolerance,
            msg=lambda text, key=key: f'{key}: {text}',
        )
