"""Our models in `clip_benchmark`, through its own table of models.

python -m sparc_vlm.adapters.clip_benchmark eval --model_type sparc_vlm \
    --model sparc_vlm --pretrained work_dirs/run/model --dataset cifar10

takes all arguments of clip_benchmark's own command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from sparc_vlm.errors import MissingPackageError
from sparc_vlm.hub import load
from sparc_vlm.preprocess import picture_batch

NAME = 'sparc_vlm'


class BenchmarkModel(nn.Module):
    """A model of ours as clip_benchmark calls one.

    Args:
        model: Has `encode_image` and `encode_text`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, D) embeddings of what the transform made.

        Args:
            images: (B, 3, H, W).
        """
        return self.model.encode_image(images).image

    def encode_text(self, letters: Tensor) -> Tensor:
        """(B, D) embeddings of what the tokenizer made.

        Args:
            letters: (B, N) bytes, see `as_bytes`.
        """
        return self.model.encode_text(from_bytes(letters)).text


def load_sparc_vlm(
    model_name: str = NAME,
    pretrained: str = '',
    cache_dir: str | None = None,
    device: str | torch.device = 'cpu',
) -> tuple[BenchmarkModel, Any, Any]:
    """Loads a model as clip_benchmark's table of models wants it.

    Args:
        model_name: Taken for the path where `pretrained` is empty.
        pretrained: What `sparc_vlm.load` takes.
        cache_dir: Not needed.
        device: Where to put the model.

    Returns:
        Model, transform and tokenizer.
    """
    model = load(pretrained or model_name, str(device))
    transform = partial(
        one_picture, size=model.image_size, resize=model.resize
    )
    return BenchmarkModel(model), transform, as_bytes


def register() -> None:
    """Puts `load_sparc_vlm` into clip_benchmark's table of models.

    Its accuracy is replaced by one that the numpy of today can run.

    Raises:
        MissingPackageError: clip_benchmark is not installed.
    """
    try:
        from clip_benchmark import models
    except ImportError as error:
        raise MissingPackageError(
            'it is not installed: pip install clip_benchmark'
        ) from error
    from clip_benchmark.metrics import zeroshot_classification

    # Theirs makes a number of an array of one, which numpy 2.4 refuses.
    zeroshot_classification.accuracy = accuracy
    models.TYPE2FUNC[NAME] = load_sparc_vlm
    # Its command line takes the list for the choices.
    if NAME not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(NAME)


def accuracy(
    output: Tensor, target: Tensor, topk: Sequence[int] = (1,)
) -> list[float]:
    """Shares of samples whose class is among the k likeliest.

    Args:
        output: (N, C) scores.
        target: (N,) places of the right classes.
        topk: The k.
    """
    best = output.topk(max(topk)).indices == target[:, None]
    return [best[:, :k].any(1).float().mean().item() for k in topk]


def one_picture(picture: Image.Image, size: int, resize: str) -> Tensor:
    """(3, size, size) uint8 tensor of a picture."""
    return picture_batch(picture, size, resize)[0]


def as_bytes(texts: str | Sequence[str]) -> Tensor:
    """(B, N) int64 bytes of texts in UTF-8, 0 behind the end.

    A tokenizer of clip_benchmark returns one tensor, which does not say what
    is padding and which tokens are marks: the model tokenises for itself.

    Args:
        texts: One or several.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    rows = [list(text.replace('\0', ' ').encode()) for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def from_bytes(letters: Tensor) -> list[str]:
    """The texts that `as_bytes` was given."""
    rows = letters.cpu().tolist()
    return [bytes(byte for byte in row if byte).decode() for row in rows]


def main() -> None:
    """Runs clip_benchmark's command with our models known to it."""
    register()
    from clip_benchmark.cli import main as run

    sys.exit(run())


if __name__ == '__main__':
    main()
