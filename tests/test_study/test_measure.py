import gzip

import pytest

from sparc_vlm.evaluation import Retrieval
from sparc_vlm.study import measure, read_sheet, write_sheet
from sparc_vlm.study.fingerprints import fingerprint
from sparc_vlm.study.measure import evaluation_settings
from tests.test_evaluation.colour_world import ColourModel, some_boards


def test_a_sheet_has_what_was_found_and_what_it_took():
    told = []
    sheet = measure(
        Retrieval(some_boards(5)), ColourModel(), lambda *now: told.append(now)
    )
    assert sheet['type'] == 'Retrieval'
    assert len(sheet['samples']) == 5
    assert sheet['seconds'] > 0
    assert sheet['peak_bytes'] is None or sheet['peak_bytes'] > 10**7
    assert sheet['device'] == 'cpu'
    assert 'torch' in sheet['versions']
    assert told


@pytest.mark.parametrize('name', ['a.json', 'a.json.gz'])
def test_sheets_are_short_and_metrics_whole(tmp_path, name):
    third = 1 / 3
    sheet = {'metrics': {'hit': third}, 'samples': [{'hit': third, 'n': 12}]}
    write_sheet(tmp_path / name, sheet)
    found = read_sheet(tmp_path / name)
    assert found['metrics']['hit'] == third
    assert found['samples'] == [{'hit': 0.333333, 'n': 12}]


def test_the_same_sheet_is_the_same_file(tmp_path):
    for name in ('a.gz', 'b.gz'):
        write_sheet(tmp_path / name, {'metrics': {}})
    first, second = (tmp_path / name for name in ('a.gz', 'b.gz'))
    assert first.read_bytes() == second.read_bytes()


def test_a_sheet_of_other_settings_or_damaged_is_set_aside(tmp_path):
    path = tmp_path / 'a.json.gz'
    assert read_sheet(path, {'a': 1}) is None
    write_sheet(path, {'settings': {'a': 1}})
    assert read_sheet(path, {'a': 1}) == {'settings': {'a': 1}}
    assert read_sheet(path, {'a': 2}) is None
    assert not path.exists()
    path.write_bytes(gzip.compress(b'{"settings": ')[:-4])
    assert read_sheet(path) is None
    assert read_sheet(path, {'a': 1}) is None
    assert (tmp_path / 'a.json.gz-earlier-2').is_file()


def test_settings_tell_weights_apart(tmp_path):
    assert fingerprint(tmp_path) == fingerprint(tmp_path)
    (tmp_path / 'model.safetensors').write_bytes(b'a')
    first = evaluation_settings({'ks': (1, 5)}, fingerprint(tmp_path))
    assert first['task'] == {'ks': [1, 5]}
    (tmp_path / 'model.safetensors').write_bytes(b'b')
    assert first != evaluation_settings({'ks': (1, 5)}, fingerprint(tmp_path))
