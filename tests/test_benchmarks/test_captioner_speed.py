"""Updates and writing of a captioner are timed, on a tiny language model."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks import captioner_speed as script
from benchmarks import tables
from tests.test_captioning.tiny_language import save_language


def test_the_script_runs(tmp_path):
    out = tmp_path / 'speed.json'
    language = save_language(tmp_path / 'language')
    sizes = '--batch 2 --tokens 3 --repeats 2 --threads 1'.split()
    command = [sys.executable, script.__file__, *sizes]
    command += ['--language', str(language), '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert [(one['trains'], one['weights']) for one in report['updates']] == [
        (name, dtype) for dtype in script.DTYPES for name in script.STAGES
    ]
    for one in report['updates']:
        assert len(one['seconds']) == 2
        assert one['tokens'] > 2 * 16  # the picture's alone
        assert one['peak_bytes'] > 2**27
    assert [one['pictures'] for one in report['writing']] == [1, 2, 1, 2]
    for one in report['writing']:
        assert one['tokens_per_second'] > 0
    shown = list(tables.tables(report))
    assert all(table in done.stdout for table in shown)
    assert '| projector and LoRA | bfloat16 |' in shown[0]
