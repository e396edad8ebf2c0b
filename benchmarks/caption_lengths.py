"""How long captions are, in tokens of CLIP's BPE.

python benchmarks/caption_lengths.py data/dataset_flickr8k.json \
    --out benchmarks/flickr8k_lengths.json

A step's time goes by the lengths of its captions, not by their words; so
what is kept of a data set is how many captions have which length. Needs
open_clip_torch, which carries the vocabulary.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

FLICKR8K = Path(__file__).with_name('flickr8k_lengths.json')


def read_captions(path: Path) -> list[str]:
    """Captions of a file.

    Args:
        path: One caption a line, or a .json in the layout of Karpathy's
            splits.
    """
    text = path.read_text()
    if path.suffix != '.json':
        return [line for line in text.splitlines() if line.strip()]
    return [
        sentence['raw']
        for image in json.loads(text)['images']
        for sentence in image['sentences']
    ]


def token_lengths(captions: list[str]) -> list[int]:
    """Tokens of each caption, begin and end marks left out.

    Args:
        captions: Any sentences.
    """
    from open_clip.tokenizer import SimpleTokenizer

    import sparc_vlm  # noqa: F401  # mends the torchvision that the peer wants

    tokenizer = SimpleTokenizer()
    return [len(tokenizer.encode(caption)) for caption in captions]


def read_lengths(path: Path = FLICKR8K) -> list[int]:
    """Every length as often as it was counted.

    Args:
        path: What this script wrote.
    """
    counts = json.loads(path.read_text())['counts']
    return [
        int(length) for length, count in counts.items() for _ in range(count)
    ]


def main() -> None:
    """Counts and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('captions', type=Path)
    parser.add_argument('--out', type=Path, default=FLICKR8K)
    args = parser.parse_args()
    lengths = token_lengths(read_captions(args.captions))
    mean = sum(lengths) / len(lengths)
    report = dict(
        captions=args.captions.name,
        tokenizer="CLIP's BPE, without marks",
        mean=mean,
        counts=dict(sorted(Counter(lengths).items())),
    )
    args.out.write_text(json.dumps(report, indent=1) + '\n')
    print(f'{len(lengths)} captions of {mean:.2f} tokens on average')


if __name__ == '__main__':
    main()
