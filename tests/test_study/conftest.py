import pytest

from sparc_vlm.study import figures
from sparc_vlm.study import run as running
from tests.test_study.made import Trainer, open_made, write_study


@pytest.fixture
def trainer(monkeypatch):
    """Trainings and models that take no time."""
    trainer = Trainer()
    monkeypatch.setattr(running, 'LoggedLaunch', trainer)
    monkeypatch.setattr(running, 'open_model', open_made)
    monkeypatch.setattr(figures, 'open_model', open_made)
    return trainer


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path)
