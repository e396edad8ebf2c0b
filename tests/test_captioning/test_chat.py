"""Chat templates: what is learned is the answers, whatever the template."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparc_vlm.captioning.chat import (
    IGNORED,
    IMAGE,
    ChatFormat,
    Conversation,
    ConversationError,
    load_format,
)
from tests.test_captioning.tiny_language import (
    CHATML,
    save_language,
    tiny_tokenizer,
)

# As Llama's: the roles take turns, blanks stand around an answer, and the
# text of a user may be trimmed.
LLAMA = (
    '{% for message in messages %}'
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must take turns') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}"
    '{% endfor %}'
)
# As Qwen3's: an answer thinks first, unless a prompt says it shall not.
THINKS = (
    '{% for message in messages %}'
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    '{% if enable_thinking is defined and enable_thinking is false %}'
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
# Marks of its own at the beginning, and a system text that nobody wrote.
SYSTEM = "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}" + CHATML
TEMPLATES = {'chatml': CHATML, 'llama': LLAMA, 'system': SYSTEM, 'plain': None}
LETTERS = 'abc xyz ÄÖ é 日 . ?\n'


tokenizer_of = cache(tiny_tokenizer)


def chat(template='chatml', image_tokens=3, max_length=400):
    tokenizer = tokenizer_of(TEMPLATES[template])
    return ChatFormat(tokenizer, image_tokens, max_length)


def learned(form, labels):
    """The answers in a row of labels, as text."""
    ids = [i for i in labels if i != IGNORED]
    text = form.tokenizer.decode(ids)
    assert text.endswith(form.tokenizer.eos_token)
    parts = text.split(form.tokenizer.eos_token)[:-1]
    return [part.strip() for part in parts]


def text(rng, longest=30):
    letters = ''.join(rng.choices(LETTERS, k=rng.randint(0, longest)))
    return f'{letters}.'.strip()


def conversation(rng, exchanges=3):
    turns = []
    for _ in range(rng.randint(1, exchanges)):
        turns += [('user', text(rng)), ('assistant', text(rng))]
    return Conversation(tuple(turns))


def answers(talk):
    return [said for role, said in talk.turns if role == 'assistant']


def one(question='What is it?', answer='A dog.'):
    return Conversation((('user', question), ('assistant', answer)))


@pytest.mark.parametrize('template', TEMPLATES)
def test_the_answers_are_learned_and_nothing_else(template):
    form, rng = chat(template), random.Random(0)
    for _ in range(50):
        talks = [conversation(rng) for _ in range(rng.randint(1, 4))]
        batch = form.training(talks)
        for row, talk in enumerate(talks):
            labels, ids = batch.labels[row], batch.ids[row]
            assert learned(form, labels.tolist()) == answers(talk)
            assert (ids == IMAGE).sum() == form.image_tokens
            assert torch.equal(ids[labels != IGNORED], labels[labels >= 0])
            assert batch.mask[row, : len(form.encode(talk).ids)].all()
            assert not batch.mask[row, len(form.encode(talk).ids) :].any()


def test_the_words_of_chatml():
    found = chat(image_tokens=2).encode(one())
    text = chat().tokenizer.decode([i for i in found.ids if i != IMAGE])
    assert text == (
        '<|im_start|>user\n\nWhat is it?<|im_end|>\n'
        '<|im_start|>assistant\nA dog.<|im_end|>\n'
    )
    first = found.ids.index(IMAGE)
    before = chat().tokenizer.decode(found.ids[:first])
    assert before == '<|im_start|>user\n'
    # What comes after the end of a turn is not learned: nobody asks for it.
    assert found.labels[-1] == IGNORED
    assert found.labels[-2] == chat().tokenizer.eos_token_id


@pytest.mark.parametrize('template', TEMPLATES)
def test_a_prompt_is_what_an_answer_was_learned_behind(template):
    form = chat(template)
    talk = Conversation((*one('Who?', 'I.').turns, *one().turns))
    trained = form.encode(talk)
    asked = form.prompts([talk.turns[:-1]])
    last = len(trained.labels) - 1
    while trained.labels[last] == IGNORED:
        last -= 1
    while trained.labels[last] != IGNORED:
        last -= 1
    assert asked.ids[0].tolist() == trained.ids[: last + 1]
    assert asked.mask.all()
    assert (asked.labels == IGNORED).all()


def test_what_a_template_thinks_is_no_answer():
    form = ChatFormat(tokenizer_of(THINKS), 3)
    # One of the letters of 'think', too.
    for answer in ('A dog.', 'in'):
        turns = (('user', 'What?'), ('assistant', answer))
        found = form.encode(Conversation(turns))
        assert learned(form, found.labels) == [answer]
    asked = form.prompts([turns[:1]]).ids[0].tolist()
    assert found.ids[: len(asked)] == asked
    words = [token for token in asked if token != IMAGE]
    assert '</think>' in form.tokenizer.decode(words)


def test_prompts_are_padded_on_the_left():
    form = chat()
    short, long = [('user', 'Who?')], [('user', 'What is on the left?')]
    batch = form.prompts([short, long])
    alone = form.prompts([short])
    count = alone.ids.shape[1]
    assert torch.equal(batch.ids[0, -count:], alone.ids[0])
    assert (
        batch.mask[0].tolist()
        == [False] * (batch.ids.shape[1] - count) + [True] * count
    )
    assert batch.mask[1].all()
    assert (batch.ids[~batch.mask] == form.tokenizer.pad_token_id).all()


def test_marks_in_a_text_end_no_turn_and_are_no_picture():
    form = chat()
    nasty = 'a <image> dog<|im_<image>end|><|im_end|> here'
    found = form.encode(one(f'{nasty}?', nasty))
    assert learned(form, found.labels) == ['a  dog here']
    assert found.ids.count(IMAGE) == form.image_tokens
    assert found.ids.count(form.tokenizer.eos_token_id) == 2


def test_a_system_turn_comes_before_the_picture():
    found = chat().encode(Conversation((('system', 'Be kind.'), *one().turns)))
    before = found.ids[: found.ids.index(IMAGE)]
    assert 'Be kind.' in chat().tokenizer.decode(before)


@pytest.mark.parametrize(
    ('turns', 'said'),
    [
        ([('user', 'What?')], 'no answer to learn'),
        ([('user', 'What?'), ('assistant', ' <image>')], 'an answer is empty'),
        ([('assistant', 'A dog.')], 'the user says nothing'),
    ],
)
def test_conversations_that_teach_nothing(turns, said):
    with pytest.raises(ConversationError, match=said):
        chat().training([Conversation(tuple(turns))])


def test_templates_that_cannot_be_taken():
    talk = Conversation((('user', 'a'), *one().turns))
    with pytest.raises(ValueError, match='user, user: .*must take turns'):
        chat('llama').encode(talk)
    # It leaves out of earlier answers what it writes for the last one.
    thinking = CHATML.replace(
        "+ message['content']",
        "+ ('' if loop.last else 'then: ') + message['content']",
    )
    form = ChatFormat(tiny_tokenizer(thinking), 3)
    twice = Conversation(one().turns * 2)
    with pytest.raises(ValueError, match='once it is answered or others'):
        form.encode(twice)


def test_a_tokenizer_without_a_template(log):
    form = chat('plain')
    assert any('"User: ... Assistant: ..."' in line for line in log)
    ids = [i for i in form.encode(one()).ids if i != IMAGE]
    assert form.tokenizer.decode(ids) == (
        'User: \nWhat is it?\nAssistant: A dog.<|im_end|>\n'
    )


def test_an_answer_ends_where_the_template_has_no_mark_for_it():
    bare = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}"
        '{% endif %}'
    )
    form = ChatFormat(tiny_tokenizer(bare), 2)
    found = form.encode(Conversation(one().turns * 2))
    assert learned(form, found.labels) == ['A dog.', 'A dog.']


def test_no_end_at_all():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match='has no eos_token'):
        ChatFormat(tokenizer, 3)


def test_loaded_from_the_folder_of_a_language_model(tmp_path):
    form = load_format(str(save_language(tmp_path / 'tiny')), 3, 100)
    assert form.encode(one()) == chat(max_length=100).encode(one())
    with pytest.raises(ValueError, match='cannot load the tokenizer of'):
        load_format(str(tmp_path), 3)


@pytest.mark.parametrize('scheme', ['first', 'always'])
def test_a_tokenizer_that_puts_blanks_into_its_words(scheme):
    # As Llama's: a text that is put into tokens by itself gets a blank.
    marks = ['<unk>', '<s>', '</s>']
    letters = sorted({*LETTERS, *'[]/INST', *'Whatsi?Adog.', '▁'})
    vocabulary = {name: i for i, name in enumerate([*marks, *letters])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token='<unk>'))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
    )
    tokenizer.chat_template = '{{ bos_token }}' + LLAMA
    form, rng = ChatFormat(tokenizer, 3), random.Random(2)
    for _ in range(30):
        talk = conversation(rng)
        found = form.encode(talk)
        said = [' '.join(answer.split()) for answer in answers(talk)]
        kept = [' '.join(part.split()) for part in learned(form, found.labels)]
        assert kept == said
        assert found.ids.count(IMAGE) == 3
        assert found.ids.count(tokenizer.bos_token_id) == 1
        assert found.ids[0] == tokenizer.bos_token_id
