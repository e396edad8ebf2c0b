"""Gets data ready: scenes, parts of data sets, shards, tokenizers.

    python tools/prepare_data.py scenes OUT --num-images 10000
    python tools/prepare_data.py part /data/coco OUT --num-images 2000
    python tools/prepare_data.py shards coco:/data/coco OUT
    python tools/prepare_data.py tokenizer karpathy:/data/dataset.json OUT

What was done in an earlier run is not done again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparc_vlm.datasets import (  # noqa: E402
    CaptionTokenizer,
    Scenes,
    load_tokenizer,
)
from sparc_vlm.datasets.coco_part import (  # noqa: E402
    CocoPart,
    write_coco_part,
)
from sparc_vlm.datasets.export import export_scenes  # noqa: E402
from sparc_vlm.datasets.pairs import PairSource  # noqa: E402
from sparc_vlm.datasets.scenes.source import SPLITS  # noqa: E402
from sparc_vlm.datasets.shards import write_shards  # noqa: E402
from sparc_vlm.datasets.source import data_from_flag  # noqa: E402
from sparc_vlm.datasets.statistics import (  # noqa: E402
    all_captions,
    count_tokens,
)
from sparc_vlm.datasets.tokenizer import has_tokenizer  # noqa: E402
from sparc_vlm.errors import UsageError, UserError, sentence  # noqa: E402
from sparc_vlm.files import read_written, reason, write_json  # noqa: E402
from sparc_vlm.registry import DATASETS  # noqa: E402

FAILED = 2
"""Exit status after a mistake of the user's, or a full disk."""
INTERRUPTED = 130
NOTE = 'made_of.json'
"""Beside a tokenizer: what it was trained on."""
console = Console()


def positive(text: str) -> int:
    """A number on the command line that must be 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be 1 or more, got {number}')
    return number


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    scenes = commands.add_parser('scenes', help='draw scenes to disk')
    scenes.add_argument('out', help='folder to write to')
    scenes.add_argument('--split', default='train', choices=SPLITS)
    scenes.add_argument('--num-images', type=positive)
    scenes.add_argument('--size', type=positive, default=64, help='in pixels')
    scenes.add_argument('--seed', type=int, default=0)
    scenes.add_argument('--tokenizer', help='folder; counts its tokens')
    scenes.set_defaults(run=run_scenes)
    part = commands.add_parser('part', help='take some pictures of COCO')
    part.add_argument('folder', help="in COCO's layout")
    part.add_argument('out', help='folder to write to')
    part.add_argument('--num-images', type=positive, required=True)
    part.add_argument('--split', default='train', help='such as val2017')
    part.add_argument('--name', help='of the split that is written')
    part.add_argument('--skip', type=int, default=0, help='pictures')
    part.add_argument('--longer-side', type=positive, default=320)
    part.add_argument('--seed', type=int, default=0)
    part.set_defaults(run=run_part)
    shards = commands.add_parser('shards', help='write tar shards')
    shards.add_argument('data', help='scenes, coco:/path, csv:/path, ...')
    shards.add_argument('out', help='folder to write to')
    shards.add_argument('--split', default='train', choices=('train', 'val'))
    shards.add_argument('--per-shard', type=positive, default=1000)
    shards.add_argument('--num-workers', type=positive, default=1)
    shards.add_argument('--tokenizer', help='folder; counts its tokens')
    shards.set_defaults(run=run_shards)
    tokenizer = commands.add_parser('tokenizer', help='train a tokenizer')
    tokenizer.add_argument('data', help='scenes, coco:/path, csv:/path, ...')
    tokenizer.add_argument('out', help='folder to write to')
    tokenizer.add_argument('--vocab-size', type=positive, default=32_000)
    tokenizer.add_argument('--max-length', type=positive, default=55)
    tokenizer.add_argument(
        '--max-captions',
        type=positive,
        default=5_000_000,
        help='train on so many at the most, spread evenly',
    )
    tokenizer.set_defaults(run=run_tokenizer)
    return parser.parse_args(arguments)


def run_scenes(args: argparse.Namespace) -> None:
    """Draws scenes to disk in COCO's layout."""
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    scenes = Scenes(args.split, args.size, args.num_images, args.seed)
    with progress('drawing scenes', len(scenes)) as done:
        counts = export_scenes(scenes, args.out, done)
    show(counts)
    show_tokens(scenes, tokenizer)
    say(f'written to {args.out}: train with --data coco:{args.out}')


def run_part(args: argparse.Namespace) -> None:
    """Takes some pictures of a data set in COCO's layout, made smaller."""
    part = CocoPart(
        args.split, args.num_images, args.skip, args.longer_side, args.seed
    )
    name = args.name or args.split
    with progress('making pictures smaller', args.num_images) as done:
        counts = write_coco_part(args.folder, args.out, name, part, done)
    show(counts)
    say(f'written to {args.out}: train with --data coco:{args.out}')


def run_shards(args: argparse.Namespace) -> None:
    """Writes a source as tar shards."""
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    source = open_source(args.data, args.split)
    with progress('writing shards', len(source)) as done:
        counts = write_shards(
            source, args.out, args.per_shard, args.num_workers, done
        )
    show(counts)
    show_tokens(source, tokenizer)
    last = counts['shards'] - 1
    say(
        f'written to {args.out}: train with '
        f'--data shards:{args.out}/{{000000..{last:06d}}}.tar'
    )


def run_tokenizer(args: argparse.Namespace) -> None:
    """Trains a tokenizer on the captions of a source."""
    source = open_source(args.data, 'train')
    made_of = {
        'vocab_size': args.vocab_size,
        'max_length': args.max_length,
        'max_captions': args.max_captions,
        'pictures': len(source),
        'first': source.key(0) if len(source) else None,
    }
    if has_tokenizer(args.out):
        kept = load_tokenizer(args.out)
        check_kept(kept, Path(args.out), made_of)
        say(f'there is a tokenizer in {args.out}: it is kept')
        show_tokens(source, kept)
        return
    captions = list(all_captions(source, args.max_captions))
    say(f'training on {len(captions)} captions')
    tokenizer = CaptionTokenizer.train(
        captions, args.vocab_size, args.max_length, show_progress=True
    )
    # The note first: a tokenizer that is there is there with its note.
    write_json(Path(args.out) / NOTE, made_of)
    tokenizer.save(args.out)
    show({'vocabulary': tokenizer.vocab_size})
    show_tokens(source, tokenizer)
    say(f'written to {args.out}')


def check_kept(
    kept: CaptionTokenizer, folder: Path, made_of: dict[str, object]
) -> None:
    """Refuses to keep a tokenizer that is not the one asked for.

    Args:
        kept: The tokenizer.
        folder: Where it is, with its note unless something else made it.
        made_of: What is asked for.

    Raises:
        UsageError: It was made of something else; says of what.
    """
    if (folder / NOTE).is_file():
        before = read_written(folder / NOTE)
    else:
        # Small data give fewer tokens than asked for, never more.
        before = {'max_length': kept.max_length}
        if kept.vocab_size > made_of['vocab_size']:
            before['vocab_size'] = kept.vocab_size
    other = [
        f'{name} {before[name]} instead of {value}'
        for name, value in made_of.items()
        if before.get(name, value) != value
    ]
    if other:
        raise UsageError(
            f'the tokenizer in {folder} was made with {", ".join(other)}: '
            'name another folder'
        )


def open_source(flag: str, split: str) -> PairSource:
    """The pictures and captions that a flag names.

    Args:
        flag: As `--data` of the training tool.
        split: 'train' or 'val'.

    Raises:
        UsageError: There are no such pairs, or they are shards already.
    """
    config = data_from_flag(flag)[split]
    if config is None or config['type'] == 'ShardLoader':
        raise UsageError(f'{flag} has no {split} pictures to read')
    source = DATASETS.build(config)
    show({'pictures': len(source), **reading(source)})
    return source


def reading(source: PairSource) -> dict[str, object]:
    """What was wrong with the annotations of a source."""
    return {name: count for name, count in source.reading.items() if count}


def show_tokens(
    source: PairSource, tokenizer: CaptionTokenizer | None
) -> None:
    """Prints how many tokens captions have, of 100000 at the most."""
    if tokenizer is None:
        say('to count the tokens of captions, add --tokenizer FOLDER')
        return
    counts = count_tokens(all_captions(source, 100_000), tokenizer)
    console.print(
        f'tokens per caption: mean {counts.mean:.1f}, most {counts.longest}, '
        f'cut at {tokenizer.max_length}: {counts.truncated:.2%}, unknown: '
        f'{counts.unknown:.2%}; empty captions: {counts.empty}'
    )


def say(line: str, style: str | None = None) -> None:
    """Prints a line as it is: brackets in a path are no markup."""
    console.print(
        line, style=style, markup=False, highlight=False, soft_wrap=True
    )


def show(counts: dict[str, object]) -> None:
    """Prints counts in one line, examples below."""
    lines = counts.get('examples', [])
    parts = [
        f'{name.replace("_", " ")}: {value}'
        for name, value in counts.items()
        if name != 'examples'
    ]
    console.print(', '.join(parts), highlight=False)
    for line in lines:
        console.print(f'  {line}', highlight=False, markup=False)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time that is left; yields its update."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; a mistake of the user's is one sentence, and status 2.

    Args:
        arguments: Instead of those of the process.
    """
    args = parse_args(arguments)
    try:
        args.run(args)
    except UserError as error:
        say(f'error: {sentence(error)}', style='red')
        return FAILED
    except OSError as error:
        where = f'{error.filename}: ' if error.filename else ''
        say(f'error: {where}{reason(error)}', style='red')
        return FAILED
    except KeyboardInterrupt:
        say('interrupted; run it again to go on', style='red')
        return INTERRUPTED
    return 0


if __name__ == '__main__':
    sys.exit(main())
