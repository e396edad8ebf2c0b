"""All ways to rank find the same, and the script says what each took."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import retrieval_memory, tables
from benchmarks.retrieval_sides import SIDES, Drawn


@pytest.fixture(scope='module')
def recalls():
    return {name: side(Drawn(60, 5, 16, 3)) for name, side in SIDES.items()}


@pytest.mark.parametrize('side', [name for name in SIDES if name != 'task'])
def test_sides_agree_with_the_task(recalls, side):
    assert 0.05 < recalls['task']['t2i_r1'] < 0.95
    for key, value in recalls['task'].items():
        assert recalls[side][key] == pytest.approx(value, abs=1e-6), key


def test_the_script_runs(tmp_path):
    out = tmp_path / 'retrieval.json'
    sizes = '--pictures 40 --captions 2 --width 8 --rounds 2 --threads 1'
    command = [sys.executable, retrieval_memory.__file__, *sizes.split()]
    sides = ['--sides', 'task', 'whole matrix', '--out', str(out)]
    done = subprocess.run([*command, *sides], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert list(report['retrieval']) == ['task', 'whole matrix']
    for side in report['retrieval'].values():
        assert len(side['seconds']) == len(side['peak_bytes']) == 2
        assert min(side['seconds']) > 0
    assert report['embeddings_bytes'] == (40 + 80) * 8 * 4
    assert report['threads'] == 1
    (table,) = tables.tables(report)
    assert table in done.stdout
    assert '40 pictures, 80 captions' in table


def test_a_folder_that_is_not_there_is_said_at_the_start(monkeypatch, capsys):
    arguments = ['retrieval_memory.py', '--out', '/not/there/a.json']
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit):
        retrieval_memory.parse()
    assert '/not/there' in capsys.readouterr().err
