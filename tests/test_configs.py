"""Every recipe is read, checked and built, and says what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from sparc_vlm.engine import check_config, load_config
from sparc_vlm.recipe import use_data
from sparc_vlm.registry import MODELS
from tests.test_datasets.made import write_coco, write_karpathy

FOLDER = Path(__file__).resolve().parents[1] / 'configs'
FILES = sorted(FOLDER.glob('*.py'))
NAMES = [file.stem for file in FILES]
PARTS = sorted(FOLDER.glob('_base_/**/*.py'))


def load(name: str) -> Config:
    return load_config(FOLDER / f'{name}.py')


def parts(name: str) -> tuple[str, str]:
    """What trains and what is trained: 'clip_filip', 'vitb16'."""
    return re.fullmatch(r'(.+?)_((?:vit|efficientlite).+)', name).groups()


def objective_of(name: str) -> str:
    """The class of a recipe's objective, in small letters."""
    trains, _ = parts(name)
    return 'sparc' if trains.startswith('sparc') else trains.split('_')[-1]


def comment(file: Path) -> str:
    """The comment that a file begins with, in one line."""
    lines = []
    for line in file.read_text().splitlines():
        if not line.startswith('#'):
            break
        lines.append(line.removeprefix('#').strip())
    return ' '.join(lines)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A flag for `--data`, by the last part of a recipe's name."""
    folder = tmp_path_factory.mktemp('data')
    for split in ('train', 'val'):
        write_coco(folder / 'coco', split=split)
    return {
        'coco': f'coco:{folder / "coco"}',
        'flickr8k': f'karpathy:{write_karpathy(folder)}',
    }


@pytest.mark.parametrize('name', NAMES)
def test_is_read_and_checked(name, data):
    cfg = load(name)
    flag = data.get(name.rpartition('_')[2])
    if flag:
        use_data(cfg, [flag])
    before = cfg.pretty_text
    check_config(cfg)
    assert cfg.pretty_text == before


@pytest.mark.parametrize('name', NAMES)
def test_model_is_built(name):
    cfg = load(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    size = cfg.model.image_size
    for place in (cfg.model.vision.img_size, pairs(cfg).image_size):
        assert place == size
    assert cfg.model.text.max_length == cfg.tokenizer.max_length == 55
    assert cfg.model.text.vocab_size == cfg.tokenizer_training.vocab_size
    assert type(model.objective).__name__.lower() == objective_of(name)
    assert model.text_adapter.out_features == cfg.model.embed_dims


def beside(name: str) -> str | None:
    """The recipe that one differs from in a thing or two, as it says."""
    said = comment(FOLDER / f'{name}.py')
    found = re.search(r'otherwise as (\w+)\.py', said)
    return found and found[1]


def pairs(cfg):
    return cfg.train_dataloader.dataset


@pytest.mark.parametrize('name', NAMES)
def test_says_what_it_trains(name):
    said = comment(FOLDER / f'{name}.py')
    trains, model = parts(name)
    assert said.upper().startswith(trains.split('_')[0].upper())
    other = beside(name)
    if objective_of(name) != 'sparc':
        assert other == f'sparc_{model}'
    if other:
        assert other in NAMES
        assert name.endswith(other.removeprefix('sparc'))
        return
    assert re.search('ViT|EfficientNet', said)
    refers = re.search(r'otherwise the recipe of (\w+)\.py', said)
    if refers:
        assert refers[1] in NAMES
        said += comment(FOLDER / f'{refers[1]}.py')
    steps = load(name).train_cfg.max_iters
    thousands = f'{steps // 1000}k' if steps % 1000 == 0 else 'no'
    assert re.search(rf'\b({steps}|{thousands}) updates', said)
    assert re.search(r'scenes|COCO|Flickr8k', said)


@pytest.mark.parametrize('file', FILES + PARTS, ids=lambda file: file.stem)
def test_is_short_and_begins_with_a_comment(file):
    assert comment(file)
    assert len(file.read_text().splitlines()) < 30


def test_every_part_is_used():
    assert PARTS
    for part in PARTS:
        others = [file for file in FILES + PARTS if file != part]
        assert any(part.name in file.read_text() for file in others), part


BASELINES = [n for n in NAMES if not n.startswith('sparc')]


@pytest.mark.parametrize('name', BASELINES)
def test_a_baseline_differs_in_the_objective_alone(name):
    one, sparc = (load(n).to_dict() for n in (name, beside(name)))
    objective = one['model'].pop('objective')
    assert objective['type'].lower() == objective_of(name)
    if objective['type'] == 'PACL':  # its adapter is part of the method
        assert one['model'].pop('vision_adapter') == 'residual'
    if name == 'gloria_vitb16':  # as the paper ran it
        assert one['train_cfg'].pop('max_iters') == 800_000
        assert one['auto_batch'].pop('global_batch_size') == 4096
        del sparc['train_cfg']['max_iters']
        del sparc['auto_batch']['global_batch_size']
    width = one['model']['embed_dims']
    assert objective.get('embed_dims', width) == width
    assert sparc['model'].pop('objective')['type'] == 'SPARC'
    assert one == sparc


def test_each_objective_has_its_recipes():
    recipes = {}
    for name in NAMES:
        trains, model = parts(name)
        recipes.setdefault(trains, set()).add(model)
    assert recipes['clip'] <= recipes['sparc']
    compared = {'clip', 'filip', 'clip_filip', 'pacl', 'gloria', 'mgca'}
    ablations = {'sparc_no_sparsity', 'sparc_softmax'}
    for trains in {'sparc', 'siglip'} | compared | ablations:
        assert recipes[trains] >= {'vitb16', 'vittiny_scenes'}


@pytest.mark.parametrize('model', ['vitb16', 'vittiny_scenes'])
@pytest.mark.parametrize(
    ('ablation', 'alignment'), [('no_sparsity', 'dense'), ('softmax',) * 2]
)
def test_an_ablation_differs_in_the_alignment_alone(
    ablation, alignment, model
):
    one = load(f'sparc_{ablation}_{model}').to_dict()
    sparc = load(f'sparc_{model}').to_dict()
    assert one['model']['objective'].pop('alignment') == alignment
    assert sparc['model']['objective'].pop('alignment', 'sparse') == 'sparse'
    assert one == sparc


def test_clip_is_added_to_filip():
    for model in ('vitb16', 'vittiny_scenes'):
        alone, both = load(f'filip_{model}'), load(f'clip_filip_{model}')
        assert both.model.objective.pop('global_weight') == 1.0
        assert alone.to_dict() == both.to_dict()


def test_boxes_and_model_have_the_same_patches():
    cfg = load('sparc_boxes_vittiny_scenes')
    assert pairs(cfg).patch_masks == 'boxes'
    assert pairs(cfg).patch_size == cfg.model.vision.patch_size


def test_the_papers_recipe():
    cfg = load('sparc_vitb16')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    vision, text = model.vision, model.text
    assert (vision.embed_dims, len(vision.layers)) == (768, 12)
    assert vision.layers[0].attn.num_heads == 12
    assert vision.patch_embed.projection.stride == (16, 16)
    assert model.image_size == 224
    assert text.embed_dims == 768
    text_cfg = cfg.model.text
    assert (text_cfg.num_layers, text_cfg.num_heads) == (12, 12)
    assert cfg.model.embed_dims == 512
    assert cfg.tokenizer_training.vocab_size == 32000
    assert cfg.tokenizer.max_length == 55
    assert cfg.auto_batch.global_batch_size == 16384
    assert cfg.train_cfg.max_iters == 200_000
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr in (7e-4, 9e-4, 1.1e-3)
    assert optimizer.weight_decay in (0.1, 0.2, 0.3)
    warmup, decay = cfg.param_scheduler
    assert (warmup.type, decay.type) == ('LinearLR', 'CosineAnnealingLR')
    assert (warmup.get('begin', 0), warmup.end) == (0, 2500)
    assert decay.begin == 2500
    assert decay.get('end') in (None, 200_000)
    assert not warmup.by_epoch
    assert not decay.by_epoch
    assert model.objective.global_weight == 0.5
    assert model.objective.local_weight in (0.5, 1, 5, 10)


def test_the_other_sizes():
    large, base = load('sparc_vitl14'), load('sparc_vitb32')
    assert large.train_cfg.max_iters == 250_000
    assert base.train_cfg.max_iters == 200_000
    for cfg, patch, width in ((large, 14, 1024), (base, 32, 768)):
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        assert model.vision.patch_embed.projection.stride == (patch, patch)
        assert model.vision.embed_dims == width
