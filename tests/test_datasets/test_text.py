from __future__ import annotations

import pytest

from sparc_vlm.datasets.report import EXAMPLES, add_report, new_report, note
from sparc_vlm.datasets.text import PackedLists, PackedStrings, read_text


@pytest.mark.parametrize(
    ('data', 'bad'),
    [
        ('é\nü\n'.encode(), 0),
        ('é\nü\n'.encode('utf-8-sig'), 0),
        ('é\nü\n'.encode('utf-16'), 0),
        ('é\n'.encode() + 'ü\n'.encode('cp1252'), 1),
        ('é\nü\n'.encode('cp1252'), 2),
        ('\ufeffé\n'.encode() + b'\xfc\n', 1),
    ],
)
def test_encodings(tmp_path, data, bad):
    path = tmp_path / 'a.txt'
    path.write_bytes(data)
    report = new_report()
    assert read_text(path, report) == 'é\nü\n'
    assert report['bad_encodings'] == bad
    assert len(report['examples']) == bad
    assert all('line' in example for example in report['examples'])


def test_bytes_of_no_encoding_do_not_stop(tmp_path):
    (tmp_path / 'a.txt').write_bytes(bytes(range(128, 256)))
    assert len(read_text(tmp_path / 'a.txt', new_report())) == 128


def test_packed_strings():
    texts = ['', 'a', 'é☃', '\ud800', 'long ' * 100]
    packed = PackedStrings(texts)
    assert list(packed) == texts and len(packed) == 5
    with pytest.raises(IndexError):
        packed[5]


def test_packed_lists():
    lists = [['a', 'b'], [], ['c'], ['', 'd', 'e']]
    packed = PackedLists(lists)
    assert [packed[i] for i in range(len(packed))] == lists


def test_reports_add_up():
    total, other = new_report(), new_report(pairs=3)
    for number in range(EXAMPLES):
        note(other, 'broken_images', f'{number}: bad')
    add_report(total, other)
    add_report(total, other)
    assert total['pairs'] == 6 and total['broken_images'] == 2 * EXAMPLES
    assert total['examples'] == other['examples']
