"""Finds things on pictures, and draws what it found.

python tools/detect.py work_dirs/words/model photo.jpg --words 'red ball,dog'
python tools/detect.py work_dirs/faster_rcnn/model *.jpg --out found

Beside each drawn picture there is a JSON file with names, scores and boxes.
Exit status: 0; 1 if a picture could not be read, while the others are drawn;
2 if it could not begin because of what was given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sparc_vlm import detection  # noqa: E402
from sparc_vlm.detection import Detections, LoadedDetector  # noqa: E402
from sparc_vlm.detection.words.vocabulary import listed_words  # noqa: E402
from sparc_vlm.errors import UsageError, UserError, sentence  # noqa: E402
from sparc_vlm.files import reason, write_json  # noqa: E402
from sparc_vlm.study import best_device  # noqa: E402
from sparc_vlm.visualization.boxes import draw_boxes  # noqa: E402
from sparc_vlm.visualization.picture_tools import (  # noqa: E402
    check_pictures,
    drawing_places,
    over_pictures,
    quietly,
    read_picture,
)

FAILED, USAGE, INTERRUPTED = 1, 2, 130
MOST_SAID = 5


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model', help='the model folder of a detector, or its work folder'
    )
    parser.add_argument('images', nargs='+', help='pictures to look at')
    parser.add_argument(
        '--words',
        metavar='WORD,WORD...',
        help='what to look for, for a detector by words, such as '
        "'red ball,dog'",
    )
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='shows what has at least this score (%(default)s)',
    )
    parser.add_argument(
        '--limit',
        type=int,
        default=20,
        metavar='N',
        help='shows so many of a picture at most, the best (%(default)s)',
    )
    parser.add_argument(
        '--nms',
        type=float,
        metavar='OVERLAP',
        help='of boxes of one word that overlap by more (IoU), shows the best '
        'alone; for a detector by words, which shows all of them if left out',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('detections'),
        metavar='DIR',
        help='where drawn pictures and JSON go (%(default)s)',
    )
    parser.add_argument(
        '--device', help='where to compute; a GPU if there is one'
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        check(args)
        words = asked_for(args.words)
        check_pictures(args.images)
        with quietly():
            detector = detection.load(args.model, args.device or best_device())
        set_nms(detector, args.nms)
        names = detector.names(words)
        broken = over_pictures(
            drawing_places(args.images, args.out),
            lambda *at: [look(detector, *at, words, names, args)],
            console,
        )
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        return USAGE
    except KeyboardInterrupt:
        console.print('interrupted', style='red')
        return INTERRUPTED
    return FAILED if broken else 0


def check(args: argparse.Namespace) -> None:
    """Stops at numbers that make no sense.

    Raises:
        UsageError: There is one.
    """
    if args.limit < 1:
        raise UsageError(f'--limit must be at least 1, got {args.limit}')
    if not 0 <= args.threshold <= 1:
        raise UsageError(
            f'--threshold lies between 0 and 1, got {args.threshold}'
        )
    if args.nms is not None and not 0 < args.nms <= 1:
        raise UsageError(
            f'--nms must be above 0 and at most 1, got {args.nms}'
        )


def set_nms(detector: LoadedDetector, overlap: float | None) -> None:
    """Has boxes dropped that overlap with better ones of the same word.

    Args:
        detector: Of words, where there is an overlap.
        overlap: Of the two, as IoU; None leaves the detector as it is.

    Raises:
        UsageError: It is none of words.
    """
    if overlap is None:
        return
    if not detector.takes_words:
        raise UsageError(
            '--nms is for a detector by words, and this one drops boxes as '
            'its config says (model.test_cfg): leave it out'
        )
    detector.model.nms = overlap


def asked_for(words: str | None) -> list[str] | None:
    """The words of the command line, as data sets have them, each once.

    Raises:
        UsageError: There is none in it.
    """
    if words is None:
        return None
    found = listed_words(words)
    if not found:
        raise UsageError("--words names none: write --words 'red ball,dog'")
    return found


def look(
    detector: LoadedDetector,
    image: Path,
    place: Path,
    words: list[str] | None,
    names: Sequence[str],
    args: argparse.Namespace,
) -> str:
    """Finds what is on a picture, draws it and writes it down.

    Args:
        detector: Looks.
        image: The picture's file.
        place: Where it is drawn.
        words: What to look for.
        names: What labels are places in.
        args: The command line.

    Returns:
        A line that says what was found.

    Raises:
        BrokenImage: The picture is not there or cannot be read.
        UsageError: The folder cannot be written to.
    """
    picture = read_picture(image)
    (best,) = detector.detect([picture], words, args.limit)
    found = best.above(args.threshold)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draw_boxes(picture, found, names).save(place)
        sheet = {
            'image': str(image),
            'size': list(picture.size),
            'words': words,
            'detections': rows(found, names),
        }
        write_json(place.with_suffix('.json'), sheet)
    except OSError as error:
        raise UsageError(
            f'{place} cannot be written: {reason(error)}'
        ) from error
    said = summary(found, names)
    if len(best) and not len(found):
        said += f' at {args.threshold} or above (best: {listed(best, names)})'
    return f'{image}: {said} -> {place}'


def rows(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """What was found, as plain values; boxes are x1, y1, x2, y2."""
    masks = found.masks or [None] * len(found)
    return [
        {
            'name': names[label],
            'score': round(score, 4),
            'box': [round(side, 2) for side in box],
            **({} if mask is None else {'mask': mask}),
        }
        for label, score, box, mask in zip(
            found.labels.tolist(),
            found.scores.tolist(),
            found.boxes.tolist(),
            masks,
            strict=True,
        )
    ]


def summary(found: Detections, names: Sequence[str]) -> str:
    """'2 found, dog 0.91, ball 0.40'."""
    if not len(found):
        return 'nothing found'
    return f'{len(found)} found, {listed(found, names)}'


def listed(found: Detections, names: Sequence[str]) -> str:
    """'dog 0.91, ball 0.40', the first few."""
    best = [
        f'{names[label]} {score:.2f}'
        for label, score in zip(
            found.labels[:MOST_SAID].tolist(),
            found.scores[:MOST_SAID].tolist(),
            strict=True,
        )
    ]
    more = ' ...' if len(found) > MOST_SAID else ''
    return ', '.join(best) + more


if __name__ == '__main__':
    sys.exit(main())
