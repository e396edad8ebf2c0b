"""Which words of a caption name which objects of its picture.

Kept on the ground floor: training takes it to say where a word may look,
tasks and figures to say where it should have looked.
"""

from __future__ import annotations

_WORDS = (
    'a an the this that these those some any each and or but nor of in on at '
    'by to from with without into onto over under above below near beside '
    'behind between next before after for as is are was were be been being '
    'has have had do does there it its their his her he she they them while '
    'which who where very you can'
)
FUNCTION_WORDS = frozenset(_WORDS.split())


def is_function_word(word: str) -> bool:
    """Whether a word names nothing: 'the', 'of', a punctuation mark."""
    word = plain(word)
    return not word or word in FUNCTION_WORDS


def plain(word: str) -> str:
    """A word in lower case, without the punctuation around it."""
    return word.strip().strip('.,;:!?"\'()[]').lower()


def named_objects(words: list[str], names: list[str]) -> dict[int, list[str]]:
    """Which words of a caption stand for which of the picture's objects.

    A word stands for an object when it is the last word of the object's
    name, singular or plural: 'circle' and 'circles' for 'red circle'. Where
    several names end alike, the words before it decide, back to the next
    function word or mark: in 'a small red circle' the name with most of its
    words among 'small red'. A tie names them all.

    Args:
        words: The words of the caption.
        names: The names of the picture's objects.

    Returns:
        For the place of each word that names something, the names meant.
    """
    words = [plain(word) for word in words]
    found = {}
    for place, word in enumerate(words):
        meant = [name for name in names if _ends_with(name, word)]
        if not meant:
            continue
        before: set[str] = set()
        for earlier in reversed(words[:place]):
            if is_function_word(earlier):
                break
            before.add(earlier)
        matches = [
            len(before & set(name.lower().split()[:-1])) for name in meant
        ]
        found[place] = [
            name
            for name, match in zip(meant, matches, strict=True)
            if match == max(matches)
        ]
    return found


def _ends_with(name: str, word: str) -> bool:
    """Whether the name's last word is this one, singular or plural."""
    return any(
        word in (head, f'{head}s', f'{head}es')
        for head in name.lower().split()[-1:]
    )
