"""The model index and the configs name the same recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

from sparc_vlm.registry import MODELS as REGISTRY

ROOT = Path(__file__).resolve().parent.parent
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())
META = [yaml.safe_load((ROOT / file).read_text()) for file in INDEX['Import']]
MODELS = [model for meta in META for model in meta['Models']]
COLLECTIONS = {c['Name']: c for meta in META for c in meta['Collections']}


def test_every_config_is_listed_once_and_exists():
    listed = sorted(model['Config'] for model in MODELS)
    recipes = sorted(f'configs/{p.name}' for p in ROOT.glob('configs/*.py'))
    assert listed == recipes


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_entry_is_whole(model):
    assert model['Config'] == f'configs/{model["Name"]}.py'
    assert model['In Collection'] in COLLECTIONS
    assert model['In Collection'].lower() in model['Name'].split('_')
    assert model['Metadata']['Training Data']
    for result in model['Results']:
        # a number comes from a file that a command here wrote
        assert (ROOT / result['Source']).is_file()


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_parameters_are_counted(model):
    config = Config.fromfile(ROOT / model['Config'])
    with torch.device('meta'):  # no memory: only shapes matter
        built = REGISTRY.build(config.model)
    count = sum(parameter.numel() for parameter in built.parameters())
    assert model['Metadata']['Parameters'] == count


def test_collections_are_whole():
    for collection in COLLECTIONS.values():
        url = collection['Paper']['URL']
        assert url.startswith(('https://arxiv.org/abs/', 'https://doi.org/'))
        assert (ROOT / collection['README']).is_file()
    used = {model['In Collection'] for model in MODELS}
    assert used == set(COLLECTIONS)


def test_model_index_library_reads_it():
    from modelindex.load_model_index import load

    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert {m.name for m in index.models} == {m['Name'] for m in MODELS}
