"""LLaVA's instruction data: what is read, and what is left out and counted."""

from __future__ import annotations

import json

import pytest

from sparc_vlm.datasets import LlavaConversations, data_from_flag
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import write_images


def row(*said, image='a/0.png', first='human', **more):
    roles = ['human', 'gpt'] if first == 'human' else ['gpt', 'human']
    turns = [
        {'from': roles[place % 2], 'value': text}
        for place, text in enumerate(said)
    ]
    return {'id': 1, 'image': image, 'conversations': turns} | more


def write(folder, *rows, name='llava.json'):
    write_images(folder, ['a/0.png', 'b/1.png'])
    (folder / name).write_text(json.dumps(rows))
    return folder / name


def test_questions_and_answers(tmp_path):
    file = write(
        tmp_path,
        row('<image>\nWhat is it?', 'A dog.', ' Where? ', 'On a mat.\n'),
        row('Write.\n<image>', 'A cat.', image='b/1.png'),
    )
    source = LlavaConversations(file, tmp_path)
    assert len(source) == 2
    assert source.exchanges(0) == [
        ('What is it?', 'A dog.'),
        ('Where?', 'On a mat.'),
    ]
    assert source.captions(0) == ['A dog.', 'On a mat.']
    assert source.exchanges(1) == [('Write.', 'A cat.')]
    assert source.key(1) == 'b/1.png'
    assert source.image(1).mode == 'RGB'
    assert source.reading['skipped_rows'] == 0


@pytest.mark.parametrize(
    ('bad', 'counter', 'said'),
    [
        (row('q', 'a', image=None), 'skipped_rows', 'no picture, or several'),
        (row('q', 'a', image=['a', 'b']), 'skipped_rows', 'or several'),
        ({'image': 'a/0.png'}, 'skipped_rows', 'not in the form of LLaVA'),
        (row('q', 5), 'skipped_rows', 'not in the form of LLaVA'),
        ('text', 'skipped_rows', 'not in the form of LLaVA'),
        (row('q'), 'skipped_rows', 'no turns of human and gpt'),
        (row(), 'skipped_rows', 'no turns of human and gpt'),
        (row('q', ' <image> '), 'empty_captions', 'an empty answer'),
    ],
)
def test_bad_rows_are_counted_and_left_out(tmp_path, bad, counter, said):
    file = write(tmp_path, bad, row('q', 'a'))
    source = LlavaConversations(file, tmp_path)
    assert len(source) == 1
    assert source.reading[counter] == 1
    assert source.reading['examples'][0].startswith(f'{file}, row 0: ')
    assert said in source.reading['examples'][0]


def test_what_stands_before_and_behind_the_exchanges(tmp_path):
    file = write(
        tmp_path,
        row('Hello.', 'q', 'a', first='gpt'),
        row('q', 'a', 'never answered'),
    )
    source = LlavaConversations(file, tmp_path)
    assert [source.exchanges(i) for i in range(2)] == [[('q', 'a')]] * 2


def test_files_that_are_no_such_data(tmp_path):
    with pytest.raises(ValueError, match='is no list'):
        LlavaConversations(_write_text(tmp_path, '{}'), tmp_path)
    with pytest.raises(ValueError, match='is not JSON'):
        LlavaConversations(_write_text(tmp_path, '['), tmp_path)
    with pytest.raises(ValueError, match='no conversation about a picture'):
        LlavaConversations(_write_text(tmp_path, '[{}]'), tmp_path)
    with pytest.raises(FileNotFoundError, match='no annotations at'):
        LlavaConversations(tmp_path / 'no.json', tmp_path)


def _write_text(folder, text):
    (folder / 'x.json').write_text(text)
    return folder / 'x.json'


def test_named_on_a_command_line(tmp_path):
    file = write(tmp_path, row('q', 'a'), name='train.json')
    found = data_from_flag(f'llava:{file}')
    assert found['val'] is None
    assert found['train'] == dict(
        type='LlavaConversations', annotations=str(file), images=str(tmp_path)
    )
    assert DATASETS.build(found['train']).image(0).size == (24, 24)
    write(tmp_path, row('q', 'a'), name='val.json')
    assert data_from_flag(f'llava:{file}')['val']['annotations'] == str(
        tmp_path / 'val.json'
    )
