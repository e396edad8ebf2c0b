"""docs/cost.md says what the committed JSON holds, in tables and in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparc_vlm.cost import (
    above_clip_markdown,
    cost_markdown,
    paper_table,
    read_lines,
)

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGE = (DOCS / 'cost.md').read_text()
TEXT = ' '.join(PAGE.split())
LINES = read_lines(DOCS / 'results' / 'cost.json')
FIFTH = read_lines(DOCS / 'results' / 'cost_filip_fifth.json')
COUNTED = {(line.objective, line.batch_size): line for line in LINES}
LARGEST = 16384


def block(name):
    inside = PAGE.split(f'<!-- {name}:begin -->')[1]
    return inside.split(f'<!-- {name}:end -->')[0].strip()


def test_tables():
    assert block('cost') == cost_markdown(LINES)
    assert block('above-clip') == above_clip_markdown(LINES)
    clip = [line for line in LINES if line.objective == 'CLIP']
    assert block('fifth') == above_clip_markdown([*clip, *FIFTH])


def test_sparc_beside_clip():
    clip, sparc = (COUNTED[name, LARGEST].ours for name in ('CLIP', 'SPARC'))
    more = sparc.flops / clip.flops - 1
    assert more <= 0.0055
    assert f'SPARC takes {more:.2%} more operations than CLIP' in TEXT
    memory = sparc.peak_bytes / clip.peak_bytes - 1
    assert f'and {memory:.1%} more memory' in TEXT
    assert f"SPARC's {memory:.1%} of memory" in TEXT
    kept = (sparc.kept - clip.kept) / (LARGEST / 256)
    assert f'about {kept / 1e6:.0f} MB for each pair' in TEXT


def test_the_encoders():
    clip = COUNTED['CLIP', LARGEST]
    ratio = clip.paper.tflops / (clip.ours.flops / 1e12)
    assert f'the paper counts {ratio - 1:.0%} more' in TEXT
    for line in LINES:
        if line.objective == 'CLIP':
            own = line.paper.tflops / (line.ours.flops / 1e12)
            assert own == pytest.approx(ratio, abs=0.01)
    pair = clip.ours.flops / (LARGEST / 256) / 1e9
    assert f'make {pair:.1f} GFLOP' in TEXT
    one_hot = 2 * 2 * 55 * 32000 * 768 / 1e9
    assert f'would add {one_hot:.1f} GFLOP, {one_hot / pair:.0%};' in TEXT


def test_what_the_papers_own_numbers_grow_by():
    table = paper_table()

    def above(name, batch):
        return table[name][batch].tflops - table['CLIP'][batch].tflops

    def growth(name, batch):
        return above(name, batch) / above(name, batch // 2)

    for said in (
        f'a factor of {growth("PACL", LARGEST):.1f}',
        f"FILIP's of {growth('FILIP', LARGEST):.1f}",
        f"GLoRIA's of {growth('GLoRIA', 4096):.1f}",
    ):
        assert said in TEXT
    for name, batch in (
        ('PACL', 2048),
        ('PACL', 4096),
        ('PACL', 8192),
        ('GLoRIA', 2048),
    ):
        more = COUNTED[name, batch].one_shot.flops
        more -= COUNTED['CLIP', batch].ours.flops
        assert more / 1e12 == pytest.approx(above(name, batch), abs=0.03)


def test_blocks_save_operations_and_memory():
    for name, most in (('GLoRIA', 0.5), ('PACL', 0.4)):
        line, clip = COUNTED[name, LARGEST], COUNTED['CLIP', LARGEST]
        ours = line.ours.flops - clip.ours.flops
        assert ours < most * (line.one_shot.flops - clip.ours.flops)
        assert line.ours.peak_bytes < 0.3 * line.one_shot.peak_bytes


def test_the_papers_order():
    """CLIP, SPARC, MGCA, PACL, FILIP, GLoRIA, as it computed them."""
    names = ('CLIP', 'SPARC', 'MGCA', 'PACL', 'FILIP', 'GLoRIA')
    for batch in (2048, 4096, 8192, LARGEST):
        costs = [COUNTED[name, batch].one_shot.flops for name in names]
        assert costs == sorted(costs)
