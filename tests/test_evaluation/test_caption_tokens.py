"""Tokens as PTBTokenizer gives them.

`ptb_answers.json` was written by the tokenizer itself
(`benchmarks/caption_agreement.py --answers`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparc_vlm.evaluation.caption_tokens import caption_tokens

ANSWERS = json.loads(
    Path(__file__).with_name('ptb_answers.json').read_text('utf-8')
)


@pytest.mark.parametrize(('caption', 'tokens'), ANSWERS)
def test_as_the_tokenizer_has_them(caption, tokens):
    assert ' '.join(caption_tokens(caption)).split() == tokens


def test_many_were_asked():
    assert len(ANSWERS) > 140
    assert len({tuple(tokens) for _, tokens in ANSWERS}) > 120


def test_nothing_is_said():
    assert caption_tokens('') == caption_tokens(' . , "" \n') == []


def test_line_breaks_are_blanks():
    assert caption_tokens('a dog.\nA cat.') == caption_tokens('a dog. A cat.')
