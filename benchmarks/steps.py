"""Training steps to be timed: this package's, and open_clip's beside it.

Both take the sizes from one config, the same pictures and captions of the
same lengths, and end with an update of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from sparc_vlm.engine import load_config
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch

START, END = 1, 2
"""Marks around a caption for the peer, which cannot do without."""


class Batch(NamedTuple):
    """Pictures and captions.

    Attributes:
        images: (B, 3, H, W) uint8.
        captions: Token ids of each caption, without marks.
    """

    images: Tensor
    captions: list[Tensor]


class Step(NamedTuple):
    """One training step in its two parts.

    Attributes:
        gradients: Forward, loss and backward pass.
        update: Clips the gradient and moves the parameters.
    """

    gradients: Callable[[], None]
    update: Callable[[], None]

    def __call__(self) -> None:
        """The whole step."""
        self.gradients()
        self.update()


def draw_batch(
    config: str, batch_size: int, lengths: list[int], seed: int
) -> Batch:
    """Random pictures and captions; only their sizes matter for the time.

    Args:
        config: Path of a pretraining config.
        batch_size: Pairs in the batch.
        lengths: Of captions, in tokens; some of them are drawn.
        seed: Decides everything.
    """
    cfg = load_config(config).model
    generator = torch.Generator().manual_seed(seed)
    side = cfg.image_size
    images = torch.randint(
        256,
        (batch_size, 3, side, side),
        generator=generator,
        dtype=torch.uint8,
    )
    rows = torch.randint(len(lengths), (batch_size,), generator=generator)
    # The peer ends a caption with a mark inside its context.
    longest = cfg.text.max_length - 2
    captions = [
        torch.randint(
            END + 1,
            cfg.text.vocab_size,
            (min(lengths[row], longest),),
            generator=generator,
        )
        for row in rows
    ]
    return Batch(images, captions)


class OurModel:
    """This package's model and optimizer, as its training loop has them.

    Args:
        config: Path of a pretraining config.
        device: Where.
    """

    def __init__(self, config: str, device: str = 'cpu') -> None:
        cfg = load_config(config)
        self.model = MODELS.build(dict(cfg.model, tokenizer=None)).to(device)
        self.model.vision.init_weights()
        self.model.train()
        with DefaultScope.overwrite_default_scope('sparc_vlm'):
            self.wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)

    def step(self, objective: dict[str, Any], batch: Batch) -> Step:
        """Steps on one batch with one objective.

        Args:
            objective: Config; every step moves the same encoders.
            batch: What is trained on.
        """
        loss_function = MODELS.build(objective)
        tokens = TokenBatch(
            torch.cat(batch.captions),
            torch.tensor([len(caption) for caption in batch.captions]),
        )
        # A loader's batch is in pinned memory where there is a GPU.
        images = batch.images
        if self.model.device.type == 'cuda':
            images = images.pin_memory()
        data = dict(images=images, tokens=tokens)

        def gradients() -> None:
            self.model.objective = loss_function
            with self.wrapper.optim_context(self.model):
                moved = self.model.data_preprocessor(data, training=True)
                losses = self.model(**moved, mode='loss')
            loss, _ = self.model.parse_losses(losses)
            self.wrapper.backward(loss)

        def update() -> None:
            self.wrapper.step()
            self.wrapper.zero_grad()

        return Step(gradients, update)


def open_clip_step(config: str, batch: Batch, device: str = 'cpu') -> Step:
    """open_clip's own model and loss at the sizes of a config.

    The step is the one of open_clip's trainer: bf16 autocast, AdamW as torch
    sets it up, gradient clipping.

    Args:
        config: Path of a pretraining config.
        batch: What is trained on.
        device: Where.
    """
    from open_clip.loss import ClipLoss
    from open_clip.model import CLIP

    cfg = load_config(config).model
    sizes = MODELS.build(dict(cfg, tokenizer=None)).vision
    width = sizes.embed_dims
    model = CLIP(
        embed_dim=cfg.embed_dims,
        vision_cfg=dict(
            layers=len(sizes.layers),
            width=width,
            head_width=width // sizes.layers[0].attn.num_heads,
            patch_size=cfg.vision.patch_size,
            image_size=cfg.image_size,
        ),
        text_cfg=dict(
            context_length=cfg.text.max_length,
            vocab_size=cfg.text.vocab_size,
            width=cfg.text.embed_dims,
            heads=cfg.text.num_heads,
            layers=cfg.text.num_layers,
        ),
        output_dict=True,
    ).to(device)
    model.train()
    loss_function = ClipLoss()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.2
    )
    images = batch.images.to(device).float() / 127.5 - 1
    # The largest id ends a caption: the model looks for it.
    end = cfg.text.vocab_size - 1
    texts = torch.zeros(
        len(batch.captions), cfg.text.max_length, dtype=torch.long
    )
    for row, caption in zip(texts, batch.captions, strict=True):
        row[0] = START
        row[1 : len(caption) + 1] = caption.clamp(max=end - 1)
        row[len(caption) + 1] = end
    texts = texts.to(device)

    def gradients() -> None:
        with torch.autocast(device, torch.bfloat16):
            found = model(images, texts)
            loss = loss_function(**found)
        loss.backward()

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)

    return Step(gradients, update)
