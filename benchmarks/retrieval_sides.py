"""Ways to rank pictures and captions both ways, for `retrieval_memory`.

Embeddings are drawn at random in the encoders' place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.evaluation import Retrieval
from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings

PEER = 'clip_benchmark'
KS = 1, 5, 10
Recalls = dict[str, float]


class Drawn:
    """Pictures that are nothing but their number, and numbered captions.

    A source and a model at once: what it is given, it knows the embedding of.

    Args:
        pictures: How many.
        captions: Of each picture.
        width: Of the embeddings.
        seed: Of all of them.
    """

    image_size = 1

    def __init__(
        self, pictures: int, captions: int, width: int, seed: int
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        self.per_picture = captions
        self.images = torch.randn(pictures, width, generator=random)
        owners = torch.arange(pictures).repeat_interleave(captions)
        self.texts = torch.randn(len(owners), width, generator=random)
        # A little of its own picture, so that some captions are found.
        self.texts.add_(self.images[owners], alpha=0.2)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def key(self, index: int) -> str:
        """The picture's number."""
        return str(index)

    def captions(self, index: int) -> list[str]:
        """Numbers of the picture's captions."""
        first = index * self.per_picture
        return [str(first + k) for k in range(self.per_picture)]

    def image(self, index: int) -> Image.Image:
        """One pixel that holds the picture's number."""
        return Image.new('I', (1, 1), index)

    def encode_image(self, pictures: list[Image.Image]) -> ImageEmbeddings:
        """The embeddings of the numbers."""
        rows = self.images[[p.getpixel((0, 0)) for p in pictures]]
        return ImageEmbeddings(rows[:, None], rows[:, None], rows, (1, 1))

    def encode_text(self, captions: list[str]) -> TextEmbeddings:
        """The embeddings of the numbers."""
        rows = self.texts[[int(caption) for caption in captions]]
        mask = torch.ones(len(rows), 1, dtype=torch.bool)
        return TextEmbeddings(rows[:, None], rows, mask)


def task(drawn: Drawn, folds: int | None = None) -> Recalls:
    """The retrieval task."""
    result = Retrieval(drawn, ks=KS, folds=folds).run(drawn)
    return {key: value / 100 for key, value in result.metrics.items()}


def matrix(drawn: Drawn) -> Recalls:
    """All scores at once, sorted."""
    scores = F.normalize(drawn.images) @ F.normalize(drawn.texts).T
    owners = torch.arange(len(drawn)).repeat_interleave(drawn.per_picture)
    found = {}
    right = owners[scores.argsort(1, descending=True)]
    right = right == torch.arange(len(drawn))[:, None]
    found |= {f'i2t_r{k}': _share(right[:, :k].any(1)) for k in KS}
    right = scores.T.argsort(1, descending=True) == owners[:, None]
    found |= {f't2i_r{k}': _share(right[:, :k].any(1)) for k in KS}
    return found


def clip_benchmark(drawn: Drawn) -> Recalls:
    """The peer's own function, given the same embeddings in batches."""
    from clip_benchmark.metrics import zeroshot_retrieval

    class Encoders:
        encode_image = staticmethod(drawn.images.__getitem__)
        encode_text = staticmethod(drawn.texts.__getitem__)

    def tokenizer(texts: list[str]) -> Tensor:
        return torch.tensor([int(text) for text in texts])

    batches = [
        (rows, [drawn.captions(int(row)) for row in rows])
        for rows in torch.arange(len(drawn)).split(64)
    ]
    found = zeroshot_retrieval.evaluate(
        Encoders(), batches, tokenizer, 'cpu', False, list(KS)
    )
    ways = {'i2t': 'text_retrieval', 't2i': 'image_retrieval'}
    return {
        f'{way}_r{k}': found[f'{name}_recall@{k}']
        for way, name in ways.items()
        for k in KS
    }


SIDES: dict[str, Callable[[Drawn], Recalls]] = {
    'task': task,
    'task, five folds': lambda drawn: task(drawn, folds=5),
    'whole matrix': matrix,
    PEER: clip_benchmark,
}


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()
