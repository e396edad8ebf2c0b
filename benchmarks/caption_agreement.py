r"""How many captions the tokens of scores agree on with PTBTokenizer itself.

    python -m benchmarks.caption_agreement captions_val2017.json other.txt \
        --out benchmarks/results/caption_agreement.json

Takes Java, which runs the tokenizer inside pycocoevalcap. Each file is COCO's
or Karpathy's, or has a caption a line. With --answers the tokens of the
captions in a JSON list of [caption, tokens] are written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from sparc_vlm.engine.versions import versions
from sparc_vlm.evaluation.caption_tokens import caption_tokens
from sparc_vlm.files import write_json

# A sentence opener behind each caption would change how its last word is
# read; a line of its own that no rule looks at does not.
BETWEEN = {'caption': '-'}


def real_tokens(captions: Sequence[str]) -> list[list[str]]:
    """Tokens by the Java tokenizer, each caption read by itself.

    Args:
        captions: Any texts.
    """
    rows = {i: [{'caption': c}, BETWEEN] for i, c in enumerate(captions)}
    found = PTBTokenizer().tokenize(rows)
    # Fractions and telephone numbers hold a blank that does not break.
    return [found[i][0].split() for i in range(len(captions))]


def read(path: Path) -> list[str]:
    """The captions of a file.

    Args:
        path: JSON of COCO or Karpathy, or a caption a line.
    """
    if path.suffix != '.json':
        return path.read_text('utf-8').splitlines()
    content = json.loads(path.read_text('utf-8'))
    if 'annotations' in content:
        return [row['caption'] for row in content['annotations']]
    rows = content['images']
    return [said['raw'] for row in rows for said in row['sentences']]


def main() -> None:
    """Compares, and prints the captions that differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('files', nargs='*', type=Path)
    parser.add_argument('--answers', type=Path)
    parser.add_argument('--out', type=Path)
    options = parser.parse_args()
    if options.answers:
        captions = [row[0] for row in json.loads(options.answers.read_text())]
        rows = list(zip(captions, real_tokens(captions), strict=True))
        text = json.dumps(rows, ensure_ascii=False, indent=0)
        options.answers.write_text(text + '\n', 'utf-8')
    found = []
    for path in options.files:
        captions = list(dict.fromkeys(read(path)))
        equal = 0
        for caption, real in zip(captions, real_tokens(captions), strict=True):
            ours = ' '.join(caption_tokens(caption)).split()
            equal += ours == real
            if ours != real:
                print(f'{caption!r}\n  {real}\n  {ours}')
        print(f'{path}: {equal} of {len(captions)} captions are equal')
        found.append(
            dict(
                file='/'.join(path.parts[-3:]),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                captions=len(captions),
                equal=equal,
            )
        )
    if options.out:
        write_json(options.out, dict(files=found, versions=versions()))


if __name__ == '__main__':
    main()
