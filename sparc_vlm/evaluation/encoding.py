"""Encodes a source's pictures and captions chunk by chunk.

Memory holds one chunk of pictures at a time (and the next, read ahead);
results are float32 on the CPU. A picture that cannot be read is set aside
with its reason, and the rest go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.task import Progress, Task


def image_chunks(
    source: Any,
    indices: Sequence[int],
    batch_size: int,
    broken: dict[int, str],
    progress: Progress | None = None,
    what: str = 'pictures',
) -> Iterator[tuple[list[int], list[Image.Image]]]:
    """Reads pictures in chunks, the next one while the last is encoded.

    Args:
        source: Where the pictures come from.
        indices: Which ones, in the order wanted.
        batch_size: Pictures in a chunk.
        broken: Filled with index -> reason for each that cannot be read.
        progress: Told after each chunk.
        what: What the progress bar calls this.

    Yields:
        The indices that could be read and their pictures; never empty.

    Raises:
        ValueError: Not one picture could be read.
    """

    def read(chunk: Sequence[int]) -> list[tuple[int, Any]]:
        pictures = []
        for index in chunk:
            # Whatever a damaged file makes a decoder raise.
            try:
                pictures.append((index, source.image(index)))
            except Exception as error:
                pictures.append((index, error))
        return pictures

    starts = range(0, len(indices), batch_size)
    chunks = [indices[start : start + batch_size] for start in starts]
    done = 0
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, chunks[0]) if chunks else None
        for following in [*chunks[1:], None]:
            if ahead is None:
                return
            read_now = ahead.result()
            ahead = reader.submit(read, following) if following else None
            good = []
            for index, picture in read_now:
                if isinstance(picture, Exception):
                    broken[index] = str(picture) or repr(picture)
                else:
                    good.append((index, picture))
            if good:
                yield [i for i, _ in good], [p for _, p in good]
            done += len(read_now)
            if progress is not None:
                progress(what, done, len(indices))
    if indices and len(broken) == len(indices):
        raise UsageError(
            f'none of the {len(indices)} pictures could be read; the first: '
            f'{next(iter(broken.values()))}'
        )


def patch_chunks(
    model: Any,
    source: Any,
    indices: Sequence[int],
    batch_size: int,
    broken: dict[int, str],
    progress: Progress | None = None,
    what: str = 'pictures',
) -> Iterator[tuple[list[int], tuple[Tensor, Tensor], tuple[int, int]]]:
    """Patches of pictures that are seen whole, in chunks.

    Args:
        model: Has `encode_image`.
        source: Where the pictures come from.
        indices: Which ones, in the order wanted.
        batch_size: Pictures in a chunk.
        broken: Filled as by `image_chunks`.
        progress: Told after each chunk.
        what: What the progress bar, and an error, calls this.

    Yields:
        The indices that could be read; their `patches` and `dense`, (b, P,
        D) float32 on the CPU; and the rows and columns that they stand in.

    Raises:
        ValueError: Not one picture could be read, or the model gives values
            that are not finite.
    """
    for chunk, pictures in image_chunks(
        source, indices, batch_size, broken, progress, what
    ):
        whole = [whole_picture(model, picture) for picture in pictures]
        embeddings = model.encode_image(whole)
        yield chunk, finite_patches(embeddings, what), embeddings.grid


def own_pictures(
    task: Task, broken: dict[int, str], progress: Progress | None = None
) -> Iterator[tuple[list[int], list[Image.Image]]]:
    """A task's own pictures.

    Args:
        task: Whose pictures, batch size and name.
        broken: Filled as by `image_chunks`.
        progress: Told after each chunk.

    Returns:
        As `image_chunks`; it raises the same.
    """
    return image_chunks(
        task.source,
        task.indices,
        task.batch_size,
        broken,
        progress,
        task.name,
    )


def own_patches(
    task: Task,
    model: Any,
    broken: dict[int, str],
    progress: Progress | None = None,
) -> Iterator[tuple[list[int], tuple[Tensor, Tensor], tuple[int, int]]]:
    """Patches of a task's own pictures.

    Args:
        task: Whose pictures, batch size and name.
        model: Has `encode_image`.
        broken: Filled as by `image_chunks`.
        progress: Told after each chunk.

    Returns:
        As `patch_chunks`; it raises the same.
    """
    return patch_chunks(
        model,
        task.source,
        task.indices,
        task.batch_size,
        broken,
        progress,
        task.name,
    )


def encode_texts(
    model: Any,
    texts: Sequence[str],
    batch_size: int,
    progress: Progress | None = None,
    what: str = 'captions',
) -> Tensor:
    """Global text embeddings, each distinct text encoded once.

    Args:
        model: Has `encode_text`.
        texts: N texts, none of them empty.
        batch_size: Texts in a chunk.
        progress: Told after each chunk.
        what: What the progress bar calls this.

    Returns:
        (N, D) float32 on the CPU, not normalised; equal texts have equal
        rows.
    """
    distinct = list(dict.fromkeys(texts))
    rows = []
    for start in range(0, len(distinct), batch_size):
        chunk = distinct[start : start + batch_size]
        rows.append(on_cpu(model.encode_text(chunk).text))
        if progress is not None:
            progress(what, start + len(chunk), len(distinct))
    place = {text: row for row, text in enumerate(distinct)}
    return torch.cat(rows)[[place[text] for text in texts]]


def has_words(model: Any, caption: str) -> bool:
    """Whether a caption has anything that the model can encode.

    Control characters and the like are not blank, and yet no token.

    Args:
        model: Its `tokenizer` decides, where it has one.
        caption: Any text.
    """
    tokenizer = getattr(model, 'tokenizer', None)
    if not caption.strip() or tokenizer is None:
        return bool(caption.strip())
    return any(tokenizer.encode(caption).real)


def finite_patches(embeddings: Any, task: str) -> tuple[Tensor, Tensor]:
    """`patches` and `dense` of some pictures, float32 on the CPU.

    Args:
        embeddings: What `encode_image` returned.
        task: Whose numbers are at stake.

    Raises:
        ValueError: There is no patch, or a value is not finite: any number
            measured on it would look like one of a model that works.
    """
    kinds = on_cpu(embeddings.patches), on_cpu(embeddings.dense)
    if not kinds[0].shape[1]:
        raise UsageError(
            f'{task} needs patches in the space of text, and the model has '
            'none'
        )
    for values in kinds:
        check_finite(values, 'patches', task)
    return kinds


def check_finite(embeddings: Tensor, what: str, task: str) -> None:
    """Refuses embeddings that any number measured on would hide.

    Args:
        embeddings: Of any shape.
        what: What they are of.
        task: Whose numbers are at stake.

    Raises:
        ValueError: A value is not finite.
    """
    if not torch.isfinite(embeddings).all():
        raise UsageError(
            f'{task}: the model gives {what} that are not finite numbers; '
            'it has diverged'
        )


def on_cpu(embeddings: Tensor) -> Tensor:
    """Embeddings as float32 on the CPU, cut loose from any graph."""
    return embeddings.detach().to('cpu', torch.float32)


def whole_picture(model: Any, image: Image.Image) -> Image.Image:
    """The picture stretched to the model's own shape.

    A model's preprocessing may crop; what is stretched first has nothing
    left to crop, so that the patches cover the whole picture.

    Args:
        model: Its `image_size`, a number or (height, width), is used where
            it has one.
        image: Any picture.
    """
    size = getattr(model, 'image_size', None)
    if size is None:
        return image
    height, width = (size, size) if isinstance(size, int) else size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
