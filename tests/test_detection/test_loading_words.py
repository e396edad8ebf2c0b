"""A detector by words that is saved and loaded finds the same words."""

from __future__ import annotations

import pytest
import torch

from sparc_vlm import detection
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import TASKS
from tests.test_detection.tiny_detectors import picture
from tests.test_detection.words_made import (
    WORDS,
    build,
    detector_cfg,
    sample,
    tokenizer,
    write_coco,
)

PIPELINE = [
    dict(type='LoadImageFromNDArray'),
    dict(type='PackDetInputs', meta_keys=('img_shape', 'ori_shape', 'words')),
]


def saved(folder, **changes):
    """A detector in eval mode, and the folder that it was written to."""
    cfg = detector_cfg(tokenizer(folder), **changes)
    model = build(cfg).eval()
    place = detection.save(
        model, folder / 'model', cfg, PIPELINE, model.words or ()
    )
    return model, place


def test_the_same_is_found_before_and_after(tmp_path):
    model, folder = saved(tmp_path)
    image = picture(size=(32, 40))
    loaded = detection.load(folder)
    assert loaded.takes_words
    assert loaded.classes == ()
    (found,) = loaded.detect([image], WORDS, limit=30)
    blue_first = torch.tensor(list(image.get_flattened_data()))
    pixels = blue_first.view(40, 32, 3).permute(2, 0, 1).flip(0)
    with torch.no_grad():
        (before,) = model.test_step(
            {
                'inputs': [pixels],
                'data_samples': [sample(WORDS, shape=(40, 32))],
            }
        )
    expected = before.pred_instances[:30]
    assert len(found) == 30
    torch.testing.assert_close(found.boxes, expected.bboxes)
    torch.testing.assert_close(found.scores, expected.scores)
    assert found.labels.tolist() == expected.labels.tolist()
    assert len(found.labels.unique()) > 1
    # The tokenizer goes along: the folder is all that is needed.
    (tmp_path / 'tokenizer').rename(tmp_path / 'gone')
    (again,) = detection.load(folder).detect([image], WORDS, limit=30)
    assert torch.equal(again.boxes, found.boxes)


def test_words_of_its_own_and_of_the_caller(tmp_path):
    _, folder = saved(tmp_path, words=['red box', 'dog'], limit=5)
    loaded = detection.load(folder)
    assert loaded.classes == ('red box', 'dog')
    assert loaded.names() == loaded.classes
    assert loaded.names(['cat']) == ('cat',)
    assert loaded.names('Red ball, dog') == ('red ball', 'dog')
    (own,) = loaded.detect([picture()])
    (asked,) = loaded.detect([picture()], ['red box', 'dog'])
    assert torch.equal(own.scores, asked.scores)
    # The caller's limit goes before its own.
    assert len(own) == 96
    (few,) = loaded.detect([picture()], ['a dog'], limit=3)
    assert few.labels.tolist() == [0, 0, 0]


def test_who_has_no_words_must_be_told_some(tmp_path):
    _, folder = saved(tmp_path)
    for words in (None, []):
        with pytest.raises(UsageError, match='name at least one word'):
            detection.load(folder).detect([picture()], words)


@pytest.mark.parametrize('kind', ['BoxAP', 'WordAP'])
def test_it_is_measured(tmp_path, kind):
    _, folder = saved(tmp_path)
    files = tmp_path / 'boxes.json', tmp_path / 'images'
    write_coco(*files)
    task = TASKS.build(
        dict(type=kind, annotations=str(files[0]), images=str(files[1]))
    )
    result = task.run(detection.load(folder))
    assert all(0 <= value <= 100 for value in result.metrics.values())
    assert {'ap', 'ap50', 'ap_small'} <= set(result.metrics)
    assert len(result.samples) == 4
    if kind == 'WordAP':
        assert task.groups == {'rare': [2], 'common': [1, 3], 'frequent': [0]}
        assert {'ap_rare', 'ap_common', 'ap_frequent'} <= set(result.metrics)
