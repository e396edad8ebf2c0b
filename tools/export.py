"""Takes a trained captioner apart for other libraries.

python tools/export.py work_dirs/captioner/model exported

Writes exported/adapter (peft's format), exported/language (a model of
transformers, merged), exported/vision (eyes and projector) and a README.md
that shows how to put them together. Exit status: 0; 2 if it cannot be done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sparc_vlm.captioning.export import export  # noqa: E402
from sparc_vlm.errors import UserError, sentence  # noqa: E402
from sparc_vlm.files import reason  # noqa: E402

USAGE = 2


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model',
        help='the model folder of a captioner, its work folder, or a '
        'checkpoint in that',
    )
    parser.add_argument(
        'out', type=Path, help='folder to write, which is not there yet'
    )
    parser.add_argument(
        '--language',
        metavar='PATH',
        help='the language model, if it is not where it was in training',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        folder = export(args.model, args.out, args.language)
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        return USAGE
    except OSError as error:
        said = f'error: {args.out} cannot be written ({reason(error)})'
        console.print(said, style='red', markup=False)
        return USAGE
    for part in sorted(folder.iterdir()):
        print(f'{part}: {_megabytes(part):.1f} MB')
    return 0


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else path.rglob('*')
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


if __name__ == '__main__':
    sys.exit(main())
