"""README and docs: links lead somewhere, numbers stand in committed JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.pages import PAGE, PARTS, TOGETHER, fill

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
PAGES += sorted((ROOT / 'docs').glob('*.md'))
QUICKSTART = ROOT / 'docs' / 'results' / 'quickstart.json'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r'\]\(([^)#]+)\)', page.read_text())
    for link in links:
        if not link.startswith('http'):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    named = re.findall(
        r'`((?:configs|tools|docs|tests|sparc_vlm)/[\w./]+)`', page.read_text()
    )
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_table_of_the_readme_is_the_quickstarts():
    text = (ROOT / 'README.md').read_text()
    block = text.split('<!-- quickstart:begin -->')[1]
    block = block.split('<!-- quickstart:end -->')[0]
    found = json.loads(QUICKSTART.read_text())
    rows = dict(TITLES)
    table = [
        [cell.strip(' *') for cell in line[1:-1].split('|')]
        for line in block.splitlines()
        if line.startswith('|')
    ]
    names = table[0][1:]
    assert names == ['CLIP', 'SPARC', 'SPARC+', 'chance']
    assert len(table) == len(rows) + 2
    for title, *cells in table[2:]:
        key = rows[title]
        values = [found['metrics'][name][key] for name in names[:-1]]
        values.append(found['chance'][key])
        assert cells == [f'{value:.1f}' for value in values], title
    for name, seconds in found['seconds'].items():
        assert f'{name} {seconds / 60:.0f} minutes' in block
    assert f'{found["pictures"]} held-out scenes' in block
    assert f'seed {found["seed"]}' in block


def test_the_page_of_performance_says_what_the_benchmarks_wrote():
    assert fill(PAGE.read_text()) == PAGE.read_text()


def test_every_table_of_the_benchmarks_has_its_place():
    marks = re.findall(r'<!-- ([\w-]+):begin -->', PAGE.read_text())
    assert sorted(marks) == sorted({**PARTS, **TOGETHER})


TITLES = {
    'image to text R@1': 'retrieval/i2t_r1',
    'text to image R@1': 'retrieval/t2i_r1',
    'mIoU': 'segmentation/miou',
    'foreground mIoU': 'segmentation/miou_fg',
    'foreground mIoU, local patches': 'segmentation/miou_fg_patches',
    'pointing, local patches': 'pointing/pointing',
    'pointing, dense patches': 'pointing/pointing_dense',
}


def test_rates_of_training_are_those_that_were_measured_last():
    results = ROOT / 'benchmarks' / 'results'
    rates = json.loads((results / 'data_rate.json').read_text())['training']
    sizes = json.loads((results / 'train_step.json').read_text())['sizes']
    assert rates == {
        size: sizes[size]['sides']['SPARC']['pairs_per_second']
        for size in rates
    }
