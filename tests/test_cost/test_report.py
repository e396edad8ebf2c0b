"""Tables and figure of what was counted; the paper's numbers."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from mmengine.config import Config
from rich.console import Console

from sparc_vlm.cost import (
    Cost,
    Line,
    Point,
    Setting,
    above_clip_markdown,
    cost_figure,
    cost_markdown,
    cost_table,
    memory_table,
    name_objectives,
    paper_table,
    read_lines,
    write_lines,
)
from sparc_vlm.cost.memory import KINDS
from sparc_vlm.cost.results import is_papers


def made(scale=1):
    peak = dict(zip(KINDS, (1_000_000, 0, 2_000_000, 30_000_000), strict=True))
    return Cost(scale * 12 * 10**11, peak, 'forward', 25_000_000)


LINES = [
    Line('CLIP', 'clip_vitb16', 2048, made(), made(), Point(1.15, 4394)),
    Line('CLIP', 'clip_vitb16', 4096, made(2), made(2), Point(2.29, 4452)),
    Line('FILIP', 'filip_vitb16', 2048, made(2), made(5), None),
]


def printed(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_tables():
    rows = [
        [cell.strip() for cell in line.strip('│').split('│')]
        for line in printed(cost_table(LINES)).splitlines()
        if line.startswith('│')
    ]
    assert rows == [
        ['CLIP', '2048', '1.15', '1.20', '1.20', '4394', '33', '33'],
        ['CLIP', '4096', '2.29', '2.40', '2.40', '4452', '33', '33'],
        ['FILIP', '2048', '-', '6.00', '2.40', '-', '33', '33'],
    ]
    text = printed(memory_table(LINES))
    assert 'forward' in text and ' 25 ' in text and ' 30 ' in text
    lines = cost_markdown(LINES).splitlines()
    assert len(lines) == 5
    assert lines[2] == '| CLIP | 2048 | 1.15 | 1.20 | 1.20 | 4394 | 33 | 33 |'


def test_above_clip():
    rows = above_clip_markdown(LINES).splitlines()[2:]
    assert rows == ['| FILIP | 2048 | - | 4.800 | 1.200 |']
    said = Point(1.37, 4394)
    known = [*LINES[:2], replace(LINES[2], paper=said)]
    assert '| FILIP | 2048 | 0.22 |' in above_clip_markdown(known)


def test_small_models_are_not_shown_as_nothing():
    small = Cost(3 * 10**9, made().peak, 'forward', 0)
    line = Line('CLIP', 'tiny', 8, small, small)
    assert '| 0.003 | 0.003 |' in cost_markdown([line])


def test_figure_draws_ours_and_the_papers(tmp_path):
    figure = cost_figure(LINES)
    for panel, value in zip(figure.axes, (0, 1), strict=True):
        drawn = {
            (line.get_linestyle(), tuple(line.get_ydata()))
            for line in panel.lines
        }
        paper = tuple(point[value] for point in paper_table()['CLIP'].values())
        assert (':', paper) in drawn
        assert ('--', ((6.0,), (33.0,))[value]) in drawn
        assert ('-', ((1.2, 2.4), (33.0, 33.0))[value]) in drawn
    figure.savefig(tmp_path / 'cost.png')


def test_json_comes_back(tmp_path):
    path = tmp_path / 'cost.json'
    cfg = Config(dict(model=dict(objective=dict(type='CLIP'))))
    write_lines(path, LINES, Setting(2048), {'configs/clip.py': cfg})
    assert read_lines(path) == LINES
    models = json.loads(path.read_text())['models']
    assert models == {'clip': cfg.model.to_dict()}


def test_the_papers_table():
    table = paper_table()
    assert table['SPARC'][16384] == (9.19, 8620)
    assert table['GLoRIA'].keys() == {2048, 4096}
    more = table['SPARC'][16384].tflops / table['CLIP'][16384].tflops
    assert more - 1 == pytest.approx(0.0055, abs=5e-5)
    cfg = Config.fromfile('configs/sparc_vitb16.py')
    assert is_papers(cfg, Setting(2048))
    assert not is_papers(cfg, Setting(2048, devices=128))
    assert not is_papers(cfg, Setting(2048, tokens=12))
    small = Config.fromfile('configs/sparc_vittiny_scenes.py')
    assert not is_papers(small, Setting(2048))


def test_objectives_are_told_apart():
    def cfg(kind):
        return Config(dict(model=dict(objective=dict(type=kind))))

    configs = {
        'a/clip.py': cfg('CLIP'),
        'b/dense.py': cfg('SPARC'),
        'sparc.py': cfg('SPARC'),
    }
    assert list(name_objectives(configs).values()) == [
        'CLIP',
        'dense',
        'sparc',
    ]
