from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.io import savemat

from sparc_vlm.datasets import (
    ImageNet,
    ImageNetC,
    ImageNetFolders,
    ImageNetV2,
)
from sparc_vlm.datasets.readers.imagenet_parts import CORRUPTIONS
from sparc_vlm.datasets.readers.synsets import find_synsets
from sparc_vlm.datasets.report import new_report
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import picture, write_images

# In the order of ids; the kit numbers them 3, 1, 2.
WNIDS = ['n00000011', 'n00000022', 'n00000033']
NAMES = ['tench', 'great white shark', 'crane']
KIT = [('n00000022', 1), ('n00000033', 2), ('n00000011', 3)]
VAL = [f'ILSVRC2012_val_{n:08d}.JPEG' for n in (1, 2, 3, 4)]
# Classes of the four: places among WNIDS.
TRUE = [2, 0, 1, 0]


def write_index(folder):
    rows = {
        str(n): [wnid, name.replace(' ', '_')]
        for n, (wnid, name) in enumerate(zip(WNIDS, NAMES, strict=True))
    }
    path = folder / 'imagenet_class_index.json'
    path.write_text(json.dumps(rows))
    return path


def write_mapping(folder):
    path = folder / 'LOC_synset_mapping.txt'
    path.write_text(
        'n00000011 tench, Tinca tinca\n'
        'n00000022 great white shark, white shark\n'
        'n00000033 crane\n'
    )
    return path


def write_meta(path):
    """The development kit's table, with a class above the others."""
    rows = [(number, wnid, 0) for wnid, number in KIT]
    rows.append((1001, 'n00000099', 3))
    words = dict(zip(WNIDS, ['tench, fish', *NAMES[1:]], strict=True))
    kinds = [
        (name, object)
        for name in 'ILSVRC2012_ID WNID words gloss num_children'.split()
    ]
    table = np.array(
        [
            (float(number), wnid, words.get(wnid, 'thing'), 'a', float(below))
            for number, wnid, below in rows
        ],
        dtype=kinds,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {'synsets': table})


def labels(source):
    return [source.label(index) for index in range(len(source))]


@pytest.mark.parametrize(
    ('file', 'text'),
    [
        ('a.json', '{"0": ["n00000011", "tench"], "1": ["n00000022", "x_y"]}'),
        ('a.json', '{"n00000011": "tench, fish", "n00000022": "x y"}'),
        ('a.txt', 'n00000011 tench, fish\nn00000022\tx y\n\n'),
    ],
)
def test_names_of_classes(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    synsets = find_synsets(tmp_path / file, tmp_path, new_report())
    assert synsets.names == {'n00000011': 'tench', 'n00000022': 'x y'}
    assert [synsets.at(n) for n in range(2)] == ['n00000011', 'n00000022']
    with pytest.raises(ValueError, match='names 2 classes.*class 2'):
        synsets.at(2)
    with pytest.raises(ValueError, match='a.* has no name for n00000033'):
        synsets.name('n00000033')


def test_names_that_cannot_be_used(tmp_path):
    reading = new_report()
    with pytest.raises(
        FileNotFoundError, match='imagenet_class_index.json or'
    ):
        find_synsets(None, tmp_path / 'r', reading)
    with pytest.raises(FileNotFoundError, match='none.json: no such file'):
        find_synsets(tmp_path / 'none.json', tmp_path, reading)
    for text in ('{"0": "tench"}', '["tench"]', '{', '{"0": ["n00000011"]}'):
        (tmp_path / 'a.json').write_text(text)
        with pytest.raises(ValueError, match='a.json does not name classes'):
            find_synsets(tmp_path / 'a.json', tmp_path, reading)
    (tmp_path / 'meta.mat').write_text('no')
    with pytest.raises(ValueError, match="not the development kit's meta"):
        find_synsets(tmp_path / 'meta.mat', tmp_path, reading)
    (tmp_path / 'words.txt').write_text(
        ''.join(f'n{n:08d} word\n' for n in range(1001))
    )
    wordnet = find_synsets(tmp_path / 'words.txt', tmp_path, reading)
    with pytest.raises(ValueError, match="take a file of ImageNet's 1000"):
        wordnet.at(0)


@pytest.mark.parametrize('kind', ['val', 'val.tar', 'Data/CLS-LOC/val'])
def test_validation_in_class_folders(tmp_path, kind):
    write_index(tmp_path)
    paths = [
        f'{WNIDS[n]}/{name}' for n, name in zip(TRUE, VAL, strict=True)
    ] + ['lost+found/x.JPEG']
    write_images(tmp_path / kind, paths)
    source = ImageNet(tmp_path, template='a {}')
    assert source.classes == NAMES and source.wnids == WNIDS
    assert [source.key(i) for i in range(4)] == sorted(paths[:4])
    assert labels(source) == [0, 0, 1, 2]
    assert source.captions(2) == ['a great white shark']
    for index in range(4):
        found = np.asarray(source.image(index))
        number = paths.index(source.key(index))
        assert (found == np.asarray(picture(number))).all()


def test_training_pictures_and_unknown_splits(tmp_path):
    names = write_index(tmp_path)
    write_images(tmp_path / 'train', [f'{WNIDS[1]}/{WNIDS[1]}_7.JPEG'])
    source = DATASETS.build(
        dict(type='ImageNet', root=str(tmp_path), split='train')
    )
    assert source.classes == ['great white shark'] and labels(source) == [0]
    # the pictures' own folder will do too, and other names
    own = ImageNet(tmp_path / 'train', 'train', names)
    assert own.key(0) == source.key(0)
    with pytest.raises(ValueError, match="'val' or 'train', not 'dev'"):
        ImageNet(tmp_path, 'dev')
    write_images(tmp_path / 'flat', ['1.JPEG'])
    with pytest.raises(ValueError, match='flat has no pictures: expected n0'):
        ImageNet(tmp_path / 'flat', 'train')


TRUTHS = {
    'LOC_val_solution.csv': 'ImageId,PredictionString\n'
    + ''.join(
        f'{VAL[n][:-5]},{WNIDS[TRUE[n]]} 1 2 3 4 {WNIDS[0]} 5 6 7 8\n'
        for n in (3, 1, 0, 2)
    ),
    'val.txt': ''.join(
        f'{name} {n}\n' for name, n in zip(VAL, TRUE, strict=True)
    ),
    'imagenet_2012_validation_synset_labels.txt': ''.join(
        f'{WNIDS[n]}\n' for n in TRUE
    ),
    'ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt': (
        '2\n3\n1\n3\n'
    ),
}


@pytest.mark.parametrize('kind', ['val', 'ILSVRC2012_img_val.tar'])
@pytest.mark.parametrize('truth', TRUTHS)
def test_flat_validation(tmp_path, kind, truth):
    write_images(tmp_path / kind, VAL)
    path = tmp_path / truth
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TRUTHS[truth])
    if 'devkit' in truth:
        write_meta(path.with_name('meta.mat'))
    else:
        write_mapping(tmp_path)
    source = ImageNet(tmp_path)
    assert [source.key(i) for i in range(4)] == VAL
    assert source.classes == NAMES and labels(source) == TRUE
    assert source.reading['skipped_rows'] == 0


def test_the_kits_numbers_need_its_table(tmp_path):
    write_images(tmp_path / 'val', VAL)
    write_index(tmp_path)
    with pytest.raises(FileNotFoundError, match='neither class folders nor'):
        ImageNet(tmp_path)
    truth = tmp_path / 'ILSVRC2012_validation_ground_truth.txt'
    truth.write_text('2\n3\n1\n3\n')
    with pytest.raises(FileNotFoundError, match='meta.mat explains'):
        ImageNet(tmp_path)
    write_meta(tmp_path / 'meta.mat')
    assert labels(ImageNet(tmp_path)) == TRUE
    with pytest.raises(FileNotFoundError, match='no ground truth at'):
        ImageNet(tmp_path, truth='none.txt')


def test_rows_that_are_wrong_are_counted(tmp_path):
    write_images(tmp_path / 'val', VAL)
    write_index(tmp_path)
    truth = tmp_path / 'val.txt'
    truth.write_text(f'{VAL[0]} 2\n{VAL[1]} what\n{VAL[2]}\n{VAL[3]} 0\n')
    source = ImageNet(tmp_path)
    assert [source.key(i) for i in range(2)] == [VAL[0], VAL[3]]
    # two rows, and the two pictures that they should have been about
    assert source.reading['skipped_rows'] == 4
    # a class that no picture shows is no candidate
    assert source.classes == ['tench', 'crane']
    truth.write_text('nothing\n')
    with pytest.raises(ValueError, match='says no class of any picture'):
        ImageNet(tmp_path)


def test_subsets_have_the_classes_of_their_folders(tmp_path):
    write_mapping(tmp_path)
    folders = write_images(
        tmp_path / 'imagenet-r',
        [f'{WNIDS[2]}/art_0.jpg', f'{WNIDS[0]}/toy_1.jpg', 'README.jpg'],
    )
    source = ImageNetFolders(folders)
    assert source.classes == ['tench', 'crane'] and labels(source) == [0, 1]
    with pytest.raises(ValueError, match='expected n01440764/picture'):
        ImageNetFolders(
            write_images(tmp_path / 'b', ['tench/1.jpg']),
            tmp_path / 'LOC_synset_mapping.txt',
        )


V2 = {
    'matched-frequency': 'imagenetv2-matched-frequency-format-val',
    'threshold-0.7': 'imagenetv2-threshold0.7-format-val',
    'top-images': 'imagenetv2-top-images-format-val',
}


def test_v2(tmp_path):
    root = tmp_path / 'v2'
    for number, folder in enumerate(V2.values()):
        write_images(root / folder, [f'{n}/{number}{n}.jpeg' for n in (0, 2)])
    write_index(tmp_path)
    every = ImageNetV2(root)
    assert len(every) == 6 and every.classes == ['tench', 'crane']
    assert labels(every) == [0, 1] * 3
    groups = [every.group(i) for i in range(6)]
    assert groups == [part for part in V2 for _ in range(2)]
    for part, folder in V2.items():
        one = ImageNetV2(root, part)
        assert one.key(0).startswith(folder) and len(one) == 2
        alone = ImageNetV2(
            root / folder, names=tmp_path / 'imagenet_class_index.json'
        )
        assert [alone.group(i) for i in range(2)] == [part] * 2
    with pytest.raises(ValueError, match='matched-frequency, threshold-0.7'):
        ImageNetV2(root, 'val')
    with pytest.raises(ValueError, match='the folder of top-images'):
        ImageNetV2(
            root / V2['threshold-0.7'],
            'top-images',
            tmp_path / 'imagenet_class_index.json',
        )


def test_v2_of_which_no_folder_says_the_split(tmp_path):
    write_index(tmp_path)
    known = 'imagenetv2_top_images/0/a.jpeg'  # '_' or '-'
    root = write_images(tmp_path / 'v2', [known, 'matched/0/a.jpeg'])
    with pytest.raises(ValueError, match='such as matched/0/a.jpeg, beside'):
        ImageNetV2(root)
    source = ImageNetV2(root, 'top-images')
    assert [source.group(0), source.picture(0)] == ['top-images', '0/a.jpeg']
    # All of them alike may be one of the three by another name.
    names = tmp_path / 'imagenet_class_index.json'
    assert len(ImageNetV2(root / 'matched', names=names)) == 1


def corrupted(kinds, severities=(1, 3)):
    return [
        f'{kind}/{severity}/{wnid}/x.JPEG'
        for kind in kinds
        for severity in severities
        for wnid in WNIDS[:2]
    ]


def test_c(tmp_path, log):
    write_index(tmp_path)
    root = write_images(
        tmp_path / 'c', corrupted(['fog', 'noise/shot_noise', 'spatter'])
    )
    source = ImageNetC(root)
    assert len(source) == 8 and source.classes == NAMES[:2]
    groups = {source.group(i) for i in range(8)}
    assert groups == {'fog/1', 'fog/3', 'shot_noise/1', 'shot_noise/3'}
    (said,) = [line for line in log if 'lacks' in line]
    assert 'frost' in said and 'over the other 2 corruptions' in said
    assert 'fog,' not in said
    copies = {source.picture(i) for i in range(8)}
    assert copies == {f'{wnid}/x.JPEG' for wnid in WNIDS[:2]}
    alone = ImageNetC(root, 'fog', 3)
    assert {alone.group(i) for i in range(len(alone))} == {'fog/3'}
    hard = ImageNetC(root, ['spatter'], [3])
    assert {hard.group(i) for i in range(len(hard))} == {'spatter/3'}
    with pytest.raises(ValueError, match='expected fog/3/n01440764'):
        ImageNetC(root, ['snow'])
    with pytest.raises(FileNotFoundError, match='no folder at'):
        ImageNetC(tmp_path / 'none')


def test_c_in_the_official_tars(tmp_path, log):
    root = tmp_path / 'c'
    root.mkdir()
    write_index(root)
    write_images(root / 'one.tar', corrupted(CORRUPTIONS[:8], [5]))
    write_images(root / 'two.tar', corrupted(CORRUPTIONS[8:], [5]))
    # Folders that hold something else are no pictures.
    (root / 'devkit').mkdir()
    source = ImageNetC(root)
    assert len(source) == 30
    assert {source.group(i) for i in range(30)} == {
        f'{kind}/5' for kind in CORRUPTIONS
    }
    assert source.image(29).size == (24, 24)
    assert not any('lacks' in line for line in log)
