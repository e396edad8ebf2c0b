"""Writes about pictures, and shows why.

python tools/caption.py work_dirs/captioner/model photo.jpg
python tools/caption.py work_dirs/captioner/model *.jpg --why --out why
python tools/caption.py work_dirs/captioner/model photo.jpg \
    --prompt 'What colour is the ball?'

Prints a line for each caption. With --why, each noun of a caption is drawn
with what the image encoder's own alignment looks at for it.
Exit status: 0; 1 if a picture could not be read, while the others are
captioned; 2 if it could not begin because of what was given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sparc_vlm import captioning  # noqa: E402
from sparc_vlm.captioning import LoadedCaptioner  # noqa: E402
from sparc_vlm.captioning.grounding import (  # noqa: E402
    NounFinder,
    tagged_nouns,
)
from sparc_vlm.errors import UsageError, UserError, sentence  # noqa: E402
from sparc_vlm.evaluation.encoding import has_words  # noqa: E402
from sparc_vlm.files import reason  # noqa: E402
from sparc_vlm.study import best_device  # noqa: E402
from sparc_vlm.visualization import draw_word_maps, word_maps  # noqa: E402
from sparc_vlm.visualization.maps import save  # noqa: E402
from sparc_vlm.visualization.picture_tools import (  # noqa: E402
    check_pictures,
    drawing_places,
    over_pictures,
    quietly,
    read_picture,
)

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model', help='the model folder of a captioner, or its work folder'
    )
    parser.add_argument('images', nargs='+', help='pictures to look at')
    parser.add_argument(
        '--prompt',
        help='what to write, or a question; as in training if left out',
    )
    parser.add_argument(
        '--samples',
        type=int,
        default=1,
        metavar='N',
        help='captions of each picture (%(default)s); several are drawn, one '
        'is the likeliest, word by word',
    )
    parser.add_argument(
        '--temperature',
        type=float,
        metavar='T',
        help='of the draws of --samples: lower is less varied (1.0)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the draws (%(default)s)'
    )
    parser.add_argument(
        '--max-tokens',
        type=int,
        default=40,
        metavar='N',
        help='tokens of a caption at most (%(default)s)',
    )
    parser.add_argument(
        '--why',
        action='store_true',
        help='draw where the image encoder looks for each noun',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('captions'),
        metavar='DIR',
        help='where --why draws (%(default)s)',
    )
    parser.add_argument(
        '--language',
        metavar='PATH',
        help='where the language model is, if not where it was in training',
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
        if min(args.samples, args.max_tokens) < 1:
            raise UsageError('--samples and --max-tokens must be at least 1')
        if args.temperature is not None:
            check_temperature(args.temperature, args.samples)
        if args.seed < 0:
            raise UsageError(f'--seed must be at least 0, got {args.seed}')
        check_pictures(args.images)
        # Before the model, which takes longer to load.
        find_nouns = tagged_nouns() if args.why else None
        with quietly():
            captioner = captioning.load(
                args.model, args.device or best_device(), args.language
            )
        if args.why and captioner.eyes_model is None:
            raise UsageError(
                'the eyes of this captioner have no text encoder to tell '
                'where a word is: leave out --why'
            )
        places = [(Path(image), None) for image in args.images]
        if args.why:
            places = drawing_places(args.images, args.out)
        broken = over_pictures(
            places,
            lambda *at: describe(captioner, *at, find_nouns, args),
            console,
        )
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        return USAGE
    except KeyboardInterrupt:
        console.print('interrupted', style='red')
        return INTERRUPTED
    return FAILED if broken else 0


def check_temperature(temperature: float, samples: int) -> None:
    """Refuses a temperature that cannot be, or that would do nothing.

    Raises:
        UsageError: It is not above 0, or one caption is asked for.
    """
    if not temperature > 0:
        raise UsageError(f'--temperature must be above 0, got {temperature}')
    if samples == 1:
        raise UsageError(
            '--temperature is of captions that are drawn, and one alone is '
            'the likeliest: add --samples N'
        )


def describe(
    captioner: LoadedCaptioner,
    image: Path,
    place: Path | None,
    find_nouns: NounFinder | None,
    args: argparse.Namespace,
) -> Iterator[str]:
    """Lines with the captions of a picture, and where each was drawn.

    Args:
        captioner: Writes.
        image: The picture's file.
        place: Where its nouns are drawn, captions after the first beside it;
            None to draw nothing.
        find_nouns: Which words are drawn.
        args: The command line.

    Raises:
        BrokenImage: The picture is not there or cannot be read.
        UsageError: The folder cannot be written to.
    """
    picture = read_picture(image)
    (captions,) = captioner.caption(
        [picture],
        prompt=args.prompt,
        num_samples=args.samples,
        temperature=(args.temperature or 1.0) if args.samples > 1 else 0.0,
        max_new_tokens=args.max_tokens,
        seed=args.seed,
    )
    for number, caption in enumerate(captions, 1):
        if place is None:
            yield f'{image}: {caption}'
            continue
        stem = place.stem if number == 1 else f'{place.stem}-caption{number}'
        drawn = place.with_stem(stem)
        model = captioner.eyes_model
        if draw_why(model, picture, caption, find_nouns, drawn):
            yield f'{image}: {caption} -> {drawn}'
        else:
            yield f'{image}: {caption} (no noun to draw)'


def draw_why(
    model: Any,
    picture: Image.Image,
    caption: str,
    find_nouns: NounFinder,
    place: Path,
) -> bool:
    """Draws where a model looks for each noun of a caption.

    Returns:
        Whether there was one.

    Raises:
        UsageError: The folder cannot be written to.
    """
    if not has_words(model, caption):
        return False
    maps = word_maps(model, picture, caption)
    nouns = find_nouns(maps.words, caption)
    if not nouns:
        return False
    try:
        save(draw_word_maps(maps.only(nouns), 'draw'), place)
    except OSError as error:
        raise UsageError(
            f'{place} cannot be written: {reason(error)}'
        ) from error
    return True


if __name__ == '__main__':
    sys.exit(main())
