"""Tasks on boxes: what they ask of a detector, what they say of it."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch
from pycocotools import mask as coco_mask

from sparc_vlm.detection import BoxAP, Detections, WordAP
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.samples import paired, scores_of
from sparc_vlm.evaluation.statistics import bootstrap
from sparc_vlm.registry import TASKS
from sparc_vlm.study import measure, read_sheet, write_sheet
from tests.test_detection.made_boxes import (
    CLASSES,
    Seer,
    made_truth,
    outline,
    write,
)

AREAS = ('ap_small', 'ap_medium', 'ap_large')
PLAIN = ['ap', 'ap50', 'ap75', *AREAS]
KINDS = {
    BoxAP: PLAIN,
    WordAP: [*PLAIN, 'ap_rare', 'ap_frequent'],
}


@pytest.fixture(scope='module')
def truth():
    return made_truth(10)


@pytest.fixture(scope='module')
def files(truth, tmp_path_factory):
    return write(tmp_path_factory.mktemp('boxes'), truth)


def task_of(kind, files, **more):
    if kind is WordAP:
        more = {'rare': ['dog'], **more}
    return kind(*files, **more)


def perfect(truth):
    """A detector that finds just what is there."""
    seer = Seer(truth)
    seer._look = lambda image, names: _what_is_there(truth, image, names)
    return seer


def _what_is_there(truth, image, names):
    own = [
        row
        for row in truth['annotations']
        if row['image_id'] == image.getpixel((0, 0))[0]
    ]
    boxes = torch.tensor([row['bbox'] for row in own]).view(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = [names.index(CLASSES[r['category_id'] // 10 - 1]) for r in own]
    return Detections(
        boxes,
        torch.linspace(0.9, 0.5, len(own)),
        torch.tensor(labels, dtype=torch.int64),
        [row['segmentation'] for row in own],
    )


@pytest.mark.parametrize('kind', KINDS)
def test_who_finds_everything_and_nothing_else(kind, truth, files):
    result = task_of(kind, files, masks=True).run(perfect(truth))
    both = [start + name for start in ('', 'mask_') for name in KINDS[kind]]
    assert list(result.metrics) == both
    assert list(result.metrics.values()) == pytest.approx([100] * len(both))
    assert result.chance == {}
    assert result.skipped == {}
    assert result.classes == list(CLASSES)


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_kept_gives_every_metric_back(kind, truth, files, tmp_path):
    """From a file too, whose numbers are short."""
    task, results = task_of(kind, files, masks=True), []
    for seed in (1, 2):
        sheet = measure(task, Seer(truth, seed))
        write_sheet(tmp_path / f'{seed}.json.gz', sheet)
        results.append(read_sheet(tmp_path / f'{seed}.json.gz'))
    assert results[0]['type'] == kind.__name__
    poor = [measure(task, Seer(truth, 3, noise=20))]
    for metric, value in results[0]['metrics'].items():
        scores, keys = scores_of(metric, results)
        assert keys == [f'{number}.png' for number in range(1, 11)]
        found = bootstrap(scores, draws=20)
        mean = (value + results[1]['metrics'][metric]) / 2
        assert found.value == pytest.approx(mean)
        assert bootstrap(*paired(metric, results, poor), draws=20).value > 0


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_found_in_a_crowd_does_not_count(kind, tmp_path):
    """As often as one likes; elsewhere it is wrong as ever."""
    truth = made_truth(2, crowds=False)
    row = dict(category_id=40, iscrowd=0, segmentation=outline([0] * 4))
    objects = [dict(row, id=1, image_id=2, bbox=[0, 0, 40, 40])]
    objects.append(
        dict(row, id=2, image_id=2, bbox=[50, 0, 90, 90], iscrowd=1)
    )
    objects += [
        dict(row, id=3 + n, image_id=2, bbox=[51 + 20 * n, 9, 15, 60])
        for n in range(4)
    ]
    files = write(tmp_path, dict(truth, annotations=objects[:2]))
    seen = dict(truth, annotations=[*objects[2:], objects[0]])
    task = task_of(kind, files)
    assert task.run(perfect(seen)).metrics['ap'] == pytest.approx(100)
    for found in seen['annotations'][:4]:
        found['image_id'] = 1
    assert task.run(perfect(seen)).metrics['ap'] < 60


def test_a_sample_says_what_was_found_where(truth, files):
    result = BoxAP(*files, limit=4).run(Seer(truth))
    (first,) = (s for s in result.samples if s['key'] == '1.png')
    assert len(first['corners']) == len(first['boxes']['scores']) == 4
    assert first['boxes']['scores'] == sorted(first['boxes']['scores'])[::-1]
    there = [o for o in truth['annotations'] if o['image_id'] == 1]
    counted = [o for o in there if not o['iscrowd']]
    assert len(first['boxes']['objects']['all']) == len(counted)
    assert json.loads(json.dumps(result.to_json())) == result.to_json()


def counted(result, kind, area):
    """How many objects count in a range of areas."""
    return sum(len(s[kind]['objects'][area]) for s in result.samples)


@pytest.mark.parametrize('task', KINDS)
def test_own_areas_are_of_what_is_scored(task, truth, tmp_path):
    """A file's own areas are those of masks, smaller than their boxes."""
    own = json.loads(json.dumps(truth))
    sides = {'boxes': [], 'masks': []}
    for row in own['annotations']:
        row['area'] = 5.0
        if not row['iscrowd']:
            mask = float(coco_mask.area(row['segmentation']))
            sides['boxes'].append(row['bbox'][2] * row['bbox'][3])
            sides['masks'].append(mask)
    # All of 60 x 54: boxes are above, masks below.
    line = 3000
    areas = {'below': (0, line), 'above': (line, 1e10)}
    files = write(tmp_path, own)
    result = task_of(task, files, masks=True, areas=areas).run(Seer(truth))
    for kind, found in sides.items():
        below = sum(area < line for area in found)
        assert counted(result, kind, 'below') == below > 0
        assert counted(result, kind, 'above') == len(found) - below > 0
    assert counted(result, 'boxes', 'below') < counted(
        result, 'masks', 'below'
    )
    # COCO's ranges are of what the file says.
    plain = task_of(task, files, masks=True).run(Seer(truth))
    for kind, found in sides.items():
        assert counted(plain, kind, 'small') == len(found)


def test_words_are_the_names_of_all_classes(truth, files):
    seer, told = Seer(truth), []
    task = WordAP(*files, rare=['dog'], batch_size=4, limit=7)
    task.run(seer, lambda *now: told.append(now))
    assert seer.asked == [(n, list(CLASSES), 7) for n in (4, 4, 2)]
    assert told == [('word_ap', n, 10) for n in (4, 8, 10)]


def test_words_are_as_one_says_them(truth, tmp_path):
    own = json.loads(json.dumps(truth))
    own['categories'][0]['name'] = 'Tennis_Ball'
    task = BoxAP(*write(tmp_path, own))
    seer = Seer(truth)
    seer._look = lambda image, names: _what_is_there(
        truth, image, ['ball', *names[1:]]
    )
    result = task.run(seer)
    assert seer.asked[0][1][0] == 'tennis ball'
    assert result.classes[0] == 'Tennis_Ball'
    assert result.metrics['ap'] == pytest.approx(100)


def test_a_detector_of_classes_keeps_its_own_order(truth, files):
    """Labels are places in its own list; classes nobody wants go."""
    by_words = BoxAP(*files).run(Seer(truth)).metrics
    for classes in (CLASSES[::-1], ('cat', *CLASSES, 'cow')):
        own = Seer(truth, words=False)
        own.classes = classes
        assert BoxAP(*files).run(own).metrics == by_words
        assert own.asked[0][1] is None
    own.classes = ('ball', 'box', 'cone', 'dig')
    with pytest.raises(UsageError, match='has no dog; did you mean dig'):
        BoxAP(*files).run(own)


def test_pictures_in_a_zip_and_only_some_of_them(truth, files, tmp_path):
    annotations, images = files
    with zipfile.ZipFile(tmp_path / 'images.zip', 'w') as archive:
        for path in images.iterdir():
            archive.write(path, f'val/{path.name}')
    task = BoxAP(annotations, tmp_path / 'images.zip', max_images=5)
    result = task.run(perfect(truth))
    assert [s['key'] for s in result.samples] == [
        f'{number}.png' for number in (1, 3, 5, 7, 9)
    ]
    assert result.metrics['ap'] == pytest.approx(100)


def test_broken_pictures_are_counted_and_left_out(tmp_path, log):
    truth = made_truth(6, seed=4)
    files = write(tmp_path, truth)
    (files[1] / '2.png').write_bytes(b'no picture')
    (files[1] / '5.png').unlink()
    result = BoxAP(*files).run(perfect(truth))
    assert result.skipped == {'broken pictures': 2}
    assert len(result.samples) == 4
    assert result.metrics['ap'] == pytest.approx(100)
    assert any('2 broken pictures' in line for line in log)
    for path in files[1].iterdir():
        path.write_bytes(b'')
    with pytest.raises(UsageError, match='none of the 6 pictures'):
        BoxAP(*files).run(perfect(truth))


def test_files_that_leave_things_out(tmp_path):
    """No area, no crowds, numbers from 0, rows that belong nowhere."""
    truth = made_truth(6, crowds=False)
    wanted = perfect(made_truth(6, crowds=False))
    for number, row in enumerate(truth['annotations']):
        del row['area'], row['iscrowd']
        row['id'] = number
    truth['annotations'] += [
        {'id': 99, 'image_id': 77, 'category_id': 10, 'bbox': [0, 0, 9, 9]},
        {'id': 99, 'image_id': 1, 'category_id': 7, 'bbox': [0, 0, 9, 9]},
        {'id': 99, 'image_id': 1, 'category_id': 10},
    ]
    task = BoxAP(*write(tmp_path, truth))
    assert task.run(wanted).metrics['ap'] == pytest.approx(100)
    assert task.source.reading['skipped_rows'] == 3


def test_groups_of_the_files_own_frequency(truth, tmp_path):
    own = json.loads(json.dumps(truth))
    for row, letter in zip(own['categories'], 'rccf', strict=True):
        row['frequency'] = letter
    task = WordAP(*write(tmp_path, own))
    assert task.groups == {'rare': [0], 'common': [1, 2], 'frequent': [3]}
    metrics = task.run(Seer(truth)).metrics
    groups = [metrics[f'ap_{g}'] for g in ('rare', 'common', 'frequent')]
    mean = (groups[0] + 2 * groups[1] + groups[2]) / 4
    assert metrics['ap'] == pytest.approx(mean)


def test_addresses_of_lvis_are_names_of_pictures(truth, tmp_path):
    own = json.loads(json.dumps(truth))
    for row in own['images']:
        name = row.pop('file_name')
        row['coco_url'] = f'http://images.example.org/val2017/{name}'
    annotations, images = write(tmp_path, json.loads(json.dumps(truth)))
    annotations.write_text(json.dumps(own))
    result = BoxAP(annotations, images).run(perfect(truth))
    assert result.samples[0]['key'] == 'val2017/1.png'
    assert result.metrics['ap'] == pytest.approx(100)


@pytest.mark.parametrize(
    ('kind', 'more', 'said'),
    [
        (BoxAP, {'limit': 0}, 'limit must be at least 1'),
        (BoxAP, {'areas': {'odd': (9, 3)}}, 'the areas of odd must be two'),
        (BoxAP, {'areas': {'all': (0, 3)}}, 'another name'),
        (BoxAP, {'batch_size': 0}, 'batch_size'),
        (WordAP, {'rare': ['dig']}, 'has no class dig; did you mean dog'),
        (WordAP, {'common': ['dig']}, 'has no class dig; did you mean dog'),
        (WordAP, {'common': ['dog']}, 'dog is named as rare and as common'),
        (WordAP, {'rare': None}, "have no frequency, 'r', 'c' or 'f'"),
    ],
)
def test_mistakes(files, kind, more, said):
    with pytest.raises(UsageError, match=said):
        task_of(kind, files, **more)


def test_files_without_masks_or_classes(tmp_path, truth):
    own = json.loads(json.dumps(truth))
    del own['annotations'][0]['segmentation']
    files = write(tmp_path / 'a', own)
    with pytest.raises(UsageError, match='objects without masks'):
        BoxAP(*files, masks=True)
    own['categories'] = []
    with pytest.raises(UsageError, match='lists no class'):
        BoxAP(*write(tmp_path / 'b', own))


def test_models_that_find_no_boxes_or_no_masks(truth, files):
    with pytest.raises(UsageError, match='object finds no boxes: name'):
        BoxAP(*files).run(object())
    with pytest.raises(UsageError, match='finds no masks: leave'):
        BoxAP(*files, masks=True).run(Seer(truth, masks=False))
    failed = perfect(truth)
    failed.detect = lambda images, words, limit: [
        Detections(
            torch.zeros(1, 4), torch.tensor([float('nan')]), torch.tensor([0])
        )
        for _ in images
    ]
    with pytest.raises(UsageError, match='no numbers; its training'):
        BoxAP(*files).run(failed)


def test_they_are_built_from_configs(files):
    config = dict(annotations=str(files[0]), images=str(files[1]))
    task = TASKS.build(dict(type='BoxAP', areas=dict(odd=[0, 99]), **config))
    assert task.areas == {'odd': (0, 99)}
    task = TASKS.build(dict(type='WordAP', rare=['dog'], **config))
    assert task.groups == {'rare': [3], 'common': [], 'frequent': [0, 1, 2]}
    config['common'] = [task.source.classes[1]]
    task = TASKS.build(dict(type='WordAP', rare=['dog'], **config))
    assert task.groups == {'rare': [3], 'common': [1], 'frequent': [0, 2]}
    task = TASKS.build(dict(type='WordAP', **config))
    assert task.groups == {'rare': [], 'common': [1], 'frequent': [0, 2, 3]}
