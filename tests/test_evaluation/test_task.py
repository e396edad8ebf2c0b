import json
import logging

import pytest

from sparc_vlm.evaluation import Retrieval, TaskResult, progress_bar
from sparc_vlm.evaluation.encoding import (
    encode_texts,
    image_chunks,
    whole_picture,
)
from sparc_vlm.registry import DATASETS, TASKS
from tests.test_evaluation.colour_world import (
    Board,
    Boards,
    ColourModel,
    some_boards,
)


def test_result_is_written_as_json(tmp_path):
    result = TaskResult('r', {'a': 1.0}, [{'key': 'x', 'ranks': [1.0]}])
    result.save(tmp_path / 'new' / 'r.json')
    assert json.loads((tmp_path / 'new' / 'r.json').read_text()) == {
        'name': 'r',
        'metrics': {'a': 1.0},
        'samples': [{'key': 'x', 'ranks': [1.0]}],
        'chance': {},
        'skipped': {},
    }


def test_task_builds_its_source_from_a_config():
    @DATASETS.register_module(name='BoardsForTaskTest', force=True)
    def build(count):
        return some_boards(count)

    task = TASKS.build(
        dict(
            type='Retrieval',
            dataset=dict(type='BoardsForTaskTest', count=3),
        )
    )
    assert len(task.source) == 3


def test_max_images_spreads_evenly():
    task = Retrieval(some_boards(10), max_images=5)
    assert task.indices == [0, 2, 4, 6, 8]
    assert Retrieval(some_boards(3), max_images=5).indices == [0, 1, 2]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match='no picture'):
        Retrieval(Boards([]))
    for options in (
        {'batch_size': 0},
        {'batch_size': 1.5},
        {'max_images': 0},
        {'captions_per_image': -1},
        {'captions_per_image': True},
        {'ks': (0,)},
        {'ks': (1, 1.5)},
        {'ks': ()},
    ):
        (name,) = options
        said = f'retrieval: {name} must be .*whole number.* from 1, not'
        with pytest.raises(ValueError, match=said):
            Retrieval(some_boards(2), **options)
    assert Retrieval(some_boards(2), ks=3).ks == (3,)


def test_chunks_skip_broken_pictures_and_report_progress():
    source = some_boards(7)
    source.boards[2].broken = True
    source.boards[5] = Board([['ruby']], ['x'], broken=True)
    broken, told = {}, []
    chunks = list(
        image_chunks(
            source, range(7), 3, broken, lambda *args: told.append(args)
        )
    )
    assert [indices for indices, _ in chunks] == [[0, 1], [3, 4], [6]]
    assert all(len(i) == len(p) for i, p in chunks)
    assert set(broken) == {2, 5}
    assert 'cut off' in broken[2]
    assert told == [('pictures', done, 7) for done in (3, 6, 7)]
    assert set(source.reads.values()) == {1}


def test_chunk_of_only_broken_pictures_is_not_handed_out():
    source = some_boards(4)
    source.boards[0].broken = source.boards[1].broken = True
    chunks = list(image_chunks(source, range(4), 2, {}))
    assert [indices for indices, _ in chunks] == [[2, 3]]


def test_nothing_readable_is_an_error_that_names_a_reason():
    source = some_boards(2)
    for board in source.boards:
        board.broken = True
    with pytest.raises(ValueError, match='none of the 2.*cut off'):
        list(image_chunks(source, range(2), 2, {}))


def test_equal_texts_are_encoded_once_and_in_order():
    model = ColourModel()
    texts = ['a ruby', 'a sea', 'a ruby', 'a leaf', 'a sea']
    rows = encode_texts(model, texts, 2)
    assert model.texts_encoded == 3
    assert model.largest_batch == 2
    assert (rows[0] == rows[2]).all()
    alone = [model.encode_text([text]).text[0] for text in texts]
    for row, one in zip(rows, alone, strict=True):
        assert row.tolist() == pytest.approx(one.tolist())


def test_whole_picture_takes_the_shape_of_the_model():
    image = some_boards(1).image(0)
    model = ColourModel()
    assert whole_picture(model, image) is image
    model.image_size = 20
    assert whole_picture(model, image).size == (20, 20)
    model.image_size = (10, 30)
    assert whole_picture(model, image).size == (30, 10)


def test_skipped_samples_are_said_in_the_log(caplog, monkeypatch):
    said = []
    monkeypatch.setattr(
        'sparc_vlm.evaluation.task.print_log',
        lambda text, logger, level: said.append((text, level)),
    )
    source = some_boards(4)
    source.boards[1].broken = True
    result = Retrieval(source).run(ColourModel())
    assert result.skipped == {'broken pictures': 1}
    assert len(said) == 1
    assert '1 broken pictures' in said[0][0]
    assert 'cut off' in said[0][0]
    assert said[0][1] == logging.WARNING


def test_progress_bar_takes_the_calls_of_a_task():
    with progress_bar() as progress:
        result = Retrieval(some_boards(4), batch_size=2).run(
            ColourModel(), progress
        )
    assert result.metrics
