"""Eyes: the frozen image encoder of a captioner.

They never train and are always in eval mode, so that what they see of a
picture depends on the picture alone. Here are ours; see `huggingface_eyes`
for others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from sparc_vlm import hub
from sparc_vlm.errors import UsageError
from sparc_vlm.models import PairPreprocessor
from sparc_vlm.models.encoders.vision import PatchFeatures, SparcViT
from sparc_vlm.preprocess import Resize
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import is_pretrained

FOLDER = 'eyes'
"""Their place in a captioner's folder."""


@MODELS.register_module()
class SparcEyes(nn.Module):
    """The image encoder of a pretrained model of ours.

    Args:
        checkpoint: What `sparc_vlm.load` takes.
        vision: In its place, the config of an image encoder. With an
            `init_cfg` of type 'Pretrained' it gets those weights; without,
            random ones, which a captioner's checkpoints then hold.
        layer: Whose patches are seen; -1 is the last one, with its norm.
            Other layers are for a `SparcViT`.
        image_size: Side of the picture in pixels, of `vision`.
        resize: How a picture is made square, of `vision`.

    Raises:
        ValueError: Both or neither of `checkpoint` and `vision`, or no such
            layer.
        WeightsError: There is no such model, or it is damaged.

    Attributes:
        embed_dims: C, width of a patch.
        grid: Rows and columns of a picture's patches.
        is_random: Whether the weights come from nowhere.
        pretrained: The model that the encoder is of, or None. No submodule:
            its text encoder stays on the CPU and out of checkpoints.
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        vision: dict[str, Any] | None = None,
        layer: int = -1,
        image_size: int = 224,
        resize: Resize = 'stretch',
    ) -> None:
        super().__init__()
        if (checkpoint is None) == (vision is None):
            raise UsageError('eyes need a checkpoint or a vision: give one')
        self._cfg = dict(layer=layer)
        pretrained = None
        if checkpoint is not None:
            pretrained = hub.load(checkpoint)
            self.vision = pretrained.vision
            self.preprocessor = pretrained.data_preprocessor
            image_size, resize = pretrained.image_size, pretrained.resize
            self._described = hub.read_config(_config_of(checkpoint))
        else:
            with DefaultScope.overwrite_default_scope('sparc_vlm'):
                self.vision = MODELS.build(dict(vision))
            self.preprocessor = PairPreprocessor()
            self._cfg.update(
                vision=vision, image_size=image_size, resize=resize
            )
        # Around nn.Module, which would take it for a submodule.
        object.__setattr__(self, 'pretrained', pretrained)
        self.is_random = pretrained is None
        if is_pretrained((vision or {}).get('init_cfg')):
            self.vision.init_weights()
            self.is_random = False
        self.image_size = image_size
        self.resize = resize
        self.layer = self._layer(layer)
        self.train().requires_grad_(False)
        self.embed_dims, self.grid = probe(self)

    def _layer(self, layer: int) -> int | None:
        """The layer counted from the first, None for the last."""
        if layer == -1:
            return None
        is_vit = isinstance(self.vision, SparcViT)
        count = len(self.vision.layers) if is_vit else 0
        if not -count <= layer < count or not count:
            raise UsageError(
                f'eyes.layer={layer}: a {type(self.vision).__name__} has '
                f'{count or "no"} layers to choose from; -1 is the last'
            )
        self.vision.out_indices = [layer % count]
        return layer % count

    @torch.no_grad()
    def forward(self, images: Tensor) -> PatchFeatures:
        """(B, P, C) patches, and their grid.

        Args:
            images: (B, 3, H, W) uint8, or floating point and normalised.
        """
        images = normalised(images, self.preprocessor)
        if self.layer is None:
            return self.vision.forward_patches(images)
        (found,) = self.vision(images)
        return PatchFeatures(
            found.flatten(2).transpose(1, 2), tuple(found.shape[2:])
        )

    def train(self, mode: bool = True) -> SparcEyes:
        """Stays in eval mode."""
        return super().train(False)

    def init_weights(self) -> None:
        """Draws random weights anew, where there are no others."""
        if self.is_random:
            self.vision.init_weights()

    def describe(self) -> dict[str, Any]:
        """Their config once `write` has written them beside it."""
        if self.pretrained is not None:
            return dict(self._cfg, type='SparcEyes', checkpoint=FOLDER)
        init = dict(type='Pretrained', checkpoint=FOLDER)
        vision = dict(self._cfg['vision'], init_cfg=init)
        return dict(self._cfg, type='SparcEyes', vision=vision)

    def write(self, folder: Path) -> None:
        """Writes them, and of a pretrained model all of it.

        Args:
            folder: Of the captioner.
        """
        if self.pretrained is not None:
            hub.save(self.pretrained, folder / FOLDER, self._described)
        else:
            hub.write_weights(self.vision.state_dict(), folder / FOLDER)


def _config_of(checkpoint: str) -> Path:
    folder = hub.model_folder(Path(checkpoint).expanduser())
    return folder / hub.CONFIG_FILE


def normalised(images: Tensor, preprocessor: PairPreprocessor) -> Tensor:
    """(B, 3, H, W) images, normalised unless they are so already."""
    if images.dtype == torch.uint8:
        return preprocessor.normalise(images)
    return images


def probe(eyes: nn.Module) -> tuple[int, tuple[int, int]]:
    """Width and grid of the patches, found by looking at a picture."""
    side = eyes.image_size
    seen = eyes(torch.zeros(1, 3, side, side))
    return seen.values.shape[-1], seen.grid
