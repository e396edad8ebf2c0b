"""What tools share that take pictures, draw on them, and print a line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import MMLogger
from PIL import Image
from rich.console import Console

from sparc_vlm.datasets.images import BrokenImage, decode_image
from sparc_vlm.errors import UsageError
from sparc_vlm.files import reason


def read_picture(path: str | Path) -> Image.Image:
    """A picture's file as upright RGB.

    Raises:
        BrokenImage: It is not there or cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BrokenImage(str(path), reason(error)) from error
    return decode_image(data, str(path))


def check_pictures(images: Sequence[str]) -> None:
    """Stops where no picture is there, before a model is loaded in vain.

    Args:
        images: Of the command line.

    Raises:
        UsageError: None of them is a file.
    """
    if any(Path(image).is_file() for image in images):
        return
    first = Path(images[0])
    if first.is_dir():
        raise UsageError(
            f'{first} is a folder: name the pictures in it, such as '
            f'{first / "*.jpg"}'
        )
    raise UsageError(f'there is no picture {first}')


def drawing_places(
    images: Sequence[str], folder: Path
) -> Iterator[tuple[Path, Path]]:
    """Each picture, and where it is drawn; equal names get a number.

    Args:
        images: Of the command line.
        folder: Where all is written.

    Raises:
        ValueError: A picture would be drawn over.
    """
    given = {Path(image).resolve() for image in images}
    taken: set[str] = set()
    for image in map(Path, images):
        name, number = image.stem, 1
        while name in taken:
            number += 1
            name = f'{image.stem}-{number}'
        taken.add(name)
        place = folder / f'{name}.png'
        if place.resolve() in given:
            raise UsageError(
                f'{place} would be drawn over: name another folder with --out'
            )
        yield image, place


def over_pictures(
    places: Iterable[tuple[Path, Path | None]],
    work: Callable[[Path, Path | None], Iterable[str]],
    console: Console,
) -> int:
    """Prints what is to be said of each picture; broken ones stop no other.

    Args:
        places: Each picture, and where it is drawn, if it is.
        work: Gives a picture's lines.
        console: Takes what is wrong.

    Returns:
        How many could not be read.
    """
    broken = done = 0
    for image, place in places:
        done += 1
        try:
            for line in work(image, place):
                print(line, flush=True)
        except BrokenImage as error:
            broken += 1
            console.print(f'error: {error}', style='red', markup=False)
    if broken and done > 1:
        said = f'{broken} of {done} pictures could not be read'
        console.print(said, style='red', markup=False)
    return broken


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps how many keys matched out of the lines about pictures."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
