"""Drawn scenes on disk, once for all tests, and a fresh mmengine for each."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from sparc_vlm.datasets.export import export_scenes
from sparc_vlm.datasets.scenes import Scenes


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    """A folder in COCO's layout: 4 and 2 scenes of 64 pixels."""
    folder = tmp_path_factory.mktemp('drawn')
    for split, count in (('train', 4), ('val', 2)):
        export_scenes(Scenes(split, 64, count), folder)
    return folder


@pytest.fixture(scope='session')
def zipped(drawn, tmp_path_factory):
    """The same with the pictures in zips, the annotations beside them."""
    folder = tmp_path_factory.mktemp('zipped')
    for split in ('train', 'val'):
        name = f'instances_{split}.json'
        shutil.copy(drawn / 'annotations' / name, folder)
        pictures = f'images_{split}'
        shutil.make_archive(folder / pictures, 'zip', drawn / pictures)
    return folder


@pytest.fixture(scope='session')
def outlined(drawn, tmp_path_factory):
    """The same with a polygon for each object, and a crowd's run lengths."""
    folder = shutil.copytree(drawn, tmp_path_factory.mktemp('polygons') / 'a')
    for path in (folder / 'annotations').glob('instances_*.json'):
        content = json.loads(path.read_text())
        for row in content['annotations']:
            x, y, w, h = row['bbox']
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            row['segmentation'] = [corners]
        crowd = dict(size=[64, 64], counts=[0, 64 * 64])
        row.update(iscrowd=1, segmentation=crowd)
        path.write_text(json.dumps(content))
    return folder


@pytest.fixture
def fresh(monkeypatch):
    """mmengine keeps loggers and the like by name for the whole process."""
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        monkeypatch.setattr(kind, '_instance_dict', OrderedDict())
