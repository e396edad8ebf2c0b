import numpy as np
import pytest
from mmengine.logging import HistoryBuffer

from sparc_vlm.engine import histories
from sparc_vlm.engine.histories import KEPT, ShortHistories
from tests.test_engine.test_runner import interrupted
from tests.test_engine.tiny import Lines, build, history


def test_a_history_keeps_its_latest_values():
    values = np.arange(KEPT + 5.0)
    short = ShortHistories(a=HistoryBuffer(values, np.ones_like(values)))
    assert len(short['a'].data[0]) == KEPT
    short['a'].update(-1.0)
    assert len(short['a'].data[0]) == KEPT
    assert short['a'].data[0][:2].tolist() == [6.0, 7.0]
    assert short['a'].current() == -1.0
    assert short['a'].mean(2) == (KEPT + 3.0) / 2


def smoothed(lines):
    """The training lines without the times."""
    return [
        [part for part in line.split('  ') if 'loss' in part]
        for line in lines.lines
        if 'Iter(train)' in line
    ]


@pytest.mark.parametrize('kept', [5, 10_000])
def test_a_run_logs_the_same_means_resumed_or_not(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(histories, 'KEPT', kept)
    changes = {'log_processor.window_size': 3}
    whole = build(tmp_path / 'a', **changes)
    expected = Lines(whole)
    whole.train()
    assert len(history(whole)) == min(kept, 8)
    interrupted(tmp_path / 'b', 6, **changes)
    resumed = build(tmp_path / 'b', resume=True, **changes)
    found = Lines(resumed)
    resumed.train()
    assert history(resumed) == history(whole)
    assert smoothed(found) == smoothed(expected)[-2:]
    assert smoothed(found)[0]
