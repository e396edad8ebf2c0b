"""The losses that are timed side by side are the same losses."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec

import pytest
import torch
from torch.nn import functional as F

from benchmarks import loss_memory, loss_process, loss_rounds, losses, tables
from benchmarks.caption_lengths import FLICKR8K
from benchmarks.loss_measures import (
    OBJECTIVES,
    build_objective,
    forward_backward,
    random_pairs,
    sum_of_losses,
)
from benchmarks.plain_losses import PLAIN
from benchmarks.x_clip_loss import XClipLoss
from sparc_vlm.cost.memory import MemoryTracker
from tests.test_models import twins

HAS_X_CLIP = find_spec('x_clip') is not None


def options(**more):
    usual = dict(
        objective='filip',
        batch=4,
        patches=5,
        tokens=6,
        width=8,
        dtype='float32',
        device='cpu',
        autocast=False,
        budget=None,
        scale=loss_rounds.SCALE,
        seed=0,
    )
    return argparse.Namespace(**{**usual, **more})


@pytest.mark.parametrize('name', OBJECTIVES)
def test_plain_transcriptions_are_the_same_losses(name):
    torch.manual_seed(0)
    kept = dict(dropped=0.0) if name == 'filip' else {}
    objective = build_objective(name, 8, None, **kept).double().train()
    weights = dict(objective.named_parameters())
    found = []
    for loss_function in (
        lambda pairs: sum_of_losses(objective(pairs)),
        lambda pairs: PLAIN[name](pairs, weights),
    ):
        objective.zero_grad()
        pairs = twins.random_pairs([3, 5, 1, 4])
        loss = loss_function(pairs)
        loss.backward()
        values = [*twins.leaves(pairs), *weights.values()]
        gradients = [
            torch.zeros_like(value) if value.grad is None else value.grad
            for value in values
        ]
        found.append([loss, *gradients])
    assert any(gradient.any() for gradient in found[0][1:])
    torch.testing.assert_close(*found)


@pytest.mark.skipif(not HAS_X_CLIP, reason='x-clip is not installed')
def test_x_clip_scores_as_filip_does():
    pairs = twins.random_pairs([3, 5, 1, 4])
    loss = XClipLoss(8, 5.0).double().train()(pairs)
    loss.backward()
    mask = pairs.token_mask
    cosines = torch.einsum(
        'ipd,jld->ijpl',
        F.normalize(pairs.patches, dim=-1),
        F.normalize(pairs.tokens, dim=-1),
    )
    real = cosines.masked_fill(~mask[:, None], -torch.inf)
    to_text = real.amax(3).mean(2)
    to_image = (cosines.amax(2) * mask).sum(2) / mask.sum(1)
    # There both directions choose among the images.
    own = torch.arange(4)
    expected = sum(
        F.cross_entropy(5 * way.T, own) / 2 for way in (to_text, to_image)
    )
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    assert pairs.patches.grad.any()
    assert pairs.tokens.grad.any()


def test_without_x_clip_it_is_said_what_to_install(monkeypatch, capsys):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(losses, 'version', missing)
    monkeypatch.setattr(sys, 'argv', ['losses.py', 'filip'])
    with pytest.raises(SystemExit):
        losses.parse()
    assert "pip install 'sparc_vlm[benchmark]'" in capsys.readouterr().err
    for more in (['--alone'], ['--peers', 'plain']):
        monkeypatch.setattr(sys, 'argv', ['losses.py', 'filip', *more])
        assert losses.parse().peers == more[1:]
    # Nobody needs x-clip for what it does not have.
    monkeypatch.setattr(sys, 'argv', ['losses.py', 'pacl', 'mgca'])
    assert losses.parse().peers == ['plain']


@pytest.mark.parametrize(
    'name, side',
    [(name, 'plain') for name in OBJECTIVES]
    + [('filip', 'x-clip')] * HAS_X_CLIP,
)
def test_memory_is_foretold(name, side):
    args = options(objective=name, batch=40, tokens=9, patches=12, width=64)
    lengths = [2, 9, 4, 6, 1] * 8
    loss, _ = loss_process.build(side, args)
    with MemoryTracker() as tracker:
        forward_backward(loss, random_pairs(args, lengths), False)
    foretold = loss_process._estimate(side, args, lengths)
    assert foretold == pytest.approx(tracker.peak.total(), rel=1e-6)


def test_captions_have_real_lengths_unless_told_otherwise():
    args = argparse.Namespace(
        tokens=None, lengths=FLICKR8K, longest=20, seed=0
    )
    drawn = loss_rounds.draw_lengths(args, 2000)
    assert max(drawn) == 20
    assert sum(drawn) / len(drawn) == pytest.approx(12, abs=0.5)
    assert drawn == loss_rounds.draw_lengths(args, 2000)
    args.tokens = 7
    assert loss_rounds.draw_lengths(args, 3) == [7, 7, 7]
    mask = random_pairs(options(batch=3), [6, 1, 2]).token_mask
    assert mask.sum(1).tolist() == [6, 1, 2]
    assert mask[1].tolist() == [True] + [False] * 5


class Told:
    """A side that takes as long as it is told to."""

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, seconds, log

    def ask(self, repeats):
        self.log.append((self.name, repeats))
        if self.seconds is None:
            raise loss_process.Ended
        return dict(seconds=self.seconds, loss=1.0)


def test_sides_take_turns_and_slow_ones_less_often():
    log, args = [], argparse.Namespace(rounds=4, slow=10)
    told = dict(quick=0.1, slow=20, slower=99, dead=None)
    found = {name: {} for name in told}
    sides = {name: Told(name, told[name], log) for name in told}
    loss_rounds._take_turns(args, sides, found, lambda what: None)
    assert found['quick']['seconds'] == [0.1] * 4
    assert found['slow']['seconds'] == [20] * 2
    assert found['slower']['seconds'] == [99]
    assert found['dead'] == dict(left_out='ran out of memory')
    assert log[:4] == [(name, 1) for name in told]
    # A round of the quick one lasts long enough for the clock.
    assert log[4:] == [('quick', 3), ('slow', 1)] + [('quick', 3)] * 3


def test_time_left_grows_with_the_square_of_the_batch():
    left = loss_rounds.TimeLeft([('a', 2), ('b', 2), ('a', 4), ('a', 8)])
    left.done('a', 2, 1.0)
    assert left.seconds() is None
    left.done('b', 2, 5.0)
    assert left.seconds() == 4 + 16
    left.done('a', 4, 3.0)
    assert left.seconds() == 12


def test_memory_of_who_started_a_process_is_not_its_own():
    child = 'from benchmarks.process_memory import resident\n'
    child += 'held = bytes(range(256)) * 2**18\nprint(resident())'
    parent = 'import subprocess, sys\nheld = bytes(range(256)) * 2**20\n'
    parent += f'subprocess.run([sys.executable, "-c", {child!r}], check=True)'
    done = subprocess.run(
        [sys.executable, '-c', parent],
        capture_output=True,
        text=True,
        check=True,
        cwd=losses.ROOT,
    )
    assert 2**26 < int(done.stdout) < 2**27


def test_tables_show_what_was_left_out():
    ours = dict(seconds=[1.0, 2.0], peak_bytes=2**30)
    peer = dict(seconds=[3.0], peak_bytes=2**31)
    gone = dict(left_out='does not fit')
    batches = {
        '4': dict(ours=ours, plain=peer),
        '8': dict(ours=ours, plain=gone),
    }
    shown = list(tables.tables(dict(objectives=dict(filip=batches))))
    seconds, memory, ratio = (table.splitlines() for table in shown)
    assert '| filip | plain | 3.000 (3.000 to 3.000) | does not fit |' in (
        seconds
    )
    assert '| filip | plain | 2.000 | does not fit |' in memory
    assert ratio[2:] == ['| filip | plain | 3.0 (3.0 to 3.0); 2.0 |  |']


@pytest.mark.parametrize('name', OBJECTIVES)
def test_memory_of_one_loss(name, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'loss.json'
    sizes = '--batch 4 --patches 5 --tokens 3 --width 8 --quiet --out'
    arguments = [name, *sizes.split(), str(out)]
    monkeypatch.setattr(sys, 'argv', ['loss_memory.py', *arguments])
    loss_memory.main()
    assert f'{name}, batch 4: peak' in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report['loss'] > 0
    assert report['inputs_bytes'] == 4 * (4 * 5 + 4 * 3 + 2 * 4) * 8
    assert report['peak_bytes'] > report['inputs_bytes']


def test_the_script_runs(tmp_path):
    args = options(patches=9, tokens=7, width=16)
    small, large = (
        loss_process._estimate(
            'plain', argparse.Namespace(**{**vars(args), 'batch': b}), [7] * b
        )
        for b in (4, 24)
    )
    out = tmp_path / 'losses.json'
    done = subprocess.run(
        [
            *(sys.executable, losses.__file__, 'filip'),
            *'--batch 4 24 --patches 9 --tokens 7 --width 16'.split(),
            *'--rounds 2 --threads 1 --out'.split(),
            str(out),
            *('--peer-gib', str((small + large) / 2 / 2**30), '--peers'),
            *(['plain', 'x-clip'] if HAS_X_CLIP else ['plain']),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    filip = report['objectives']['filip']
    assert filip['24']['plain']['left_out'] == 'does not fit'
    assert 'seconds' not in filip['24']['plain']
    for sides in filip.values():
        assert len(sides['ours']['seconds']) == 2
        assert min(sides['ours']['seconds']) > 0
    few = filip['4']
    assert few['plain']['loss'] == pytest.approx(few['ours']['loss'], 1e-4)
    if HAS_X_CLIP:
        assert len(few['x-clip']['seconds']) == 2
        assert 'x-clip' in report['versions']
    assert report['threads'] == 1
    assert all(shown in done.stdout for shown in tables.tables(report))
