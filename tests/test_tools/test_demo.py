"""tools/demo.py: a page that a browser opens, until Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from urllib.request import urlopen

from tests.test_study.made import ROOT, save_model
from tools import demo as tool


def test_it_serves_until_it_is_stopped(tmp_path):
    command = [sys.executable, 'tools/demo.py', str(save_model(tmp_path))]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs do not hear it, nor do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            line = process.stdout.readline()
            said, address, *_ = line.split(maxsplit=2)
            assert said == 'open'
            with urlopen(address, timeout=60) as answer:
                assert answer.status == 200
                assert 'Where each word looks' in answer.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_wrong_model_is_a_sentence(tmp_path, capsys):
    assert tool.main([str(tmp_path / 'nowhere')]) == tool.USAGE
    said = capsys.readouterr().err
    assert said.startswith('error: there is no model at')
    assert said.count('\n') == 1
