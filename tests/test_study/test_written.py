"""Captions of a study's arms on its page, side by side."""

import pytest

from sparc_vlm.study import figures, write_report
from sparc_vlm.study.kept import sheet_path
from sparc_vlm.study.measure import read_sheet, write_sheet
from sparc_vlm.study.written import CaptionTable, marked
from tests.test_study.made import ROOT, STUDY, run, write_study
from tests.test_tools.test_compare import compare_in

CAPTIONS = """
_data = dict(tasks[0]['dataset'])
tasks = [dict(type='Captioning', dataset=_data, meteor=False)]
arms = arms[:1]
pictures = dict(dataset=_data, indices=[1, 3])
"""


class Writer:
    """Says the same of every picture."""

    def __init__(self, name):
        self.name = name

    def caption(self, images, prompt=None, max_new_tokens=40):
        return [['A picture with 9 hexagons, | no more.'] for _ in images]


@pytest.fixture
def path(tmp_path, trainer, monkeypatch):
    """A study of a captioner that is trained and measured."""
    monkeypatch.setattr(
        'sparc_vlm.study.run.open_model', lambda name, device: Writer(name)
    )
    # What was written is on disk: the page opens no model.
    monkeypatch.setattr(figures, 'open_model', None)
    path = write_study(tmp_path, STUDY + CAPTIONS)
    assert run(path, tmp_path / 'work').failures == []
    return path


def test_what_is_not_so_is_marked():
    mark = ('<', '>')
    said = 'A red  Ring, a red ring-like star and rings'
    assert marked(said, ['a red ring'], mark) == (
        '<A red Ring>, <a red ring>-like star and rings'
    )
    told = ['ring', 'ring a red']
    assert marked('A ring, a red ring', told, mark) == 'A <ring, a red> <ring>'
    assert marked('a (b) c', ['b'], mark) == 'a (<b>) c'
    assert marked('a dog', [], mark) == 'a dog'
    assert marked('', ['a'], mark) == ''


def test_a_table_of_captions():
    table = CaptionTable([('SPARC', 'a <b> | dog', ['dog'])])
    assert '<td>a &lt;b&gt; | <b>dog</b></td>' in table.html()
    assert '| SPARC | a <b> \\| **dog** |' in table.markdown()
    assert '|---|---|' in table.markdown()
    assert table.text().endswith('a <b> | dog*')


def test_captions_are_on_the_page(path, tmp_path):
    work = tmp_path / 'work'
    assert compare_in(work, path, '--report') == 0
    page = (work / 'page.html').read_text('utf-8')
    said = '<td>A picture with <b>9 hexagons</b>, | no more.</td>'
    assert page.count(said) == 2
    assert 'What is written' in page
    assert 'Where each word looks' not in page
    shown = {file.stem for file in (work / 'figures').glob('written-*')}
    assert shown == {'written-1', 'written-3'}
    markdown = (work / 'page.md').read_text('utf-8')
    assert '| reference | ' in markdown
    assert '| A picture with **9 hexagons**, \\| no more. |' in markdown
    assert compare_in(work, path, '--report', '--no-pictures') == 0
    assert 'What is written' not in (work / 'page.html').read_text('utf-8')


def test_what_is_not_there_is_said(path, tmp_path):
    runner = run(path, tmp_path / 'work')
    (arm,) = runner.study.arms
    file = sheet_path(arm.place(0, tmp_path / 'work'), 'captioning')
    sheet = read_sheet(file)
    sheet['samples'] = [s for s in sheet['samples'] if s['key'][-1] != '3']
    write_sheet(file, sheet)
    page = write_report(
        runner.study, tmp_path / 'work', tmp_path / 'out', ROOT, []
    )
    said = page.read_text('utf-8')
    assert 'Picture 3: no caption of it was measured.' in said
    assert said.count('<b>9 hexagons</b>') == 1
