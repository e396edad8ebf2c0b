"""Pictures with words: every layout, what is left out, what is broken."""

import shutil

import numpy as np
import pytest

from sparc_vlm.detection.words.sample_words import SampleWords
from sparc_vlm.detection.words.vocabulary import (
    Vocabulary,
    as_word,
    as_words,
    left_out,
    prompted_words,
)
from sparc_vlm.errors import MissingFileError, RunError, UsageError
from tests.test_detection.words_made import (
    CATEGORIES,
    LOAD,
    WORDS,
    dataset,
    write_coco,
    write_json,
    write_visual_genome,
)


@pytest.fixture
def coco(tmp_path):
    """Annotations, pictures, and what the annotations hold."""
    file, images = tmp_path / 'instances.json', tmp_path / 'images'
    return file, images, write_coco(file, images)


def named(results):
    """The word of each box."""
    return [results['words'][n] for n in results['gt_bboxes_labels']]


def test_boxes_and_words_of_a_picture(coco):
    file, images, content = coco
    found = dataset(annotations=file, images=str(images))[2]
    assert named(found) == list(WORDS[:3])
    assert found['img'].shape == (48, 64, 3)
    # blue, green, red
    assert found['img'][8, 6].tolist() == [0, 0, 255]
    first = content['annotations'][3]['bbox']
    corners = found['gt_bboxes'].tensor[0].tolist()
    assert corners == [4, 6, first[0] + first[2], first[1] + first[3]]
    assert found['incomplete'] == found['absent'] == ()


def test_pictures_of_an_archive_come_read(coco, tmp_path):
    """A pipeline may begin as MMDetection wants it to."""
    file, images, _ = coco
    archive = shutil.make_archive(tmp_path / 'packed', 'zip', images)
    load = [dict(type='LoadImageFromFile', to_float32=True), *LOAD[1:]]
    data = dataset(annotations=file, images=archive, pipeline=load)
    twin = dataset(annotations=file, images=str(images))
    assert data[0]['img'].dtype == np.float32
    assert np.array_equal(data[0]['img'], twin[0]['img'])
    assert data[0]['img_shape'] == twin[0]['img_shape']


def test_files_are_opened_when_they_are_read(tmp_path):
    """MMDetection asks for names of classes where no data are."""
    gone = tmp_path / 'instances.json', tmp_path / 'images'
    cfg = dict(zip(('annotations', 'images'), map(str, gone), strict=True))
    data = dataset(**cfg, lazy_init=True)
    assert 'classes' not in data.metainfo
    write_coco(*gone)
    data.full_init()
    assert named(data[0]) == list(WORDS[:1])


def test_lvis_says_what_is_absent_and_what_is_incomplete(tmp_path):
    file, images = tmp_path / 'lvis.json', tmp_path / 'coco'
    content = write_coco(
        file,
        images / 'val2017',
        neg_category_ids=[9, 11],
        not_exhaustive_category_ids=[3],
    )
    for row in content['images']:
        name = row.pop('file_name')
        row['coco_url'] = f'http://images.cocodataset.org/val2017/{name}'
    write_json(file, content)
    found = dataset(annotations=file, images=str(images))[0]
    assert set(found['absent']) == {'green box', 'black box'}
    assert found['incomplete'] == ('red box',)
    assert named(found) == ['red box']


def test_a_crowd_has_no_box_but_is_there(coco):
    file, images, content = coco
    content['annotations'][0]['iscrowd'] = 1
    write_json(file, content)
    found = dataset(annotations=file, images=str(images))[0]
    assert named(found) == []
    assert found['incomplete'] == ('red box',)


def test_rows_that_cannot_be_used_are_counted(coco, log):
    file, images, content = coco
    content['annotations'][0]['bbox'] = [70, 0, 5, 5]
    content['annotations'][1]['category_id'] = 77
    content['images'].append(dict(id=99))
    write_json(file, content)
    found = dataset(annotations=file, images=str(images))
    assert found.reading['skipped_rows'] == 3
    assert len(found) == 4
    assert any('3 rows that cannot be used' in line for line in log)


@pytest.mark.parametrize(
    ('rule', 'kept'),
    [
        (['red box'], WORDS[1:]),
        (['Cold'], ('red box', 'black box')),
        (dict(frequency='c'), ('red box', 'green box')),
    ],
)
def test_what_is_left_out_is_never_asked_for(coco, rule, kept):
    file, images, _ = coco
    whole = dataset(annotations=file, images=str(images))
    found = dataset(annotations=file, images=str(images), leave_out=rule)
    assert len(found) == len(whole)
    assert set(found.vocabulary.words) == set(kept)
    sampler = SampleWords(num_negatives=9, by_frequency=False)
    for index in range(len(found)):
        assert named(found[index]) == [
            word for word in named(whole[index]) if word in kept
        ]
        assert set(sampler(found[index])['words']) == set(kept)


def test_the_rare_group_of_another_file(coco, tmp_path):
    file, images, _ = coco
    other = dict(CATEGORIES[2], name='Green_Box', synonyms=['black_box'])
    write_json(tmp_path / 'lvis.json', dict(categories=[other]))
    rule = dict(frequency='r', annotations=str(tmp_path / 'lvis.json'))
    found = dataset(annotations=file, images=str(images), leave_out=rule)
    assert found.vocabulary.words == ('red box', 'blue box')


def test_names_are_words_as_one_says_them():
    for name, word in {
        'Street_Lights': 'street lights',
        'octopus_(animal)': 'octopus',
        'Tape Measur/ Ruler': 'tape measur ruler',
        ' "stop"  sign. ': 'stop sign',
        "T-shirt, man's": "t-shirt man's",
        '(unknown)': 'unknown',
        'half (open': 'half open',
        '?': '?',
        ' _': '',
    }.items():
        assert as_word(name) == word
        assert as_word(word) == word


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('cat . Red_Ball', ['cat', 'red ball']),
        (' cat. red ball .', ['cat', 'red ball']),
        ('cat . cat . dog', ['cat', 'dog']),
        ('a cat and a dog', ['a cat and a dog']),
        # Places stay: labels are among them.
        (('dog', 'Red_Ball', 'dog'), ['dog', 'red ball', 'dog']),
    ],
)
def test_words_of_a_prompt(text, words):
    assert prompted_words(text) == words


@pytest.mark.parametrize('text', ['', ' . ', (), ('cat', '')])
def test_a_prompt_without_a_word(text):
    with pytest.raises(UsageError, match='lacks a word to look for'):
        prompted_words(text)


def test_classes_of_a_data_set_stay_different():
    names = ['bow_(weapon)', 'Bow', 'bow_(ribbon)', 'octopus_(animal)']
    words = ['bow weapon', 'bow', 'bow ribbon', 'octopus']
    assert as_words(names) == words
    assert as_words(words) == words
    assert as_words(['a/b', 'a b', 'c/d']) == ['a/b', 'a b', 'c d']
    assert as_words(['Car', 'car']) == ['car', 'car']


def rows(*names, **more):
    return [dict(name=name, **more) for name in names]


def left_out_by(tmp_path, rare, own, synonyms=()):
    """Of a data set, by the rare group of another file."""
    path = tmp_path / 'other.json'
    found = [dict(name=n, frequency='r', synonyms=synonyms) for n in rare]
    write_json(path, dict(categories=[*found, *rows('dog', frequency='f')]))
    return left_out(
        dict(frequency='r', annotations=str(path)), rows(*own), 'own.json'
    )


@pytest.mark.parametrize(
    ('rare', 'own'),
    [
        ('octopus_(animal)', 'octopus'),
        ('pennant', 'Pennants'),
        ('pennants', 'pennant'),
        ('street_light', 'Streetlights'),
        ('bus', 'buses'),
        ('T-shirt', 't shirts'),
        ('bow_(weapon)', 'bow'),
        ('bow_(weapon)', 'bow weapon'),
    ],
)
def test_other_ways_to_write_a_word_are_left_out_too(rare, own, tmp_path):
    given = (own, 'dog', 'octopuses den', 'bra', 'brass')
    found = left_out_by(tmp_path, [rare], given)
    assert found == {as_word(own)}
    assert left_out_by(tmp_path, ['fish'], given, [rare]) == found


def test_a_plural_is_told_from_another_word(tmp_path):
    own = ('bras', 'brass', 'glass', 'glasses', 'sea glass')
    assert left_out_by(tmp_path, ['bra'], own) == {'bras'}
    assert left_out_by(tmp_path, ['glass'], own) == {'glass', 'glasses'}


def test_a_group_of_its_own_is_just_its_classes():
    own = rows('glass', frequency='r') + rows('glasses', frequency='f')
    assert left_out(dict(frequency='r'), own, 'a.json') == {'glass'}
    assert left_out(['Glass'], own, 'a.json') == {'glass', 'glasses'}


def test_one_of_several_senses_is_left_out_by_its_name():
    own = rows('bow_(weapon)', 'bow_(ribbon)', 'arrow')
    assert left_out(['bow_(weapon)'], own, 'a.json') == {'bow weapon'}
    with pytest.raises(UsageError, match='no class or supercategory bow;'):
        left_out(['bow'], own, 'a.json')


def test_left_out_classes_that_are_not_there(coco):
    file, images, _ = coco
    given = dict(annotations=file, images=str(images))
    with pytest.raises(UsageError, match='rde box.*red box'):
        dataset(**given, leave_out=['rde box'])
    with pytest.raises(UsageError, match="no class of frequency 'x'"):
        dataset(**given, leave_out=dict(frequency='x'))
    with pytest.raises(UsageError, match="leave_out takes .*'frequenzy'"):
        dataset(**given, leave_out=dict(frequenzy='r'))
    with pytest.raises(UsageError, match='takes all classes of its file'):
        dataset(**given, metainfo=dict(classes=['red circle']))


def test_test_data_ask_for_all_classes(coco):
    file, images, _ = coco
    found = dataset(annotations=file, images=str(images), test_mode=True)
    assert found.metainfo['classes'] == tuple(c['name'] for c in CATEGORIES)
    for index in range(4):
        assert found[index]['words'] == WORDS
        assert named(found[index]) == list(WORDS[: index + 1])


def test_visual_genome(tmp_path):
    write_visual_genome(tmp_path)
    found = dataset(
        annotations=tmp_path / 'objects.json',
        image_data=tmp_path / 'image_data.json',
        images=str(tmp_path),
    )
    assert len(found) == 3
    assert found.vocabulary.words == ('red box', 'thing', 'cup')
    assert found.vocabulary.counts.tolist() == [3, 0, 3]
    assert named(found[0]) == ['red box', 'cup']
    assert found[0]['incomplete'] == ('thing',)


def test_visual_genome_s_damage_is_counted(tmp_path):
    write_visual_genome(tmp_path, 1)
    thing = dict(x=0, y=0, w=4, h=4, names=['cup'])
    rows = [
        dict(image_id=1, objects=[thing, thing | dict(names=[''])]),
        dict(image_id=1, objects=[thing | dict(w=0)]),
        dict(image_id=7, objects=[thing]),
    ]
    write_json(tmp_path / 'objects.json', rows)
    found = dataset(
        annotations=tmp_path / 'objects.json',
        image_data=tmp_path / 'image_data.json',
        images=str(tmp_path),
    )
    assert found.reading['skipped_rows'] == 3
    assert named(found[0]) == ['cup']
    assert found[0]['incomplete'] == ('cup',)


def test_files_of_another_kind(coco, tmp_path):
    file, images, _ = coco
    with pytest.raises(UsageError, match='not of Visual Genome'):
        dataset(annotations=file, image_data=file, images=str(images))
    with pytest.raises(MissingFileError, match='nowhere.json'):
        dataset(annotations=tmp_path / 'nowhere.json', images=str(images))
    with pytest.raises(MissingFileError, match='nothing_here'):
        dataset(annotations=file, images=str(tmp_path / 'nothing_here'))


def test_broken_pictures_are_counted_and_replaced(coco):
    file, images, content = coco
    (images / content['images'][0]['file_name']).write_bytes(b'no picture')
    np.random.seed(0)
    found = dataset(annotations=file, images=str(images))[0]
    assert found['img_id'] != 1
    assert found['report']['broken_images'] >= 1
    assert content['images'][0]['file_name'] in found['report']['examples'][0]
    test = dataset(annotations=file, images=str(images), test_mode=True)[0]
    assert test['img_id'] == 1
    assert len(np.unique(test['img'])) == 1
    assert test['report']['broken_images'] == 1


def test_nothing_but_broken_pictures(coco):
    file, images, _ = coco
    for picture in images.iterdir():
        picture.unlink()
    with pytest.raises(RunError, match='check where the images are'):
        dataset(annotations=file, images=str(images))[0]


def results(words, labels, absent=(), incomplete=(), others=()):
    return dict(
        words=tuple(words),
        gt_bboxes_labels=np.array(labels, dtype=np.int64),
        absent=tuple(absent),
        incomplete=tuple(incomplete),
        vocabularies=(Vocabulary([*'abcdefgh', *others], [1] * 8),),
    )


def test_known_negatives_first_then_random_ones():
    np.random.seed(0)
    given = results('ab', [0, 1, 0], absent='cda', incomplete='ea')
    seen = set()
    for _ in range(50):
        found = SampleWords(num_negatives=4)(dict(given))
        assert found['words'][:4] == ('a', 'b', 'c', 'd')
        assert len(found['words']) == len(set(found['words'])) == 6
        assert found['incomplete'] == ('a',)
        seen |= {*found['words'][4:]}
    assert seen == {'f', 'g', 'h'}


def test_the_vocabulary_may_be_smaller():
    found = SampleWords(num_negatives=50)(results('ab', [0, 1]))
    assert sorted(found['words']) == [*'abcdefgh']


def test_words_whose_boxes_were_cut_away_are_no_longer_there():
    found = SampleWords(num_negatives=0)(results('abc', [2, 1, 2]))
    assert found['words'] == ('b', 'c')
    assert found['gt_bboxes_labels'].tolist() == [1, 0, 1]


def test_frequent_words_are_drawn_more_often():
    np.random.seed(0)
    vocabulary = Vocabulary([*'abc'], [9, 1, 0])
    drawn = [vocabulary.draw(1, (), True)[0] for _ in range(300)]
    assert 240 < drawn.count('a') < 295
    assert 'c' not in drawn
    assert 'c' in [vocabulary.draw(1, (), False)[0] for _ in range(50)]


def test_draws_follow_the_worker_s_random_state():
    draws = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        found = SampleWords(num_negatives=3)(results('a', [0]))
        draws.append(found['words'])
    assert draws[0] == draws[1] != draws[2]


def test_templates_stand_around_words():
    given = results('ab', [0, 1], incomplete='b')
    found = SampleWords(2, templates=('one {}', 'the {}'))(given)
    assert found['words'][1] in ('one b', 'the b')
    assert found['incomplete'] == found['words'][1:2]
    with pytest.raises(UsageError, match='no place'):
        SampleWords(templates=('a photo',))
