"""Counts what one update costs each device, without needing one.

python tools/cost.py configs/clip_vitb16.py configs/sparc_vitb16.py \
    --batch-size 2048 4096 8192 16384 --devices 256

Prints floating-point operations and peak memory beside the paper's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from mmengine.config import Config
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparc_vlm.cost import (  # noqa: E402
    Line,
    Setting,
    above_clip_markdown,
    cost_figure,
    cost_line,
    cost_markdown,
    cost_table,
    memory_table,
    name_objectives,
    point,
    write_lines,
)
from sparc_vlm.cost.update import DTYPES, MACHINES  # noqa: E402
from sparc_vlm.engine import KeyValues, load_config  # noqa: E402
from sparc_vlm.errors import UsageError, UserError  # noqa: E402
from sparc_vlm.files import check_writable, write_text  # noqa: E402

USAGE = 2


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', nargs='+', help='files in configs/')
    parser.add_argument(
        '--batch-size',
        type=int,
        nargs='+',
        default=[2048, 4096, 8192, 16384],
        metavar='PAIRS',
        help='pairs of an update, over all devices (%(default)s)',
    )
    parser.add_argument(
        '--devices',
        type=int,
        default=256,
        help='how many share the batch (%(default)s, as the paper)',
    )
    parser.add_argument(
        '--tokens',
        type=int,
        help='tokens of each caption; as many as the text encoder takes if '
        'left out. Captions are not padded in training, so what they have on '
        'average is what an update costs',
    )
    parser.add_argument(
        '--dtype',
        choices=list(DTYPES),
        default='bf16',
        help='of autocast; fp32 for none (%(default)s)',
    )
    parser.add_argument(
        '--machine',
        choices=list(MACHINES),
        default='accelerator',
        help='whose kernels: fused attention and large blocks, or products '
        'written out and small blocks, as on a CPU (%(default)s)',
    )
    parser.add_argument('--json', type=Path, help='write what was counted')
    parser.add_argument(
        '--markdown', type=Path, help='write tables as Markdown'
    )
    parser.add_argument('--plot', type=Path, help='draw it, PNG or PDF')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        default={},
        metavar='KEY=VALUE',
        help='changes to every config, such as model.embed_dims=256',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        settings = [
            Setting(
                batch_size,
                args.devices,
                args.tokens,
                args.dtype,
                args.machine,
            )
            for batch_size in args.batch_size
        ]
        check_outputs(args)
        configs = {
            path: load_config(path, args.cfg_options) for path in args.config
        }
        lines = count(configs, settings, console)
        if args.json:
            write_lines(args.json, lines, settings[0], configs)
        if args.markdown:
            tables = [cost_markdown(lines), above_clip_markdown(lines), '']
            write_text(args.markdown, '\n\n'.join(tables))
        if args.plot:
            cost_figure(lines).savefig(args.plot, dpi=150)
    except (OSError, UserError) as error:
        console.print(f'error: {error}', style='red', markup=False)
        return USAGE
    out = Console(width=None if sys.stdout.isatty() else 120)
    out.print(cost_table(lines))
    out.print(memory_table(lines))
    return 0


def check_outputs(args: argparse.Namespace) -> None:
    """Stops, before anything is counted, at what could not be written.

    Raises:
        UsageError: There is a file of another kind, or its folder cannot be
            written to.
    """
    known = FigureCanvasBase.get_supported_filetypes()
    if args.plot and args.plot.suffix.lower().lstrip('.') not in known:
        raise UsageError(
            f'--plot {args.plot} must end in .png or .pdf, or as another '
            'kind of drawing does'
        )
    for path in (args.json, args.markdown, args.plot):
        if path is not None:
            check_writable(path.parent)


def count(
    configs: dict[str, Config], settings: list[Setting], console: Console
) -> list[Line]:
    """Counts every config at every batch, showing how far it is.

    Args:
        configs: By their path.
        settings: One for each batch.
        console: Where progress is shown.
    """
    names = name_objectives(configs)
    columns = (TextColumn('{task.description}'), TimeElapsedColumn())
    lines = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('', total=len(names) * len(settings))
        for path, cfg in configs.items():
            for setting in settings:
                progress.update(
                    task,
                    description=f'{names[path]}, batch {setting.batch_size}',
                )
                line = cost_line(cfg, path, names[path], setting)
                lines.append(line)
                tflops, megabytes = point(line.ours)
                progress.console.print(
                    f'{line.objective}, batch {line.batch_size}: '
                    f'{tflops:.3g} TFLOPs, {megabytes:.0f} MB'
                )
                progress.advance(task)
    return lines


if __name__ == '__main__':
    sys.exit(main())
