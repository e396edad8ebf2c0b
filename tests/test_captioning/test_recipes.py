"""Every recipe of a captioner trains through the tool, stage after stage."""

from __future__ import annotations

import copy
import json
import re
import uuid
from pathlib import Path

import pytest

from sparc_vlm import captioning
from sparc_vlm.captioning.conversations import DESCRIBE
from sparc_vlm.captioning.recipe import use_captioner
from sparc_vlm.datasets import Scenes, write_shards
from sparc_vlm.engine import load_config, read_checkpoint
from sparc_vlm.errors import UsageError
from sparc_vlm.recipe import use_data
from sparc_vlm.registry import DATASETS
from tests.test_configs import comment
from tests.test_datasets.made import write_coco, write_karpathy
from tests.test_detection.recipes import arguments
from tools import train

pytestmark = pytest.mark.usefixtures('fresh')
CONFIGS = Path(__file__).resolve().parents[2] / 'projects/captioning/configs'
NAMES = sorted(file.stem for file in CONFIGS.glob('*.py'))
PARTS = sorted(CONFIGS.glob('_base_/**/*.py'))
SECOND = [name for name in NAMES if name.endswith('stage2')]


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Flags of drawn scenes on disk, by the kind of data."""
    folder, scenes = tmp_path_factory.mktemp('drawn'), Scenes('val', 32, 6)
    rows, images, captions = [], [], []
    for index in range(6):
        name, texts = f'{index}.png', scenes.captions(index)
        (folder / 'images').mkdir(exist_ok=True)
        scenes.image(index).save(folder / 'images' / name)
        turns = [
            {'from': role, 'value': text}
            for q in scenes.questions(index)[:2]
            for role, text in (('human', q['question']), ('gpt', q['answer']))
        ]
        rows.append({'image': name, 'conversations': turns})
        images.append({'id': index, 'file_name': name})
        captions += [{'image_id': index, 'caption': text} for text in texts]
    coco = {'images': images, 'annotations': captions}
    for split in ('train', 'val'):
        _write(folder / f'captions_{split}.json', coco)
    karpathy = [
        {
            'filename': f'{index}.png',
            'split': 'val' if index > 3 else 'train',
            'sentences': [{'raw': text} for text in scenes.captions(index)],
        }
        for index in range(6)
    ]
    _write(folder / 'dataset.json', {'images': karpathy})
    _write(folder / 'llava.json', rows)
    return dict(
        scenes='scenes',
        coco=f'coco:{folder}',
        flickr8k=f'karpathy:{folder / "dataset.json"}',
        llava=f'llava:{folder / "llava.json"}',
    )


def _write(path, content):
    path.write_text(json.dumps(content))


@pytest.fixture(scope='module')
def run(drawn, tiny_language, tiny_pretrained, tmp_path_factory):
    """Trains a recipe for a step, once; returns its work folder."""
    done = {}

    def train_once(name, **more):
        key = (name, *more)
        if key in done:
            return done[key]
        folder = tmp_path_factory.mktemp(name)
        options = {
            'model.eyes.checkpoint': tiny_pretrained,
            'model.language.path': tiny_language,
            'model.language.dtype': 'float32',
            'train_cfg.max_iters': 1,
            'param_scheduler.0.end': 1,
            'param_scheduler.1.begin': 0,
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 0,
            # A byte a token: the tiny tokenizer needs more room.
            'train_dataloader.dataset.chat.max_length': 1000,
            'default_hooks.logger.interval': 1,
            # mmengine keeps one log per name and second.
            'experiment_name': uuid.uuid4().hex,
        }
        if 'perceiver' in name:
            options['model.projector.num_latents'] = 5
        if name in SECOND:
            first = train_once(name.replace('stage2', 'stage1'))
            options['model.init_cfg.checkpoint'] = str(first / 'model')
        kind = re.search('scenes|coco|flickr8k|llava', name)[0]
        flags = ['--data', drawn[kind], '--work-dir', str(folder)]
        if kind == 'llava':
            flags += ['--val-data', drawn['coco']]
        options |= more
        given = [str(CONFIGS / f'{name}.py'), *flags, *arguments(options)]
        assert train.main(given) == 0
        done[key] = folder
        return folder

    return train_once


def logged(folder):
    file = next(folder.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize('name', NAMES)
def test_trains_a_step_and_can_be_loaded(name, run):
    folder = run(name)
    (row,) = logged(folder)
    assert 0 < row['loss'] < 20
    assert row['grad_norm'] > 0
    assert row['answer_tokens'] > 2
    captioner = captioning.load(folder)
    assert captioner.captioner.language.has_lora == (name in SECOND)
    assert (folder / 'model' / 'adapter').is_dir() == (name in SECOND)
    picture = Scenes('val', 32).image(0)
    ((caption,),) = captioner.caption([picture], max_new_tokens=3)
    assert isinstance(caption, str)


@pytest.mark.parametrize('name', NAMES)
def test_shows_sample_captions(name, run):
    samples = run(name) / 'samples' / '1.json'
    sheet = json.loads(samples.read_text())
    assert sheet['prompt'] == DESCRIBE
    assert all(sample['references'] for sample in sheet['samples'])


@pytest.mark.parametrize('name', SECOND)
def test_the_second_stage_begins_with_the_first_ones_projector(name, run):
    first = run(name.replace('stage2', 'stage1'))
    one, two = (
        read_checkpoint(next(folder.glob('iter_1.pth')))['state_dict']
        for folder in (first, run(name))
    )
    projector = {key for key in two if key.startswith('projector.')}
    assert {key for key in one if key.startswith('projector.')} == projector
    rate = load_config(CONFIGS / f'{name}.py').optim_wrapper.optimizer.lr
    moved = [(one[key] - two[key]).abs().max() for key in projector]
    # One update of Adam goes no further than its rate.
    assert 0 < max(moved) < 2 * rate
    assert any('lora_' in key for key in two)


def test_half_precision_in_rounds_with_recomputation(run):
    name = 'smollm2_vitmini_scenes_stage2'
    # Two rounds of a picture each are nearly one batch of two.
    saving = {
        'optim_wrapper.dtype': 'bfloat16',
        'optim_wrapper.accumulative_counts': 2,
        'model.language.checkpointing': True,
        'train_dataloader.batch_size': 1,
        'train_dataloader.dataset.questions': 0.0,
    }
    plain = {'train_dataloader.dataset.questions': 0.0}
    (one,), (two,) = (logged(run(name, **more)) for more in (plain, saving))
    assert one['loss'] == pytest.approx(two['loss'], rel=0.1)
    assert one['grad_norm'] == pytest.approx(two['grad_norm'], rel=0.3)


def test_data_are_told_what_the_model_takes(tiny_language, tiny_pretrained):
    cfg = load_config(
        CONFIGS / 'smollm2_vitmini_scenes_stage1.py',
        {
            'model.eyes.checkpoint': tiny_pretrained,
            'model.language.path': tiny_language,
        },
    )
    cfg.train_dataloader = [cfg.train_dataloader, cfg.train_dataloader]
    (line,) = use_captioner(cfg)
    assert line.startswith('captioner: 32 x 32 pixels, 4 x 4 patches, 4 tok')
    for loader in cfg.train_dataloader:
        dataset = DATASETS.build(loader.dataset)
        assert (dataset.image_size, dataset.resize) == (32, 'stretch')
        assert dataset.chat.image_tokens == 4
        assert dataset.chat.max_length == 160
        assert dataset.chat.tokenizer.name_or_path == tiny_language


def test_of_several_data_those_with_boxes_ask(
    tiny_language, tiny_pretrained, tmp_path
):
    (tmp_path / 'flickr').mkdir()
    write_karpathy(tmp_path / 'flickr')
    flags = [f'karpathy:{tmp_path / "flickr"}']
    flags += [f'coco:{write_coco(tmp_path / "coco")}']
    cfg = load_config(
        CONFIGS / 'smollm2_vitmini_scenes_stage2.py',
        {
            'model.eyes.checkpoint': tiny_pretrained,
            'model.language.path': tiny_language,
        },
    )
    alone = copy.deepcopy(cfg)
    use_data(cfg, flags)
    _, line = use_captioner(cfg)
    assert line.startswith('no questions in KarpathyCaptions of ')
    assert line.endswith('dataset_made.json: its captions alone are learned')
    datasets = [DATASETS.build(one.dataset) for one in cfg.train_dataloader]
    assert [one.talk.questions for one in datasets] == [0, 0.5]
    # One that is alone is not taught something else without a word.
    use_data(alone, flags[:1])
    use_captioner(alone)
    with pytest.raises(UsageError, match='no questions to learn'):
        DATASETS.build(alone.train_dataloader.dataset)


def test_conversations_fit_into_the_language_model(
    tiny_language, tiny_pretrained
):
    options = {
        'model.eyes.checkpoint': tiny_pretrained,
        'model.language.path': tiny_language,
        'train_dataloader.dataset.chat.max_length': 1025,
    }
    name = CONFIGS / 'smollm2_vitmini_scenes_stage1.py'
    with pytest.raises(UsageError, match='takes in 1024 tokens at most, and'):
        use_captioner(load_config(name, options))
    cfg = load_config(name, options)
    del cfg.train_dataloader.dataset.chat
    use_captioner(cfg)
    assert cfg.train_dataloader.dataset.chat.max_length == 1024


@pytest.mark.parametrize('place', ['language.frozen', 'freeze_language'])
def test_coarse_weights_do_not_train_whole(
    place, tmp_path, capfd, tiny_pretrained
):
    name = str(CONFIGS / 'smollm2_vitmini_scenes_stage1.py')
    half = {
        'model.eyes.checkpoint': tiny_pretrained,
        'model.language.dtype': 'bfloat16',
        f'model.{place}': False,
    }
    given = [name, '--work-dir', str(tmp_path), *arguments(half)]
    assert train.main(given) == train.USAGE
    # Some CPUs have no bfloat16, which is said before.
    lines = [
        line
        for line in capfd.readouterr().err.splitlines()
        if not line.startswith('precision:')
    ]
    assert len(lines) == 1 and "set language.dtype='float32'" in lines[0]


def test_shards_are_refused(tmp_path, capfd):
    write_shards(Scenes('val', 32, 2), tmp_path, 2)
    name = str(CONFIGS / 'smollm2_vitmini_scenes_stage1.py')
    shards = next(tmp_path.glob('*.tar'))
    assert train.main([name, '--data', f'shards:{shards}']) == train.USAGE
    said = capfd.readouterr().err
    assert 'a ChatDataset takes pictures that can be asked for' in said


def test_a_missing_first_stage_is_said(tmp_path, capfd, tiny_pretrained):
    name = 'smollm2_vitmini_scenes_stage2'
    eyes = arguments({'model.eyes.checkpoint': tiny_pretrained})
    given = [str(CONFIGS / f'{name}.py'), '--work-dir', str(tmp_path), *eyes]
    assert train.main(given) == train.USAGE
    said = capfd.readouterr().err
    assert 'there is no work_dirs/smollm2_vitmini_scenes_stage1/model' in said
    assert said.count('\n') == 1


@pytest.mark.parametrize('name', NAMES)
def test_says_what_it_trains(name):
    said, cfg = (
        comment(CONFIGS / f'{name}.py'),
        load_config(CONFIGS / f'{name}.py'),
    )
    assert f'{cfg.train_cfg.max_iters:,} updates' in said
    assert re.search(r'scenes|COCO|Flickr8k|LLaVA', said)
    stage = re.search(r'stage(\d)$', name)
    if stage:
        assert {'1': 'first stage', '2': 'second stage'}[stage[1]] in said
    assert ('LoRA' in said) == ('lora' in cfg.model.language)


@pytest.mark.parametrize(
    'file', [*CONFIGS.glob('*.py'), *PARTS], ids=lambda file: file.stem
)
def test_is_short_and_begins_with_a_comment(file):
    assert comment(file)
    assert len(file.read_text().splitlines()) < 30


def test_every_part_is_used():
    files = [*CONFIGS.glob('*.py'), *PARTS]
    for part in PARTS:
        others = [file for file in files if file != part]
        assert any(part.name in file.read_text() for file in others), part


@pytest.mark.parametrize('name', SECOND)
def test_stages_differ_in_what_is_learned_alone(name):
    one, two = (
        load_config(CONFIGS / f'{each}.py').to_dict()
        for each in (name.replace('stage2', 'stage1'), name)
    )
    assert two['model'].pop('init_cfg')['checkpoint'] == (
        f'work_dirs/{name.replace("stage2", "stage1")}/model'
    )
    assert two['model']['language'].pop('lora')
    assert 'lora' not in one['model']['language']
    assert one['model'] == two['model']


def test_the_papers_bridge():
    cfg = load_config(CONFIGS / 'perceiver_vitb16_coco.py')
    assert cfg.model.projector.type == 'PerceiverResampler'
    assert cfg.train_cfg.max_iters == 250_000
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 1e-4)
    warmup, decay = cfg.param_scheduler
    assert (warmup.type, decay.type) == ('LinearLR', 'CosineAnnealingLR')
    assert warmup.end == decay.begin == 5000


def test_llavas_recipe():
    for stage, rate, batch in (('1', 1e-3, 256), ('2', 2e-4, 128)):
        cfg = load_config(CONFIGS / f'qwen7b_vitb16_llava_stage{stage}.py')
        assert cfg.model.projector.type == 'MLPProjector'
        assert cfg.optim_wrapper.optimizer.lr == rate
        assert cfg.train_dataloader.batch_size * 8 == batch
        assert cfg.model.language.checkpointing
        warmup = cfg.param_scheduler[0].end / cfg.train_cfg.max_iters
        assert warmup == pytest.approx(0.03, rel=0.02)
