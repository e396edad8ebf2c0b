"""Opens a page in the browser on which a model is tried on pictures.

python tools/demo.py MODEL

Pretrained encoders show where each word of a sentence looks, a captioner
writes and shows where its eyes look for what it wrote, a detector draws boxes,
by words if it takes them. The page is for this machine alone unless --host
says otherwise. Exit status: 0 when stopped by Ctrl-C; 2 if the command line or
the model is wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparc_vlm.demo import build_page, launch  # noqa: E402
from sparc_vlm.errors import UserError, sentence  # noqa: E402
from sparc_vlm.visualization.picture_tools import quietly  # noqa: E402

USAGE = 2


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model',
        help='a model folder of pretraining, of a captioner or of a '
        'detector; open_clip:NAME[:WEIGHTS] or hf:FOLDER',
    )
    parser.add_argument(
        '--device', help='where to compute; a GPU if there is one'
    )
    parser.add_argument(
        '--language',
        metavar='PATH',
        help="where a captioner's language model is, if not where it was in "
        'training',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='where to listen (%(default)s); 0.0.0.0 lets other machines in',
    )
    parser.add_argument(
        '--port', type=int, help='the first free one from 7860 if left out'
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with quietly():
            page = build_page(args.model, args.device, args.language)
        address = launch(page, args.host, args.port)
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        return USAGE
    print(f'open {address} in a browser; Ctrl-C ends it', flush=True)
    page.block_thread()
    return 0


if __name__ == '__main__':
    sys.exit(main())
