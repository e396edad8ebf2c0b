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
    # Half precision where it is no imitation.
    dtypes = script.DTYPES[: 1 + script.computes_bfloat16()]
    assert report['autocast'] == (dtypes[1] if dtypes[1:] else None)
    assert [(one['trains'], one['weights']) for one in report['updates']] == [
        (name, dtype) for dtype in dtypes for name in script.STAGES
    ]
    for one in report['updates']:
        assert len(one['seconds']) == len(one['seconds_in_each']) == 2
        assert one['tokens'] > 2 * 16  # the picture's alone
        assert one['peak_bytes'] > 2**27
    sizes = [one['pictures'] for one in report['writing']]
    assert sizes == [1, 2] * len(dtypes)
    for one in report['writing']:
        assert one['tokens_per_second'] > 0
    names = [one['prompts'] for one in report['prompting']]
    assert names[:2] == [
        '2 questions about a picture',
        '5 captions of each of 4 pictures',
    ]
    for one in report['prompting']:
        assert len(one['seconds']) == len(one['seconds_in_each']) == 2
    shown = list(tables.tables(report))
    assert all(table in done.stdout for table in shown)
    assert '| projector and LoRA | float32 |' in shown[0]
    assert '| 2 questions about a picture | float32 |' in shown[2]
