"""A recipe on a small trunk whose weights are in a file, and its data."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from safetensors.torch import save_file

from sparc_vlm.models import MMPretrainVision
from tests.test_datasets.made import tokenizer, write_karpathy
from tests.test_models.test_pretrained import RESNET
from tests.test_models.tiny_models import ARCH, TEXT

SIZE = 32


def trunk_file(folder: Path, seed: int = 0) -> str:
    """Weights of the trunk, statistics included."""
    torch.manual_seed(seed)
    backbone = MMPretrainVision(RESNET).backbone
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    path = folder / f'trunk{seed}.safetensors'
    save_file(backbone.state_dict(), path)
    return str(path)


def recipe(folder: Path, **changes) -> Config:
    """A config of a run that keeps features; dotted changes go on top."""
    if not (folder / 'tokenizer').is_dir():
        tokenizer().save(folder / 'tokenizer')
        write_karpathy(folder)
    words = dict(
        type='CaptionTokenizer', path=str(folder / 'tokenizer'), max_length=9
    )
    pictures = dict(
        type='KarpathyCaptions',
        annotations=str(folder / 'dataset_made.json'),
        images=str(folder / 'images'),
    )
    cfg = Config(
        dict(
            default_scope='sparc_vlm',
            runner_type='SparcRunner',
            work_dir=str(folder / 'run'),
            keep_features=str(folder / 'features'),
            model=dict(
                type='ImageTextPretrainer',
                vision=dict(
                    type='TrunkWithLayers',
                    trunk=dict(
                        type='MMPretrainVision',
                        backbone=RESNET,
                        out_index=0,
                        checkpoint=trunk_file(folder),
                    ),
                    frozen=True,
                    arch=ARCH,
                    img_size=SIZE,
                ),
                text=dict(TEXT, vocab_size=300),
                objective=dict(type='SPARC'),
                embed_dims=8,
                image_size=SIZE,
                tokenizer=words,
            ),
            train_dataloader=dict(
                type='PairLoader',
                batch_size=2,
                num_workers=0,
                dataset=dict(
                    type='PairDataset',
                    source=dict(pictures, split='train'),
                    tokenizer=words,
                    image_size=SIZE,
                ),
            ),
            train_cfg=dict(type='PretrainLoop', max_iters=4, val_interval=100),
            val_dataloader=dict(batch_size=2),
            val_cfg=dict(type='TaskLoop'),
            val_evaluator=[
                dict(type='Retrieval', dataset=dict(pictures, split='val'))
            ],
            optim_wrapper=dict(
                type='AutocastOptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-2),
            ),
            default_hooks=dict(
                timer=dict(type='ThroughputHook'),
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='SafeCheckpointHook', interval=2),
            ),
            log_processor=dict(by_epoch=False, window_size=1),
            randomness=dict(seed=5),
        )
    )
    cfg.merge_from_dict(changes)
    return cfg
