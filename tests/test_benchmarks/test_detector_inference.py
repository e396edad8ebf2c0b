"""The detectors that are timed are alike but for their backbones."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks import detector_inference as script
from benchmarks import tables
from sparc_vlm.engine import load_config


def test_the_script_runs(tmp_path):
    out = tmp_path / 'inference.json'
    sizes = 'vitmini --side 64 --batch 2 --repeats 2 --threads 1'.split()
    command = [sys.executable, script.__file__, *sizes, '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    found = report['inference']['vitmini']['detectors']
    assert list(found) == [script.OURS, *script.OTHERS]
    ours, theirs, resnet = (one['parameters'] for one in found.values())
    assert ours == theirs < resnet
    for one in found.values():
        assert len(one['seconds']) == 2
        assert one['pictures_per_second'] > 0
    (table,) = tables.tables(report)
    assert table in done.stdout
    assert '| vitmini, 64 pixels | ResNet-50 |' in table


def test_windows_are_compared_with_none():
    for name, (config, *_) in script.SIZES.items():
        model = load_config(script.CONFIGS / f'{config}.py').model
        found = script.sides(model)
        windowed = found[script.OURS]['backbone'].window_size
        assert bool(windowed) == (name == 'vitb16')
        others = [name for name in found if name.endswith('no windows')]
        assert bool(others) == bool(windowed)
        for other in others:
            assert found[other]['backbone']['window_size'] == 0
