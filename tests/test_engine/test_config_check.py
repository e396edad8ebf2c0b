import argparse
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

from sparc_vlm.engine.config_check import (
    check_config,
    find_config,
    load_config,
)
from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.config_overrides import KeyValues, check_overrides
from sparc_vlm.engine.signatures import arguments
from tests.test_engine.tiny import config


def says(sentence):
    return pytest.raises(ConfigError, match=sentence)


@pytest.mark.parametrize(
    ('option', 'sentence'),
    [
        ({'optim_wraper.dtype': None}, 'did you mean optim_wrapper'),
        ({'optim_wrapper.optimizer.lrr': 1.0}, 'has no lrr; did you mean lr?'),
        ({'optim_wrapper.optimizer.beta': 1}, 'did you mean betas?'),
        ({'train_cfg.max_iter': 5}, 'did you mean max_iters?'),
        ({'model.widht': 5}, 'did you mean width?'),
        ({'param_scheduler.0.ends': 5}, 'did you mean end?'),
        ({'param_scheduler.7.end': 5}, 'a list of 2.* 0 to 1 instead of 7'),
        ({'param_scheduler.x.end': 5}, 'instead of x'),
        ({'default_hooks.loger.interval': 5}, 'did you mean logger?'),
        ({'randomness.sed': 5}, 'did you mean seed?'),
        ({'optim_wrapper.clip_grad.maxnorm': 5}, 'did you mean max_norm?'),
        ({'work_dir.x': 5}, 'is the value .* which has no x'),
        ({'train_cfg.max_iters': 'ten'}, 'wants a whole number such as 8'),
        ({'train_cfg.max_iters': 1.5}, 'wants a whole number such as 8'),
        ({'optim_wrapper.optimizer.lr': 'x'}, 'wants a number such as 0.01'),
        ({'optim_wrapper.optimizer.fused': 1}, 'wants True or False'),
        ({'param_scheduler': 3}, 'wants a list'),
        ({'model': 'vit'}, 'wants a ConfigDict|wants a dict'),
        ({'train_cfg.max_iters': None}, 'wants a whole number'),
    ],
)
def test_an_override_that_fits_nowhere_is_said(tmp_path, option, sentence):
    with says(sentence) as caught:
        check_overrides(config(tmp_path), option)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'option',
    [
        {'train_cfg.max_iters': 5},
        {'train_cfg.val_begin': 5},  # an argument that the config left out
        {'optim_wrapper.optimizer.lr': 1},
        {'optim_wrapper.optimizer.betas': (0.9, 0.98)},
        {'optim_wrapper.clip_grad.norm_type': 1.0},
        {'optim_wrapper.paramwise_cfg.custom_keys.a.lr_mult': 0.5},
        {'optim_wrapper.dtype': None},
        {'param_scheduler.1.end': 7},
        {'default_hooks.ema.type': 'EMAHook', 'default_hooks.ema.momentum': 1},
        {'val_cfg': None, 'load_from': 'x', 'resume': True},
        {'model.poison_at': [1, 2]},
        {'train_dataloader.batch_size': 3},
        {'train_dataloader.resample': True},  # --data may name shards
        {'model._delete_': True, 'model.type': 'CLIP'},
    ],
)
def test_an_override_that_fits_passes(tmp_path, option):
    check_overrides(config(tmp_path), option)


def test_an_override_may_change_the_class_it_speaks_to(tmp_path):
    kind = {'default_hooks.timer.type': 'EMAHook'}
    check_overrides(
        config(tmp_path), {**kind, 'default_hooks.timer.momentum': 0.1}
    )
    with says('has no momentum'):
        check_overrides(
            config(tmp_path), {'default_hooks.timer.momentum': 0.1}
        )


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'model.type': 'TinyModl'}, 'model called TinyModl; did you mean'),
        ({'train_dataloader.type': 'X'}, 'no data loader called X'),
        ({'model.depth': 3}, 'TinyModel takes no depth'),
        ({'default_hooks.timer.windw': 3}, 'did you mean window?'),
        ({'optim_wrapper.optimizer.lrr': 3}, 'AdamW takes no lrr'),
        ({'param_scheduler.0.strat_factor': 3}, 'mean start_factor?'),
        ({'optim_wrapper': None}, 'the config has no optim_wrapper'),
        ({'load_from': '/nowhere/x.pth'}, 'load_from: there is no /nowhere'),
        ({'train_cfg.max_iters': 2}, 'begins at 3 and the run ends at 2'),
        ({'train_cfg.max_iters': 2}, r'begin=N with N below 2, or train'),
        (
            {'param_scheduler.0.end': 1, 'param_scheduler.1.begin': 1},
            'of one update leaves the rate at 0.1 of itself for good',
        ),
        ({'optim_wrapper.optimizer.lr': -1}, 'AdamW: Invalid learning rate'),
        ({'optim_wrapper.optimizer.betas': 3}, 'optimizer: AdamW: '),
        ({'log_level': 'NOISE'}, 'no level NOISE; known are: CRITICAL'),
        ({'log_level': 'warnin'}, 'did you mean WARNING?'),
        ({'compile': True}, 'PretrainLoop trains without torch.compile'),
        ({'compile': {'mode': 'default'}}, 'so remove the field'),
        ({'val_evaluator': [dict(type='TinyTsk')]}, 'zero-shot task called'),
        ({'param_scheduler.0.by_epoch': True}, r'0: LinearLR counts epochs'),
        ({'val_cfg.type': 'TaskLoop'}, 'val_cfg without val_dataloader and'),
        ({'randomness.sed': 3}, 'randomness has no sed; did you mean seed?'),
        ({'env_cfg': dict(mp_cgf=1)}, 'did you mean mp_cfg?'),
    ],
)
def test_a_config_that_cannot_work_is_said(tmp_path, changes, sentence):
    with says(sentence) as caught:
        check_config(config(tmp_path, **changes))
    assert '\n' not in str(caught.value)


def test_a_config_that_works_passes(tmp_path):
    cfg = config(tmp_path)
    before = cfg.pretty_text
    check_config(cfg)
    assert cfg.pretty_text == before
    hook = dict(type='EMAHook', priority=3, update_buffers=True)
    several = [dict(type='TinyLoader'), dict(type='TinyLoader', seed=2)]
    cfg = config(tmp_path, custom_hooks=[hook], train_dataloader=several)
    check_config(cfg)
    # It moves after validations, whatever it counts.
    waits = dict(type='ReduceOnPlateauLR', monitor='tiny/weight')
    check_config(config(tmp_path, param_scheduler=[waits]))


def test_what_a_hook_makes_of_its_arguments_is_its_own(tmp_path):
    # mmengine's hook knows this name, and no registry does.
    profiler = dict(type='ProfilerHook', on_trace_ready=dict(type='log_trace'))
    check_config(config(tmp_path, custom_hooks=[profiler]))
    named = dict(default_hooks=dict(profiler=profiler))
    check_config(config(tmp_path, **named))
    told = dict(project='a', config=dict(type='sparc'))
    wandb = dict(type='WandbVisBackend', init_kwargs=told)
    seen = dict(type='Visualizer', vis_backends=[wandb])
    check_config(config(tmp_path, visualizer=seen))
    wandb['type'] = 'WandVisBackend'
    with says('no vis_backend called WandVisBackend; did you mean'):
        check_config(config(tmp_path, visualizer=seen))
    maps = dict(type='AlignmentMapHook', dataset=dict(type='Scnes'))
    with says('no dataset called Scnes; did you mean Scenes?'):
        check_config(config(tmp_path, custom_hooks=[maps]))
    with says('no hook called ProfilerHok; did you mean ProfilerHook?'):
        check_config(config(tmp_path, custom_hooks=[dict(type='ProfilerHok')]))


def test_a_config_of_mmdetection_passes_and_is_checked():
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='RetinaNet',
                backbone=dict(type='ResNet', depth=50),
                neck=dict(
                    type='FPN',
                    in_channels=[256, 512, 1024, 2048],
                    out_channels=256,
                    num_outs=5,
                ),
                test_cfg=dict(nms=dict(type='nms', iou_threshold=0.5)),
            ),
        )
    )
    cfg.model.bbox_head = dict(
        type='DETRHead',
        num_classes=3,
        # The head takes this out before it builds the loss.
        loss_cls=dict(type='CrossEntropyLoss', bg_cls_weight=0.1),
    )
    check_config(cfg)
    cfg.model.nek = 3
    with says('RetinaNet takes no nek; did you mean neck?'):
        check_config(cfg)
    cfg.model = dict(type='RetinaNett')
    with says('no model called RetinaNett; did you mean RetinaNet?'):
        check_config(cfg)


def test_folders_of_pictures_are_looked_for_as_mmpretrain_names_them():
    data = dict(type='ImageNet', data_root='.', data_prefix='setup.py')
    loader = dict(dataset=data)
    cfg = Config(dict(default_scope='mmpretrain', test_dataloader=loader))
    _check_data_alone(cfg)
    for wrong in ('nowhere', dict(img_path='nowhere')):
        cfg.test_dataloader.dataset.data_prefix = wrong
        with says('data_prefix: there is no nowhere'):
            _check_data_alone(cfg)


def _check_data_alone(cfg):
    parts = dict(test_cfg={}, test_evaluator=[], model=dict(type='TinyModel'))
    check_config(Config(dict(cfg, **parts)))


def test_what_stands_inside_of_our_own_is_checked():
    cfg = Config(
        dict(
            model=dict(
                type='ImageTextPretrainer',
                vision=dict(type='SparcViT', patchsize=16),
            )
        )
    )
    with says('model.vision: SparcViT takes no patchsize; .* patch_size?'):
        check_config(cfg)
    cfg.model.vision = dict(type='SparcVit')
    with says('model.vision: .* did you mean SparcViT?'):
        check_config(cfg)


@pytest.mark.parametrize('name', ['CLIP', 'FILIP', 'GLoRIA', 'PACL', 'SigLIP'])
def test_masks_that_nobody_looks_at_are_said(tmp_path, name):
    pairs = dict(type='PairDataset', patch_masks='boxes', patch_size=8)
    masked = dict(type='PairLoader', dataset=pairs)
    cfg = config(tmp_path, train_dataloader=dict(_delete_=True, **masked))
    cfg.model = dict(type='ImageTextPretrainer', objective=dict(type=name))
    with says(f"patch_masks='boxes': {name} takes no masks, so leave it out"):
        check_config(cfg)
    cfg.train_dataloader = [cfg.train_dataloader, masked]
    with says('takes no masks'):
        check_config(cfg)
    for taker in ('SPARC', 'MGCA'):
        cfg.model.objective = dict(type=taker)
        check_config(cfg)
    cfg.model.objective = dict(type=name)
    for loader in cfg.train_dataloader:
        loader['dataset'] = dict(type='PairDataset', patch_masks=None)
    check_config(cfg)


def test_recipes_do_not_try_out_kernels():
    """Or a resumed run might take others, with other roundings."""
    folder = Path(__file__).resolve().parents[2] / 'configs'
    names = sorted(folder.glob('*.py'))
    assert names
    for name in names:
        assert load_config(name).env_cfg.cudnn_benchmark is False


def test_a_config_is_found_or_the_nearest_is_named(tmp_path):
    (tmp_path / 'sparc_vitb16.py').write_text('a = 1\n')
    (tmp_path / 'clip_vitb16.py').write_text('a = 1\n')
    assert find_config(tmp_path / 'sparc_vitb16.py').is_file()
    with says('did you mean sparc_vitb16.py?'):
        find_config(tmp_path / 'sparc_vit_b16.py')
    with says('there is no folder'):
        find_config(tmp_path / 'x' / 'y.py')
    with says('did you mean .*clip_vitb16.py?'):
        find_config(tmp_path / 'clip_vitb16')
    with says('is a folder, and a config is a file; known are: .*clip_vitb16'):
        find_config(tmp_path)


@pytest.mark.parametrize('name', ['sparc_vitb16', 'sparc_vitb16.py'])
def test_the_folder_of_recipes_is_named(name, tmp_path, monkeypatch):
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'sparc_vitb16.py').write_text('a = 1\n')
    monkeypatch.chdir(tmp_path)
    with says(r'did you mean configs.sparc_vitb16\.py'):
        find_config(name)


@pytest.mark.parametrize('text', ['train_cfg.max_iters', 'a=1 b'])
def test_an_override_without_a_value_is_said(text, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(['--cfg-options', *text.split()])
    assert caught.value.code == 2
    key = text.split()[-1]
    assert f"--cfg-options: '{key}' is no KEY=VALUE" in capsys.readouterr().err
    found = parser.parse_args(['--cfg-options', 'a.b=1', 'c=[2,3]'])
    assert found.cfg_options == {'a.b': 1, 'c': [2, 3]}


def test_a_config_is_loaded_with_checked_overrides(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text("model = dict(type='TinyModel', width=3)\n")
    assert load_config(path, {'model.width': 5}).model.width == 5
    with says('did you mean width'):
        load_config(path, {'model.with': 5})
    path.write_text('model = dict(\n')
    with says('a.py is no valid config: SyntaxError'):
        load_config(path)
    path.write_text("_base_ = ['./b.py']\n")
    with says('a _base_ is missing'):
        load_config(path)
    (tmp_path / 'README.md').write_text('# Read me')
    with says('README.md is no config: those end in .py or .json'):
        load_config(tmp_path / 'README.md')


def test_a_config_takes_variables_of_the_environment(tmp_path, monkeypatch):
    path = tmp_path / 'a.py'
    path.write_text("root = '{{$PICTURES:}}'\nfiles = [f'{root}/a']\n")
    monkeypatch.setenv('PICTURES', '/data/my pictures')
    assert load_config(path).files == ['/data/my pictures/a']
    monkeypatch.delenv('PICTURES')
    with says('a.py takes PICTURES from the environment, .* export PICTURES'):
        load_config(path)


class Base:
    def __init__(self, a, b=1):
        self.both = a, b


class PassesUp(Base):
    def __init__(self, c, **kwargs):
        super().__init__(**kwargs)
        self.c = c


class Keeps(Base):
    def __init__(self, c, **kwargs):
        super().__init__(c)
        self.rest = kwargs


class LooksFirst(Base):
    def __init__(self, **kwargs):
        kwargs.pop('anything', None)
        super().__init__(**kwargs)


class PassesUpTheOldWay(Base):
    def __init__(self, c, **kwargs):
        super(PassesUpTheOldWay, self).__init__(**kwargs)  # noqa: UP008
        self.c = c


class PassesFurtherUp(PassesUp):
    def __init__(self, **kwargs):
        super(PassesUp, self).__init__(**kwargs)


class Inherits(PassesUp):
    pass


def test_arguments_are_followed_upwards_only_where_they_go_there():
    assert set(arguments(PassesUp)) == {'a', 'b', 'c'}
    assert set(arguments(PassesUpTheOldWay)) == {'a', 'b', 'c'}
    assert set(arguments(Inherits)) == {'a', 'b', 'c'}
    assert arguments(PassesFurtherUp) is None
    assert arguments(Keeps) is None
    assert arguments(LooksFirst) is None
    assert set(arguments(says)) == {'sentence'}
    assert arguments(ConfigDict) is None


def test_the_nearest_name_is_found_whatever_its_case():
    assert nearest('sparc', ['SPARC', 'CLIP']) == '; did you mean SPARC?'
    assert nearest('zzz', ['b', 'a']) == '; known are: a, b'
    assert nearest('zzz', []) == ''


OF_MMDETECTION = (
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'retinanet/retinanet_r50_fpn_1x_coco.py',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'albu_example/mask-rcnn_r50_fpn_albu-1x_coco.py',
)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """The files that MMDetection's configs name, with nothing in them."""
    folder = tmp_path_factory.mktemp('coco')
    (folder / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (folder / split).mkdir()
        (folder / 'annotations' / f'instances_{split}.json').write_text('{}')
    return folder


def of_mmdetection(name, folder, *changed):
    """One of MMDetection's own configs, with data in a folder."""
    path = folder / 'config.py'
    path.write_text(f"_base_ = 'mmdet::{name}'\n" + '\n'.join(changed))
    cfg = load_config(path)
    data = f'{folder}/'
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = data
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{data}annotations/instances_val2017.json'
    return cfg


@pytest.mark.parametrize('name', OF_MMDETECTION)
def test_recipes_of_mmdetection_pass(name, coco):
    check_config(of_mmdetection(name, coco))


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        (
            "backbone=dict(_delete_=True, type='sparc_vlm.SparcViT', patch=8)",
            'model.backbone: SparcViT takes no patch; ',
        ),
        (
            'backbone=dict(dept=50)',
            'model.backbone: ResNet takes no dept; did you mean depth?',
        ),
        (
            "neck=dict(type='FPNN')",
            'model.neck: there is no model called FPNN; did you mean FPN?',
        ),
        (
            'bbox_head=dict(num_clases=3)',
            'RetinaHead takes no num_clases; did you mean num_classes?',
        ),
    ],
)
def test_what_is_wrong_inside_of_a_detector_is_said(coco, changed, sentence):
    cfg = of_mmdetection(OF_MMDETECTION[2], coco, f'model = dict({changed})')
    with says(sentence.replace('?', r'\?')):
        check_config(cfg)


def test_a_wrong_transform_of_a_detectors_data_is_said(coco):
    cfg = of_mmdetection(OF_MMDETECTION[0], coco)
    cfg.train_dataloader.dataset.pipeline[2].scal = (64, 64)
    with says('pipeline.2: Resize takes no scal; did you mean scale?'):
        check_config(cfg)


@pytest.mark.parametrize(
    ('place', 'value', 'sentence'),
    [
        (
            'train_dataloader.dataset.ann_file',
            'annotations/x.json',
            'ann_file',
        ),
        ('val_dataloader.dataset.data_prefix.img', 'val', 'did you mean val2'),
        ('val_evaluator.ann_file', 'nowhere.json', 'no nowhere.json: put the'),
    ],
)
def test_files_of_a_detectors_data_must_be_there(coco, place, value, sentence):
    cfg = of_mmdetection(OF_MMDETECTION[0], coco)
    cfg.merge_from_dict({place: value})
    with says(sentence) as caught:
        check_config(cfg)
    assert str(caught.value).startswith(place.rpartition('.')[0][:14])
    assert '\n' not in str(caught.value)
