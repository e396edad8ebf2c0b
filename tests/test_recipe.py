"""What is put into a config before it is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from sparc_vlm import recipe as recipe_module
from sparc_vlm.datasets import CaptionTokenizer, write_shards
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.engine import ConfigError, load_config
from sparc_vlm.engine.config_overrides import check_overrides
from sparc_vlm.recipe import (
    fit_to_machine,
    use_data,
    use_seed,
    use_tokenizer,
)
from sparc_vlm.registry import LOADERS
from tests.test_datasets.made import (
    WORDS,
    caption,
    tokenizer,
    write_csv,
    write_images,
    write_karpathy,
)

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def recipe(**changes):
    drawn = dict(type='Scenes', split='val', size=32, num_images=9)
    cfg = Config(
        dict(
            tokenizer=dict(type='CaptionTokenizer', path=None, max_length=55),
            tokenizer_training=dict(vocab_size=300, max_captions=40),
            model=dict(text=dict(vocab_size=32000)),
            train_dataloader=dict(
                type='PairLoader',
                batch_size=6,
                num_workers=1,
                prefetch=3,
                dataset=dict(
                    type='PairDataset',
                    source=dict(type='Scenes', size=32, num_images=77),
                    image_size=32,
                    crop_scale=(0.6, 1.0),
                    flip=True,
                ),
            ),
            val_dataloader=dict(batch_size=4),
            val_cfg=dict(type='TaskLoop'),
            val_evaluator=[
                dict(type='Retrieval', dataset=drawn),
                dict(type='Segmentation', dataset=drawn),
            ],
            custom_hooks=[
                dict(type='AlignmentMapHook', dataset=drawn, indices=[1]),
                dict(type='EMAHook'),
            ],
        )
    )
    cfg.merge_from_dict(changes)
    return cfg


def table(folder, count=12, val=False):
    names = [f'{i}.png' for i in range(count)]
    write_images(folder, names)
    rows = [[name, caption(i)] for i, name in enumerate(names)]
    for split in ('train', 'val') if val else ('train',):
        write_csv(folder / f'{split}.csv', [['path', 'caption'], *rows], ',')
    return f'csv:{folder / "train.csv"}'


def test_data_take_the_place_of_the_configs(tmp_path):
    cfg = recipe()
    flag = f'karpathy:{write_karpathy(tmp_path)}'
    lines = use_data(cfg, [flag])
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.num_workers, loader.prefetch) == (
        6,
        1,
        3,
    )
    pairs = loader.dataset
    assert pairs.image_size == 32
    assert pairs.crop_scale == (0.6, 1.0)
    assert pairs.flip
    assert pairs.source.type == 'KarpathyCaptions'
    assert pairs.source.split == 'train'
    assert [task.type for task in cfg.val_evaluator] == ['Retrieval']
    assert cfg.val_evaluator[0].dataset.split == 'val'
    maps, other = cfg.custom_hooks
    assert maps.dataset.split == 'val'
    assert maps.indices == [1]
    assert other == dict(type='EMAHook')
    assert lines[:2] == [
        f'training data: {flag}',
        'held-out data: KarpathyCaptions',
    ]
    assert 'segmentation is left out' in lines[2]


def test_nothing_is_validated_without_held_out_pairs(tmp_path):
    cfg = recipe()
    lines = use_data(cfg, [table(tmp_path)])
    assert cfg.val_cfg is cfg.val_evaluator is cfg.val_dataloader is None
    assert cfg.custom_hooks == [dict(type='EMAHook')]
    assert 'nothing is validated' in lines[-1]


def test_drawn_scenes_stay_as_the_config_sets_them():
    cfg = recipe()
    before = cfg.to_dict()
    use_data(cfg, ['scenes'])
    for field in ('val_evaluator', 'custom_hooks'):
        assert cfg.to_dict()[field] == before[field]
    assert cfg.train_dataloader.dataset.source.num_images == 77


def test_scenes_beside_photographs_have_the_size_of_the_recipe(tmp_path):
    cfg = recipe()
    use_data(cfg, [f'karpathy:{write_karpathy(tmp_path)}'])
    use_data(cfg, ['scenes'])
    assert cfg.train_dataloader.dataset.source.size == 32
    assert cfg.val_evaluator[0].dataset.size == 32


def test_several_flags_make_several_loaders(tmp_path):
    flags = []
    for place, val in (('a', False), ('b', True)):
        (tmp_path / place).mkdir()
        flags.append(table(tmp_path / place, val=val))
    cfg = recipe()
    use_data(cfg, flags)
    assert len(cfg.train_dataloader) == 2
    paths = [one.dataset.source.path for one in cfg.train_dataloader]
    assert [path.split('/')[-2] for path in paths] == ['a', 'b']
    assert {one.batch_size for one in cfg.train_dataloader} == {6}
    # from the first that has any
    assert cfg.val_evaluator[0].dataset.path.endswith('b/val.csv')


def test_shards_get_the_loading_of_the_recipe(tmp_path):
    write_shards(Scenes(size=32, num_images=8), tmp_path, per_shard=4)
    cfg = recipe()
    use_data(cfg, [f'shards:{tmp_path}'])
    use_tokenizer(cfg, tmp_path / 'run', lambda line: None)
    loader = LOADERS.build(cfg.train_dataloader)
    assert (loader.batch_size, loader.num_workers) == (6, 1)
    images = next(iter(loader))['images']
    assert images.shape == (6, 3, 32, 32)
    assert 'vocab_size' in cfg.model.text


def test_what_the_recipe_says_of_loading_holds_for_other_data(tmp_path):
    loading = dict(shuffle=False, group=3, prefetch=5)
    cfg = recipe(train_dataloader=loading)
    use_data(cfg, [table(tmp_path)])
    assert {key: cfg.train_dataloader[key] for key in loading} == loading
    write_shards(Scenes(size=32, num_images=8), tmp_path, per_shard=4)
    # As from --cfg-options, which are merged before the data are known.
    more = dict(resample=True, buffer_size=77)
    check_overrides(
        cfg, {f'train_dataloader.{key}': more[key] for key in more}
    )
    cfg = recipe(train_dataloader={**loading, **more})
    use_data(cfg, [f'shards:{tmp_path}'])
    loader = cfg.train_dataloader
    assert 'group' not in loader and loader.shuffle is False
    assert (loader.resample, loader.buffer_size) == (True, 77)


def test_masks_of_words_are_asked_of_new_data_too(tmp_path):
    masks = dict(patch_masks='boxes', patch_size=8)
    cfg = recipe(train_dataloader=dict(dataset=masks))
    flag = f'karpathy:{write_karpathy(tmp_path)}'
    use_data(cfg, [flag])
    use_tokenizer(cfg, tmp_path / 'run', lambda line: None)
    with pytest.raises(ValueError, match='KarpathyCaptions has no boxes'):
        LOADERS.build(cfg.train_dataloader)
    folder = tmp_path / 'shards'
    write_shards(Scenes(size=32, num_images=8), folder, per_shard=4)
    with pytest.raises(ConfigError, match='shards hold captions only'):
        use_data(cfg, [f'shards:{folder}'])


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match='must be one of scenes, coco'):
        use_data(recipe(), ['coca:/x'])


def test_a_tokenizer_is_trained_and_told_to_all(tmp_path):
    cfg = recipe()
    said = []
    use_tokenizer(cfg, tmp_path, said.append)
    folder = tmp_path / 'tokenizer'
    size = CaptionTokenizer(folder).vocab_size
    assert size <= 300
    assert cfg.model.text.vocab_size == size
    assert cfg.model.tokenizer.path == str(folder)
    assert cfg.train_dataloader.dataset.tokenizer.path == str(folder)
    assert said[1:] == [
        'training a tokenizer of at most 300 tokens on 40 captions',
        f'tokenizer: {folder}, {size} tokens',
    ]


def test_it_is_said_before_it_is_done(tmp_path):
    def say(line):
        if line.startswith('training'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use_tokenizer(recipe(), tmp_path, say)
    assert not (tmp_path / 'tokenizer').exists()


@pytest.mark.parametrize('most', [10, 11])
def test_captions_are_shared_out_between_the_data_sets(tmp_path, most):
    flags = []
    for place in ('a', 'b'):
        (tmp_path / place).mkdir()
        flags.append(table(tmp_path / place))
    cfg = recipe(tokenizer_training=dict(max_captions=most))
    use_data(cfg, flags)
    said = []
    use_tokenizer(cfg, tmp_path, said.append)
    assert said[1].endswith('on 10 captions')


def test_only_a_resumed_run_takes_the_tokenizer_that_is_there(tmp_path):
    tokenizer().save(tmp_path / 'tokenizer')
    size = tokenizer().vocab_size
    cfg = recipe(resume=True)
    use_tokenizer(cfg, tmp_path, lambda line: None)
    assert cfg.model.text.vocab_size == size
    said = []
    use_tokenizer(recipe(), tmp_path, said.append)
    assert 'training a tokenizer' in said[1]
    trained = CaptionTokenizer(tmp_path / 'tokenizer')
    assert trained.encode(WORDS[9]) != tokenizer().encode(WORDS[9])


def test_a_tokenizer_of_the_users_is_taken(tmp_path):
    tokenizer().save(tmp_path / 'mine')
    cfg = recipe(tokenizer=dict(path=str(tmp_path / 'mine')))
    said = []
    use_tokenizer(cfg, tmp_path / 'run', said.append)
    assert len(said) == 1
    assert not (tmp_path / 'run').exists()
    assert cfg.model.text.vocab_size == tokenizer().vocab_size


@pytest.mark.parametrize(
    ('kind', 'where'),
    [('CaptionTokenizer', ''), ('HuggingFaceTokenizer', ' or on the hub')],
)
def test_a_tokenizer_that_is_not_there_is_said(tmp_path, kind, where):
    path = tmp_path / 'nowhere'
    cfg = recipe(tokenizer=dict(type=kind, path=str(path)))
    with pytest.raises(ConfigError) as caught:
        use_tokenizer(cfg, tmp_path, lambda line: None)
    said = str(caught.value)
    assert said.startswith(
        f'tokenizer.path: there is no tokenizer at {path}{where}: leave'
    )
    assert '\n' not in said


def test_the_batch_of_several_loaders_is_fitted(tmp_path):
    cfg = recipe(
        auto_batch=dict(global_batch_size=128),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1.0)),
        train_cfg=dict(max_iters=10),
    )
    cfg.train_dataloader.batch_size = None
    flags = []
    for place in ('a', 'b'):
        (tmp_path / place).mkdir()
        flags.append(table(tmp_path / place))
    use_data(cfg, flags)
    lines = fit_to_machine(cfg)
    sizes = {loader.batch_size for loader in cfg.train_dataloader}
    assert sizes == {32}
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.5)
    assert lines[0].startswith('batch: 32 pairs')


def test_seed_of_the_run_is_the_seed_of_the_data():
    cfg = Config(
        dict(
            randomness=dict(seed=3),
            train_dataloader=[dict(type='PairLoader'), dict(seed=7)],
        )
    )
    use_seed(cfg)
    assert [loader['seed'] for loader in cfg.train_dataloader] == [3, 7]


def test_held_out_data_may_come_from_elsewhere(tmp_path):
    cfg = load_config(CONFIGS / 'sparc_vittiny_scenes.py')
    table = tmp_path / 'held.csv'
    table.write_text('image,caption\na.png,a dog\n')
    lines = use_data(cfg, [], f'csv:{table}')
    assert cfg.train_dataloader.dataset.source.type == 'Scenes'
    assert cfg.val_evaluator[0].dataset.path == str(table)
    assert 'held-out data: CsvCaptions' in lines


def test_a_lost_tokenizer_stops_a_resumed_run(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_module, '_has_checkpoint', lambda _: True)
    cfg = load_config(CONFIGS / 'sparc_vittiny_scenes.py')
    cfg.resume = True
    with pytest.raises(ConfigError, match='tokenizer is gone'):
        use_tokenizer(cfg, tmp_path, print)


def test_loaded_weights_keep_their_tokenizer(tmp_path):
    cfg = load_config(CONFIGS / 'sparc_vittiny_scenes.py')
    kept = tmp_path / 'before' / 'tokenizer'
    CaptionTokenizer.train(['a red dog', 'a dog'], 50).save(kept)
    (kept.parent / 'iter_5.pth').touch()
    cfg.load_from = str(kept.parent / 'iter_5.pth')
    use_tokenizer(cfg, tmp_path / 'now', lambda line: None)
    assert cfg.tokenizer.path == str(kept)
