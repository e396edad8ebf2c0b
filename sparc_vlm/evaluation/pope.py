"""POPE: questions about what is, and what is not, on a picture.

After Li et al. 2023 (arXiv 2305.10355): for each object that is there one
that is not, drawn in one of three ways, each harder than the one before; and
in a fourth, for data whose classes are all as common.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random

PAPER_KINDS = ('random', 'popular', 'adversarial')
KINDS = (*PAPER_KINDS, 'similar')
_YES = 'yes yeah yep yup true correct indeed'.split()
_NO = "no nope not n't none nothing cannot false never".split()
_SAYS_SO = re.compile(r"\b(there (is|are)|there's|i (can )?see)\b")
_SAYS_FIRST = re.compile(
    r"there('s| is| are) (an?|one|two|some|several|many)\b"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one object.

    Attributes:
        picture: Index of the picture.
        name: Class of the object.
        is_there: The right answer.
    """

    picture: int
    name: str
    is_there: bool

    @property
    def text(self) -> str:
        """The question in words."""
        article = 'an' if self.name[0].lower() in 'aeiou' else 'a'
        return f'Is there {article} {self.name} in the image?'


def ask(
    shown: Mapping[int, Sequence[str]],
    kind: str,
    per_picture: int = 3,
    seed: int = 0,
    unsure: Mapping[int, Collection[str]] | None = None,
) -> list[Asked]:
    """Questions about pictures, yes and no in turn, as many of each.

    'random' asks for classes by chance; 'popular' for those that most
    pictures show; 'adversarial', for each object that is there, for the
    class that is most often seen with it. 'similar' asks, by chance, for one
    that shares a word with the object that is there, 'blue circle' or 'red
    square' for 'red circle', and where there is none for any. All ask for
    the same objects that are there.

    Where all classes are about as common, as on drawn scenes, 'popular' asks
    for the same few on every picture, so that the name alone tells what to
    answer; in part so does 'adversarial'.

    Args:
        shown: For each picture the classes on it; classes that no picture
            shows are not asked for.
        kind: One of `KINDS`.
        per_picture: Asks for so many objects that are there, or as many as
            there are.
        seed: Of what is drawn; a picture's questions depend on it, on the
            picture's index and on what all pictures show.
        unsure: For each picture classes that may be there without being
            shown, such as crowds: they are not asked for as not there.
    """
    counts = Counter(name for own in shown.values() for name in set(own))
    classes = sorted(counts, key=lambda name: (-counts[name], name))
    together = Counter(
        pair for own in shown.values() for pair in permutations(set(own), 2)
    )
    asked = []
    for picture, own in shown.items():
        present = Random(f'{seed}-{picture}').sample(
            sorted(set(own)), min(per_picture, len(set(own)))
        )
        there = {*own, *(unsure or {}).get(picture, ())}
        absent = [name for name in classes if name not in there]
        if kind in ('random', 'similar'):
            Random(f'{seed}-{picture}-absent').shuffle(absent)
        for name in present:
            if not absent:
                break
            other = absent[0]
            if kind == 'adversarial':
                # Of those that are seen with it as often, the commonest.
                often = [together[name, one] for one in absent]
                other = absent[often.index(max(often))]
            elif kind == 'similar':
                own_words = set(name.split())
                alike = [a for a in absent if own_words & set(a.split())]
                other = (alike or absent)[0]
            absent.remove(other)
            asked.append(Asked(picture, name, True))
            asked.append(Asked(picture, other, False))
    return asked


def says_yes(answer: str) -> bool | None:
    """What an answer in words comes down to.

    The first sentence that says yes or no decides, and in it the first such
    word; 'there is a dog' is a yes, whatever follows. POPE's own script looks
    at the first sentence alone, takes a 'no' or 'not' anywhere in it for no,
    and all else for yes.

    Args:
        answer: Any text.

    Returns:
        None where it is neither.
    """
    text = answer.lower().replace('’', "'")
    said = (_sentence_says_yes(part) for part in re.split(r'[.!?\n]+', text))
    return next((one for one in said if one is not None), None)


def _sentence_says_yes(text: str) -> bool | None:
    if _SAYS_FIRST.match(text.strip()):
        return True
    for word in re.findall(r"n't|[a-z]+?(?=n't)|[a-z]+", text):
        if word in _YES or word in _NO:
            return word in _YES
    return True if _SAYS_SO.search(text) else None


def tally(rows: Sequence[tuple[bool, bool | None]]) -> dict[str, float | None]:
    """Accuracy, precision, recall, F1 and the share of yes, in percent.

    Args:
        rows: For each question whether the object is there, and the answer;
            None, neither yes nor no, is wrong, and no yes.

    Returns:
        'accuracy', 'precision', 'recall', 'f1' and 'yes', None where there is
        nothing that it would be a share of. Beside these the counts that
        they are shares of: `questions`, `yes_said`, `yes_true`, and
        `yes_both`, the sum of the last two.
    """
    said = sum(answer is True for _, answer in rows)
    true = sum(is_there for is_there, _ in rows)
    found = sum(is_there and answer is True for is_there, answer in rows)
    right = sum(is_there == answer for is_there, answer in rows)

    def share(part: int, whole: int) -> float | None:
        return 100 * part / whole if whole else None

    return {
        'accuracy': share(right, len(rows)),
        'precision': share(found, said),
        'recall': share(found, true),
        'f1': share(2 * found, said + true),
        'yes': share(said, len(rows)),
        'questions': len(rows),
        'yes_said': said,
        'yes_true': true,
        'yes_both': said + true,
    }
