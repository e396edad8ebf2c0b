"""Pairs a second that one data worker makes, and what many shards cost.

python benchmarks/data_rate.py --train benchmarks/results/train_step.json \
    --out benchmarks/results/data_rate.json

A pair is a picture decoded and resized, a caption tokenised, both collated
and handed over by a worker of its own, from a folder, a zip and WebDataset
shards that take turns; `--data coco:/path` measures your own instead. Files
were just written, so that the disk plays no part. Beside it stands what
training takes: what `train_step` measured for models of the same image size,
or `--train-pairs-per-second`. Lastly a loader is built for 10,000 shards.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.data_layouts import pack, write_photos  # noqa: E402
from benchmarks.shard_index import index_cost, pretend_shards  # noqa: E402
from benchmarks.tables import tables  # noqa: E402
from sparc_vlm.datasets import CaptionTokenizer  # noqa: E402
from sparc_vlm.datasets.shards import find_shards, shard_captions  # noqa: E402
from sparc_vlm.datasets.shards.files import need_webdataset  # noqa: E402
from sparc_vlm.datasets.source import data_from_flag  # noqa: E402
from sparc_vlm.engine import load_config  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.errors import UserError  # noqa: E402
from sparc_vlm.registry import DATASETS, LOADERS  # noqa: E402

TRAIN_STEP = ROOT / 'benchmarks' / 'results' / 'train_step.json'
# Batches that are not counted: the first, and those that were made ahead.
AHEAD = 2
# Captions that the tokenizer is trained on.
CAPTIONS = 10_000


def build_loader(config: dict, args: argparse.Namespace) -> Any:
    """A loader with one worker, and a tokenizer trained on its captions.

    Args:
        config: Of a source of pairs, or of a `ShardLoader`.
        args: Of the command line.
    """
    pictures = dict(image_size=args.image_size)
    if args.crop is not None:
        pictures['crop_scale'] = (args.crop, 1.0)
    common = dict(
        batch_size=args.batch, num_workers=1, prefetch=AHEAD, seed=args.seed
    )
    if config['type'] == 'ShardLoader':
        captions = shard_captions(find_shards(config['shards']), CAPTIONS)
        tokenizer = CaptionTokenizer.train(captions)
        # Each batch reads what it decodes, none lives on another's reading.
        return LOADERS.build(
            dict(config, tokenizer=tokenizer, buffer_size=args.batch)
            | common
            | pictures
        )
    source = DATASETS.build(config)
    texts = (c for i in range(len(source)) for c in source.captions(i))
    tokenizer = CaptionTokenizer.train(islice(texts, CAPTIONS))
    dataset = dict(type='PairDataset', source=source, tokenizer=tokenizer)
    return LOADERS.build(
        dict(type='PairLoader', dataset=dataset | pictures, **common)
    )


def pairs_per_second(loader: Any, batches: int) -> float:
    """What a worker makes while nobody else works.

    Args:
        loader: Its worker starts and ends here.
        batches: How many are timed.
    """
    iterator = iter(loader)
    for _ in range(1 + AHEAD):
        next(iterator)
    pairs, begin = 0, time.perf_counter()
    for _ in range(batches):
        pairs += len(next(iterator)['images'])
    seconds = time.perf_counter() - begin
    iterator.close()
    return pairs / seconds


def training_rates(args: argparse.Namespace) -> dict[str, float]:
    """Pairs a second that training takes, by model.

    Args:
        args: Of the command line.
    """
    if args.train_pairs_per_second is not None:
        return {'given': args.train_pairs_per_second}
    if args.train is None:
        return {}
    found = {}
    for size, row in json.loads(args.train.read_text())['sizes'].items():
        config = load_config(str(ROOT / 'configs' / row['config']))
        if config.model.image_size == args.image_size:
            found[size] = row['sides']['SPARC']['pairs_per_second']
    return found


def measure_rates(
    configs: dict[str, dict], args: argparse.Namespace, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Pairs a second of each layout, in turns.

    Args:
        configs: Name to config.
        args: Of the command line.
        progress: Shows it.
    """
    loaders = {name: build_loader(c, args) for name, c in configs.items()}
    found = {name: dict(pairs_per_second=[]) for name in loaders}
    task = progress.add_task('reading', total=args.rounds * len(loaders))
    for _ in range(args.rounds):
        for name, loader in loaders.items():
            rate = pairs_per_second(loader, args.batches)
            found[name]['pairs_per_second'].append(rate)
            progress.advance(task)
    return found


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything.

    Args:
        args: Of the command line.
        folder: For files that are made on the spot.
    """
    pattern = pretend_shards(folder / 'pretended', args.shards)
    tokenizer = CaptionTokenizer.train(['a caption'])
    # First, while this process has little that a fork of it could reuse.
    context = multiprocessing.get_context('fork')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        index = pool.submit(index_cost, pattern, tokenizer).result()
    kilobytes = None
    with Progress(disable=args.quiet) as progress:
        if args.data is not None:
            kind = args.data.partition(':')[0]
            configs = {kind: data_from_flag(args.data)['train']}
        else:
            task = progress.add_task('drawing', total=args.pictures)
            write_photos(
                folder / 'made',
                args.pictures,
                args.size,
                args.seed,
                lambda: progress.advance(task),
            )
            configs = pack(folder / 'made')
            files = list((folder / 'made').rglob('*.jpg'))
            kilobytes = sum(f.stat().st_size for f in files) / 1e3 / len(files)
        layouts = measure_rates(configs, args, progress)
    return dict(
        data=args.data,
        size=args.size,
        kilobytes_per_picture=kilobytes,
        image_size=args.image_size,
        crop=args.crop,
        batch=args.batch,
        batches=args.batches,
        seed=args.seed,
        workers=1,
        threads=torch.get_num_threads(),
        versions=versions(),
        layouts=layouts,
        training=training_rates(args),
        index=index,
    )


def parse() -> argparse.Namespace:
    """The command line, checked before anything is made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--data', help='as of tools/train.py, instead')
    parser.add_argument('--pictures', type=int, default=512)
    parser.add_argument('--size', type=int, nargs=2, default=(480, 640))
    parser.add_argument('--image-size', type=int, default=224)
    parser.add_argument('--crop', type=float, help='least share of the area')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--batches', type=int, default=8, help='a round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--shards', type=int, default=10_000)
    parser.add_argument(
        '--train', type=Path, help='JSON of train_step, if it is elsewhere'
    )
    parser.add_argument('--train-pairs-per-second', type=float)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    if args.train is None and TRAIN_STEP.is_file():
        args.train = TRAIN_STEP
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    try:
        need_webdataset()
        training_rates(args)
        if args.data is not None:
            data_from_flag(args.data)
    except (UserError, OSError) as error:
        parser.error(str(error))
    return args


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(args, Path(folder))
    print(*tables(report), sep='\n\n')
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
