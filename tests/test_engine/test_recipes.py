"""Recipes of other OpenMMLab projects run under the runner as they stand."""

import pytest
import torch
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from sparc_vlm.engine.checkpoint import read_checkpoint
from tests.test_engine.tiny import Lines, build, history


@DATASETS.register_module(force=True)
class TinySamples(Dataset):
    METAINFO = {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]}

    @property
    def metainfo(self):
        return self.METAINFO

    def __len__(self):
        return 6

    def __getitem__(self, index):
        images = torch.full((4,), float(index))
        return {'images': images, 'target': images.sum()}


def changes(hook):
    return {
        'train_dataloader': dict(
            _delete_=True,
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='TinySamples'),
            collate_fn=dict(type='default_collate'),
        ),
        'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=4),
        'optim_wrapper': dict(
            _delete_=True,
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.01),
        ),
        'param_scheduler': [dict(type='MultiStepLR', milestones=[2])],
        'default_hooks': dict(
            timer=dict(_delete_=True, type='IterTimerHook'),
            checkpoint=dict(_delete_=True, **hook),
        ),
        'custom_hooks': [dict(type='EMAHook')],
        'model.dropout': 0.0,
        'log_processor.by_epoch': True,
    }


@pytest.mark.parametrize(
    'hook',
    [
        dict(type='CheckpointHook', interval=1),
        dict(type='SafeCheckpointHook', interval=1, by_epoch=True, max_keep=4),
    ],
)
def test_a_recipe_by_epochs_trains_and_resumes(tmp_path, hook):
    whole = build(tmp_path, **changes(hook))
    lines = Lines(whole)
    whole.train()
    assert len(history(whole)) == 12
    assert 'Epoch(train) [4][3/3]' in '\n'.join(lines.lines)
    checkpoint = read_checkpoint(tmp_path / 'epoch_2.pth')
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (2, 6)
    assert checkpoint['meta']['dataset_meta'] == TinySamples.METAINFO
    assert 'ema_state_dict' in checkpoint
    for number in (3, 4):
        (tmp_path / f'epoch_{number}.pth').unlink()
    resumed = build(tmp_path, resume=True, **changes(hook))
    resumed.train()
    assert (resumed.epoch, resumed.iter) == (4, 12)
    assert history(resumed) == history(whole)
