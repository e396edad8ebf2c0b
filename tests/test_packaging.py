"""What is installed: versions, files, and that make installs only once."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import sparc_vlm

ROOT = Path(__file__).resolve().parent.parent
LEFT = shutil.ignore_patterns('.*', '__pycache__', 'work_dirs', 'data')
SOURCES = ('sparc_vlm', 'configs', 'tools')
FILES = ('setup.py', 'MANIFEST.in', 'model-index.yml', 'Makefile', 'LICENSE')


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A bare copy of the sources, so that the tree stays clean."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=LEFT)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope='module')
def wheel(checkout):
    run(sys.executable, 'setup.py', '-q', 'bdist_wheel', cwd=checkout)
    (path,) = (checkout / 'dist').glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope='module')
def metadata(wheel):
    (name,) = (n for n in wheel.namelist() if n.endswith('/METADATA'))
    return email.message_from_bytes(wheel.read(name))


def requirements(metadata, extra=''):
    """Name and versions of what is needed, for an extra or for all."""
    needed = map(Requirement, metadata.get_all('Requires-Dist'))
    return {
        need.name: need.specifier
        for need in needed
        if not need.marker or need.marker.evaluate({'extra': extra})
    }


def test_version_is_the_package_s(metadata):
    assert metadata['Name'].replace('-', '_') == 'sparc_vlm'
    assert metadata['Version'] == sparc_vlm.__version__


def test_pythons(metadata):
    allowed = SpecifierSet(metadata['Requires-Python'])
    pythons = [f'3.{minor}.1' for minor in range(8, 15)]
    assert list(allowed.filter(pythons)) == ['3.10.1', '3.11.1', '3.12.1']
    ruff = (ROOT / 'ruff.toml').read_text()
    assert "target-version = 'py310'" in ruff


def test_pins(metadata):
    needed = requirements(metadata)
    assert needed['torch'] == SpecifierSet('==2.13.0')
    for version in ('4.57.6', '5.23.0'):
        assert version in needed['transformers']
    assert '2.2.0' not in needed['mmcv-lite']
    assert '81.0.0' not in needed['setuptools']


def test_what_runs_here_is_what_is_pinned(metadata):
    from importlib.metadata import version

    for name, allowed in requirements(metadata, 'dev').items():
        assert allowed.contains(version(name), prereleases=True), name


def test_every_import_is_declared(metadata):
    """What the package imports at its top comes with a plain install."""
    names = {
        'cv2': 'opencv-python',
        'mmcv': 'mmcv-lite',
        'PIL': 'pillow',
        'yaml': 'pyyaml',
    }
    pattern = re.compile(r'^(?:from|import) ([A-Za-z_0-9]+)', re.MULTILINE)
    imported = {
        names.get(name, name)
        for path in (ROOT / 'sparc_vlm').rglob('*.py')
        for name in pattern.findall(path.read_text())
    }
    imported -= {'sparc_vlm', *sys.stdlib_module_names}
    assert 'torch' in imported
    assert imported <= set(requirements(metadata))


def test_extras(metadata):
    extras = set(metadata.get_all('Provides-Extra'))
    assert extras >= {
        'shards',
        'captioning',
        'detection',
        'demo',
        'benchmark',
        'dev',
    }
    assert 'webdataset' in requirements(metadata, 'shards')
    assert 'pytest' not in requirements(metadata)


def test_wheel_holds_code_configs_and_licence(wheel):
    names = set(wheel.namelist())
    for source in (ROOT / 'sparc_vlm').rglob('*.py'):
        assert str(source.relative_to(ROOT)) in names
    for folder in ('configs', 'tools'):
        for source in (ROOT / folder).rglob('*.py'):
            shipped = f'sparc_vlm/.mim/{source.relative_to(ROOT)}'
            assert shipped in names
    assert 'sparc_vlm/.mim/configs/metafile.yml' in names
    assert 'sparc_vlm/.mim/model-index.yml' in names
    assert any(name.endswith('LICENSE') for name in names)
    assert not any(name.startswith('tests') for name in names)


def make(checkout, *arguments):
    return run('make', '-n', *arguments, cwd=checkout)


@pytest.mark.parametrize('goal', ['test', 'quickstart'])
def test_make_installs_once(checkout, goal):
    shutil.rmtree(checkout / '.venv', ignore_errors=True)
    first = make(checkout, goal)
    assert '-m venv' in first
    assert 'pip install' in first
    (checkout / '.venv' / 'bin').mkdir(parents=True)
    (checkout / '.venv' / 'bin' / 'python').touch()
    (checkout / '.venv' / '.installed').touch()
    (checkout / '.venv' / '.installed-dev').touch()
    second = make(checkout, goal)
    assert '-m venv' not in second
    assert 'pip install' not in second
    # a changed setup.py is newer than the stamps
    assert 'pip install' in make(checkout, goal, '-W', 'setup.py')


def test_make_after_half_an_install_starts_again(checkout):
    shutil.rmtree(checkout / '.venv', ignore_errors=True)
    (checkout / '.venv' / 'bin').mkdir(parents=True)
    (checkout / '.venv' / 'bin' / 'python').touch()
    again = make(checkout, 'test')
    assert '-m venv' not in again
    assert 'pip install' in again


def test_make_refuses_a_python_that_does_not_fit(tmp_path, checkout):
    old = tmp_path / 'old-python'
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    shutil.rmtree(checkout / '.venv', ignore_errors=True)
    done = subprocess.run(
        ['make', 'test', f'PYTHON={old}'],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert 'Python 3.10 to 3.12 is needed' in done.stdout
    assert not (checkout / '.venv').exists()


def test_ci_runs_the_tests():
    script = ROOT / '.ci' / 'run'
    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == 'make test'
