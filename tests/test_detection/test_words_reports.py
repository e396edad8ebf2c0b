"""Broken pictures that were met in training are told when it ends."""

from types import SimpleNamespace

import numpy as np
from mmengine.dataset import pseudo_collate

from sparc_vlm.detection.words import PictureReportHook
from tests.test_detection.words_made import LOAD, dataset, write_coco

PACK = dict(type='PackDetInputs', meta_keys=('img_shape', 'report'))


def test_counts_are_added_up_and_told(tmp_path):
    file, images = tmp_path / 'instances.json', tmp_path / 'images'
    content = write_coco(file, images)
    (images / content['images'][1]['file_name']).unlink()
    pictures = dataset(
        annotations=file, images=str(images), pipeline=[*LOAD, PACK]
    )
    lines = []
    runner = SimpleNamespace(iter=0, logger=SimpleNamespace(info=lines.append))
    hook = PictureReportHook(interval=2)
    np.random.seed(1)
    for runner.iter in range(3):
        batch = pseudo_collate([pictures[0], pictures[1]])
        hook.before_train_iter(runner, runner.iter, batch)
        hook.after_train_iter(runner, runner.iter)
    assert len(lines) == 1
    hook.after_train(runner)
    broken = hook.total.counts['broken_images']
    assert broken >= 3
    assert lines[1].startswith(f'data: 6 pairs, {broken} broken images')
    assert content['images'][1]['file_name'] in lines[1]
