import pytest

from tests.test_study.made import stand_in, write_study


@pytest.fixture
def trainer(monkeypatch):
    """Trainings and models that take no time."""
    return stand_in(monkeypatch)


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path)
