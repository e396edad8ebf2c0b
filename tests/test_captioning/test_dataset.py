"""What a captioner is taught: of captions, questions and dialogues."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from sparc_vlm.captioning import IGNORED, IMAGE, ChatDataset, ChatFormat
from sparc_vlm.captioning.conversations import DESCRIBE, Talk
from sparc_vlm.datasets import LlavaConversations, PairLoader, Scenes
from sparc_vlm.preprocess import resize_picture, to_tensor
from tests.test_captioning.tiny_language import tiny_tokenizer
from tests.test_datasets.made import ListSource, picture, write_images


def form(max_length=400):
    return ChatFormat(tiny_tokenizer(), 4, max_length)


def make(source=None, max_length=400, **options):
    source = ListSource() if source is None else source
    return ChatDataset(source, form(max_length), 16, **options)


def answers(dataset, labels):
    ids = [i for i in labels if i != IGNORED]
    return dataset.chat.tokenizer.decode(ids).split('<|im_end|>')[:-1]


def drawn(talk, count=200):
    rng = np.random.default_rng(0)
    return [talk.draw(k % 5, rng).turns for k in range(count)]


def test_a_picture_and_a_caption():
    dataset = make()
    sample = dataset[3, 7]
    assert torch.equal(sample.image, to_tensor(resize_picture(picture(3), 16)))
    assert answers(dataset, sample.chat.labels) == dataset.source.captions(3)
    assert sample.chat.ids.count(IMAGE) == 4
    text = [i for i in sample.chat.ids if i != IMAGE]
    assert DESCRIBE in dataset.chat.tokenizer.decode(text)
    assert sample.report['pairs'] == 1


def test_all_captions_and_prompts_get_their_turn():
    source = ListSource(texts={i: ['one', '', 'two'] for i in range(5)})
    talks = drawn(Talk(source, ('Say.', 'Write.')))
    assert set(talks) == {
        (('user', prompt), ('assistant', text))
        for prompt in ('Say.', 'Write.')
        for text in ('one', 'two')
    }


def test_questions_with_their_answers():
    scenes = Scenes('val')
    talks = drawn(Talk(scenes, questions=0.5, max_questions=3))
    asked = [turns for turns in talks if turns[0][1] != DESCRIBE]
    assert 70 < len(asked) < 130
    assert {len(turns) for turns in asked} == {6}
    known = {
        (q['question'], q['answer'])
        for index in range(5)
        for q in scenes.questions(index)
    }
    for turns in asked:
        pairs = [(turns[i][1], turns[i + 1][1]) for i in (0, 2, 4)]
        assert set(pairs) <= known
        assert len(set(pairs)) == 3
    # All of them come up.
    said = {(a[1], b[1]) for t in asked for a, b in itertools.pairwise(t)}
    assert known <= said


def test_dialogues_stand_as_they_are(tmp_path):
    write_images(tmp_path, ['0.png'])
    said = ['Who?', 'A dog.', 'Where?', 'Here.']
    turns = [
        {'from': role, 'value': text}
        for role, text in zip(['human', 'gpt'] * 2, said, strict=True)
    ]
    file = tmp_path / 'llava.json'
    file.write_text(json.dumps([{'image': '0.png', 'conversations': turns}]))
    dataset = make(LlavaConversations(file, tmp_path))
    sample = dataset[0, 0]
    assert answers(dataset, sample.chat.labels) == ['A dog.', 'Here.']


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            dict(questions=0.5),
            'ListSource has no questions to learn, and no b',
        ),
        (dict(questions=2), 'a share between 0 and 1'),
        (dict(max_questions=0), 'at least 1'),
        (dict(prompts=()), 'there must be a prompt'),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)
    with pytest.raises(ValueError, match='no pictures to train on'):
        make(ListSource(count=0))


def test_what_cannot_be_used_is_counted_and_replaced():
    source = ListSource(
        broken=[0], texts={1: [''], 2: ['much too long ' * 20], 3: ['<image>']}
    )
    dataset = make(source, max_length=150)
    for index, counter in enumerate(
        ('broken_images', 'empty_captions', 'skipped_rows', 'skipped_rows')
    ):
        sample = dataset[index, 0]
        assert sample.report[counter] >= 1
        assert sample.report['examples'][0].startswith(f'{index}.png: ')
        assert answers(dataset, sample.chat.labels)[0].startswith('a ')
    with pytest.raises(RuntimeError, match='100 pictures in a row'):
        make(ListSource(count=2, broken=[0, 1]))[0, 0]


def test_a_prompt_that_was_cut_is_counted():
    dataset = make(max_length=400, prompts=('Say it. ' * 60,))
    sample = dataset[0, 0]
    assert sample.report['truncated_captions'] == 1
    assert len(sample.chat.ids) <= 400
    assert answers(dataset, sample.chat.labels) == dataset.source.captions(0)


def test_the_draw_decides():
    dataset = make(Scenes('val', num_images=9), questions=0.5)
    texts = [tuple(dataset[4, draw].chat.ids) for draw in range(20)]
    again = make(Scenes('val', num_images=9), questions=0.5)
    assert [tuple(again[4, draw].chat.ids) for draw in range(20)] == texts
    assert len(set(texts)) > 5
    other = make(Scenes('val', num_images=9), questions=0.5, seed=1)
    assert [tuple(other[4, draw].chat.ids) for draw in range(20)] != texts


def test_the_length_is_that_of_the_sample():
    dataset = make(Scenes('val', num_images=9), questions=0.5)
    lengths = [dataset.length((4, draw)) for draw in range(20)]
    tokens = [len(dataset[4, draw].chat.ids) for draw in range(20)]
    # A byte a token here, and marks around each turn.
    assert np.corrcoef(lengths, tokens)[0, 1] > 0.9
    dataset = make(ListSource(texts={0: []}))
    assert dataset.length((0, 0)) == 0


def test_batches_of_a_loader():
    source = ListSource(
        texts={i: ['a dog ' * (i % 7 + 1)] for i in range(20)}, broken=[5]
    )

    def padding(group):
        loader = PairLoader(make(source), 4, group=group)
        batches = list(itertools.islice(loader, 10))
        masks = [batch['chat'].mask for batch in batches]
        for batch in batches:
            assert batch['images'].shape == (4, 3, 16, 16)
            assert batch['chat'].ids.shape[0] == 4
        counted = sum(b['report']['broken_images'] for b in batches)
        assert counted >= 2
        return sum((~mask).sum() for mask in masks)

    assert padding(5) < 0.5 * padding(1)


def test_goes_on_where_it_was():
    def loader():
        scenes = Scenes('val', num_images=30)
        return PairLoader(make(scenes, questions=0.5), 3, group=4)

    whole = [b['chat'].ids.tolist() for b in itertools.islice(loader(), 9)]
    begun, resumed = loader(), loader()
    list(itertools.islice(begun, 5))
    resumed.load_state_dict(begun.state_dict())
    rest = [b['chat'].ids.tolist() for b in itertools.islice(resumed, 4)]
    assert rest == whole[5:]
