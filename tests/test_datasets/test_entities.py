import json

import pytest

from sparc_vlm.datasets import EntityLines, FlickrEntities
from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.registry import DATASETS
from tests.test_datasets.entities import (
    entity_row,
    write_entities,
    write_entity_lines,
)


def test_flickr30k_entities(tmp_path):
    source = FlickrEntities(write_entities(tmp_path))
    assert [source.key(n) for n in range(2)] == ['36979.jpg', '65567.jpg']
    first, second, third = source.captions(0)
    assert first == 'A man in a red hat waves at each other .'
    assert second == "The man 's hand near the sea and a kite ."
    assert third == 'Nothing is marked here .'
    man, hat, hand = source.phrases(0)
    # Pixels from 1, the last one inside: 11 to 20 of 100, 6 to 50 of 50.
    assert man['boxes'][0] == pytest.approx([0.1, 0.1, 0.2, 1])
    assert man['boxes'][1] == [0, 0, 1, 1]
    assert hat['boxes'] == [[0, 0, 1, 1]]
    assert hat['text'] == 'a red hat'
    assert hat['types'] == ['clothing']
    assert hand['text'] == "The man 's hand"
    assert hand['types'] == ['people', 'bodyparts']
    assert hand['boxes'] == man['boxes']
    for phrase in (man, hat, hand):
        caption = source.captions(0)[phrase['caption']]
        assert caption[phrase['start'] : phrase['end']] == phrase['text']
    (dogs,) = source.phrases(1)
    assert dogs['boxes'] == [[0.5, 0, 0.75, 0.5]]
    assert source.image(1).size == (24, 24)
    assert not any(source.reading.values())


def test_splits_and_pictures_elsewhere(tmp_path):
    root = write_entities(tmp_path / 'entities')
    (root / 'flickr30k-images').rename(tmp_path / 'pictures')
    source = FlickrEntities(root, tmp_path / 'pictures', split='val')
    assert len(source) == 1
    assert source.image(0).size == (24, 24)
    with pytest.raises(FileNotFoundError, match='no images in'):
        FlickrEntities(root)
    with pytest.raises(FileNotFoundError, match='has no train.txt: Flickr30'):
        FlickrEntities(root, split='train')
    with pytest.raises(FileNotFoundError, match='has no Sentences'):
        FlickrEntities(tmp_path)


def test_damaged_entities_are_counted(tmp_path):
    root = write_entities(tmp_path)
    (root / 'test.txt').write_text('36979\n65567\n111\n222\n')
    # Not closed, and then a good one.
    (root / 'Sentences/36979.txt').write_text(
        '[/EN#1/people A man waves .\n[/EN#1/people A man] waves .\n'
    )
    xml = root / 'Annotations/36979.xml'
    text = xml.read_text().replace('<xmax>20<', '<xmax>5<')
    xml.write_text(text)
    (root / 'Annotations/65567.xml').write_text('<annotation><size>')
    (root / 'Sentences/111.txt').write_text('[/EN#1/people A man] .\n')
    source = FlickrEntities(root)
    # A box inside out, a phrase not closed, two XML files, one text file.
    assert source.reading['skipped_rows'] == 5
    assert len(source) == 3
    assert source.captions(0) == ['A man waves .', 'A man waves .']
    (man,) = source.phrases(0)
    assert (man['caption'], man['boxes']) == (1, [[0, 0, 1, 1]])
    assert source.phrases(1) == source.phrases(2) == []
    assert source.captions(2) == ['A man .']
    (root / 'test.txt').write_text('111')
    with pytest.raises(ValueError, match='no phrase has a box'):
        FlickrEntities(root)


def test_entity_lines(tmp_path):
    path = write_entity_lines(tmp_path, entity_row())
    source = EntityLines(path)
    assert source.key(0) == 'a.jpg'
    assert source.captions(0)[0] == 'Nothing .'
    man, hat = source.phrases(0)
    assert man == {
        'caption': 1,
        'start': 0,
        'end': 5,
        'text': 'A man',
        'types': ['people'],
        'boxes': [[0.1, 0, 0.5, 1], [0, 0, 1, 1]],
    }
    caption = source.captions(0)[1]
    assert caption[hat['start'] : hat['end']] == 'a red hat'
    assert source.image(0).size == (24, 24)
    with pytest.raises(FileNotFoundError, match='no phrases at none.jsonl'):
        EntityLines('none.jsonl')


def test_damaged_lines_are_counted(tmp_path):
    wrong = entity_row()
    wrong['captions'][1]['phrases'][0]['start'] = 1
    wrong['boxes']['2'].append([0.5, 0, 0.5, 1])
    without = entity_row()
    del without['boxes']
    bad = [json.dumps([1]), '{"image": ', without]
    source = EntityLines(write_entity_lines(tmp_path, wrong, *bad, ''))
    assert len(source) == 1
    assert [p['text'] for p in source.phrases(0)] == ['a red hat']
    assert source.reading['skipped_rows'] == 5


def test_kinds_of_the_command_line(tmp_path):
    kinds = KINDS['grounding']
    root = write_entities(tmp_path / 'official')
    config = kinds['flickr30k-entities'](str(root), {'split': 'val'})
    assert len(DATASETS.build(config)) == 1
    path = write_entity_lines(tmp_path, entity_row())
    assert len(DATASETS.build(kinds['entities'](str(path), {}))) == 1
