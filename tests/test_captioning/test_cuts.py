"""Conversations that are too long: what they lose, and what they keep."""

from __future__ import annotations

import random

import pytest

from sparc_vlm.captioning.chat import IMAGE, Conversation, ConversationError
from tests.test_captioning.test_chat import (
    TEMPLATES,
    answers,
    chat,
    conversation,
    learned,
    one,
)


@pytest.mark.parametrize('template', TEMPLATES)
def test_a_cut_spares_picture_and_answers(template):
    rng, cut, dropped, refused = random.Random(1), 0, 0, 0
    for _ in range(200):
        form = chat(template, rng.randint(1, 9), rng.randint(30, 160))
        talk = conversation(rng)
        try:
            found = form.encode(talk)
        except ConversationError:
            # Not even its first answer fits, behind a letter that is asked.
            alone = one('.', answers(talk)[0])
            assert len(chat(template, form.image_tokens).encode(alone).ids) > (
                form.max_length
            )
            refused += 1
            continue
        assert len(found.ids) <= form.max_length
        assert found.ids.count(IMAGE) == form.image_tokens
        kept = learned(form, found.labels)
        assert kept == answers(talk)[: len(kept)]
        whole = chat(template, form.image_tokens, 2000).encode(talk)
        assert found.was_cut == (len(whole.ids) > form.max_length)
        assert found.was_cut or found == whole
        cut += found.was_cut
        dropped += len(kept) < len(answers(talk))
    assert min(cut, dropped, refused) > 3


def test_questions_that_are_learned_to_be_answered_are_whole():
    colours = 'Red Green Blue Grey Pink Brown White Black'.split()
    turns = []
    for number, colour in enumerate(colours):
        turns += [
            ('user', f'What color is the {number}. of them?'),
            ('assistant', colour),
        ]
    talk = Conversation(tuple(turns))
    whole = chat(max_length=1000).encode(talk)
    for short in (1, 30, 200):
        form = chat(max_length=len(whole.ids) - short)
        found = form.encode(talk)
        kept = learned(form, found.labels)
        assert found.was_cut
        assert kept == colours[: len(kept)]
        exchanges = Conversation(tuple(turns[: 2 * len(kept)]))
        alone = chat(max_length=1000).encode(exchanges)
        assert (found.ids, found.labels) == (alone.ids, alone.labels)
        more = Conversation(tuple(turns[: 2 * len(kept) + 2]))
        assert len(chat(max_length=1000).encode(more).ids) > form.max_length


@pytest.mark.parametrize('after', [(), (('user', 'And its tail?'),)])
def test_the_last_question_loses_words_but_never_all(after):
    talk = Conversation((*one('What?').turns, *after))
    whole = chat(max_length=1000).encode(one('What?'))
    for fewer in range(5):
        found = chat(max_length=len(whole.ids) - fewer).encode(talk)
        kept = chat(max_length=1000).encode(one('What?'[fewer:]))
        assert found.was_cut == (fewer > 0)
        assert (found.ids, found.labels) == (kept.ids, kept.labels)
    form = chat(max_length=len(whole.ids) - 5)
    with pytest.raises(ConversationError, match='leaves no word of a quest'):
        form.encode(talk)
    with pytest.raises(ConversationError, match='leaves no word of a quest'):
        asked = chat().prompts([talk.turns[:1]])
        chat(max_length=asked.ids.shape[1] - 5).prompts([talk.turns[:1]])


def test_the_longest_question_is_cut_from_its_beginning():
    whole = chat().encode(one('left out and kept'))
    form = chat(max_length=len(whole.ids) - 9)
    found = form.encode(one('left out and kept'))
    said = form.tokenizer.decode([i for i in found.ids if i != IMAGE])
    assert '\nand kept<' in said
    assert 'left' not in said


def test_a_cut_character_is_left_out_whole():
    for length in range(60, 95):
        form = chat(max_length=length)
        found = form.encode(one('日本日本日本日本'))
        ids = [i for i in found.ids if i != IMAGE]
        assert '\ufffd' not in form.tokenizer.decode(ids)
        assert length - 3 < len(found.ids) <= length or not found.was_cut


def test_what_cannot_be_cut_is_said():
    with pytest.raises(
        ConversationError, match=r'are \d+ tokens, and max_length'
    ):
        chat(max_length=60).training([one(answer='long ' * 20)])
    with pytest.raises(ConversationError, match='max_length is 20'):
        chat(max_length=20).prompts([[('user', 'What?')]])
    with pytest.raises(ValueError, match='leaves no room for words'):
        chat(image_tokens=400)
