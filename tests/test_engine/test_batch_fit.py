import math

import pytest
import torch
from mmengine.config import Config
from torch import nn

from sparc_vlm.engine.batch_fit import EncoderSize, fit_batch, model_sizes
from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.optim import autocast
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch

GIB = 2**30


class Encoder(nn.Module):
    max_length = 55

    def __init__(self, width, layers, patch=None):
        super().__init__()
        self.embed_dims = width
        if patch:
            self.patches = nn.Conv2d(3, width, patch, patch)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.Linear(4 * width, width),
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.Linear(4 * width, width),
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)


@MODELS.register_module(force=True)
class PaperSized(nn.Module):
    def __init__(self, width=768, layers=12, tokenizer=None):
        super().__init__()
        self.image_size = 224
        self.vision = Encoder(width, layers, patch=16)
        self.text = Encoder(width, layers)


def recipe(batch_size=None, loaders=1, **model):
    loader = dict(type='TinyLoader', batch_size=batch_size)
    return Config(
        dict(
            model=dict(type='PaperSized', **model),
            train_dataloader=[loader] * loaders if loaders > 1 else loader,
            train_cfg=dict(max_iters=200_000),
            optim_wrapper=dict(dtype='bfloat16', optimizer=dict(lr=9e-4)),
            param_scheduler=[dict(type='CosineAnnealingLR', eta_min=1e-5)],
            auto_batch=dict(global_batch_size=16384),
        )
    )


def test_a_cpu_takes_32_and_the_rate_follows_the_root():
    stated = recipe()
    cfg, lines = fit_batch(stated)
    assert cfg.train_dataloader.batch_size == 32
    factor = math.sqrt(32 / 16384)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(9e-4 * factor)
    assert cfg.param_scheduler[0].eta_min == pytest.approx(1e-5 * factor)
    text = '\n'.join(lines)
    assert 'batch: 32 pairs' in text
    assert 'the recipe states 16384' in text
    assert '31 negatives for each row of the global loss' in text
    assert '6.4 million pairs seen in 200000 updates' in text
    assert 'instead of 3.3 billion' in text
    assert stated.train_dataloader.batch_size is None  # left as it was
    assert stated.optim_wrapper.optimizer.lr == 9e-4


def test_processes_share_the_batch():
    cfg, lines = fit_batch(recipe(), world_size=4)
    assert cfg.train_dataloader.batch_size == 32
    assert 'batch: 128 pairs (32 on each of 4 CPU processes)' in lines[0]
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(
        9e-4 * math.sqrt(128 / 16384)
    )


def test_the_stated_batch_is_kept_if_asked_for():
    cfg, lines = fit_batch(recipe(), world_size=8, keep=True)
    assert cfg.train_dataloader.batch_size == 2048
    assert cfg.optim_wrapper.optimizer.lr == 9e-4
    assert len(lines) == 1
    with pytest.raises(ConfigError, match='by 3 processes'):
        fit_batch(recipe(), world_size=3, keep=True)


def test_a_batch_that_the_user_gave_is_kept():
    cfg, lines = fit_batch(recipe(batch_size=100))
    assert cfg.train_dataloader.batch_size == 100
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(
        9e-4 * math.sqrt(100 / 16384)
    )
    cfg, lines = fit_batch(recipe(batch_size=100), keep=True)
    assert cfg.optim_wrapper.optimizer.lr == 9e-4
    assert any('99 negatives' in line for line in lines)


def test_a_gpu_takes_the_largest_power_of_two_that_fits():
    sizes = {}
    for memory in (8, 16, 80, 140):
        cfg, _ = fit_batch(recipe(), free_bytes=memory * GIB)
        sizes[memory] = cfg.train_dataloader.batch_size
    assert all(size & (size - 1) == 0 for size in sizes.values())
    assert sizes[8] < sizes[16] < sizes[80] <= sizes[140]
    # 64 pairs of ViT-B/16 took 8.6 GB, weights included, in the paper.
    assert sizes[16] == 64
    smaller, _ = fit_batch(recipe(width=192, layers=4), free_bytes=8 * GIB)
    assert smaller.train_dataloader.batch_size > sizes[8]


def test_never_more_than_its_share():
    cfg, lines = fit_batch(recipe(), world_size=256, free_bytes=140 * GIB)
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.optim_wrapper.optimizer.lr == 9e-4
    assert len(lines) == 1
    assert '16384 pairs (64 on each of 256 GPUs)' in lines[0]


def test_several_rounds_share_the_batch_but_not_the_negatives():
    stated = recipe()
    stated.optim_wrapper.accumulative_counts = 16
    cfg, lines = fit_batch(stated, world_size=32, free_bytes=80 * GIB)
    assert cfg.train_dataloader.batch_size == 32
    assert cfg.optim_wrapper.optimizer.lr == 9e-4
    assert '16384 pairs (32 on each of 32 GPUs in 16 rounds)' in lines[0]
    assert '1023 negatives for each row' in lines[1]
    assert 'pairs seen' not in lines[1]
    cfg, _ = fit_batch(stated)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(
        9e-4 * math.sqrt(32 * 16 / 16384)
    )
    with pytest.raises(ConfigError, match='by 3 processes in 16 rounds'):
        fit_batch(stated, world_size=3, keep=True)


def pictures(**changes):
    cfg = recipe(**changes)
    cfg.auto_batch = dict(global_batch_size=64, unit='pictures')
    return cfg


def test_pictures_have_no_negatives_and_rounds_take_their_share_of_them():
    stated = pictures(batch_size=4)
    cfg, lines = fit_batch(stated, world_size=2, free_bytes=80 * GIB)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(
        9e-4 * math.sqrt(8 / 64)
    )
    text = '\n'.join(lines)
    assert 'batch: 8 pictures (4 on each of 2 GPUs)' in text
    assert (
        'meaning: 1.6 million pictures seen in 200000 updates instead of '
        '12.8 million' in text
    )
    assert 'pairs' not in text and 'negatives' not in text
    stated.optim_wrapper.accumulative_counts = 8
    cfg, lines = fit_batch(stated, world_size=2, free_bytes=80 * GIB)
    assert cfg.optim_wrapper.optimizer.lr == 9e-4
    assert '1.6 million pictures seen in 200000 rounds' in '\n'.join(lines)


def test_a_batch_of_pictures_must_be_given():
    with pytest.raises(ConfigError, match='batch_size: set it.*pictures fit'):
        fit_batch(pictures(), free_bytes=80 * GIB)


def test_the_rate_is_scaled_once():
    cfg = pictures(batch_size=4)
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=64)
    with pytest.raises(ConfigError, match='auto_batch scales the learning'):
        fit_batch(cfg)


@pytest.mark.parametrize('free_bytes', [None, 8 * GIB])
def test_with_micro_batches_the_stated_batch_is_taken(free_bytes):
    cfg, lines = fit_batch(recipe(micro_batch=64), free_bytes=free_bytes)
    assert cfg.train_dataloader.batch_size == 16384
    assert cfg.optim_wrapper.optimizer.lr == 9e-4
    assert len(lines) == 1


def test_too_little_memory_is_said():
    with pytest.raises(ConfigError, match=r'0\.5 GiB of free memory'):
        fit_batch(recipe(), free_bytes=GIB // 2)


def test_several_datasets_take_the_same_batch():
    cfg, lines = fit_batch(recipe(loaders=3))
    assert [d.batch_size for d in cfg.train_dataloader] == [32, 32, 32]
    assert any('19.2 million pairs' in line for line in lines)
    cfg.train_dataloader[1].batch_size = 5
    with pytest.raises(ConfigError, match='different batch sizes'):
        fit_batch(cfg)


def test_without_a_stated_batch_nothing_is_touched():
    stated = recipe(batch_size=7)
    stated.pop('auto_batch')
    cfg, lines = fit_batch(stated)
    assert cfg.to_dict() == stated.to_dict()
    assert lines == []


def test_sizes_are_read_off_the_model():
    vision, text = model_sizes(PaperSized())
    assert vision == EncoderSize(196, 12, 768)
    assert text == EncoderSize(55, 12, 768)


def test_checkpointed_layers_cost_less_and_half_costs_half():
    size = EncoderSize(196, 12, 768)
    again = size._replace(checkpointed=True)
    assert again.bytes_per_sample(True) < size.bytes_per_sample(True) / 4
    products = size.bytes_per_sample(False) - size.bytes_per_sample(True)
    assert products == 12 * 18 * 2 * 196 * 768


@pytest.mark.parametrize('half', [True, False])
def test_the_estimate_is_near_what_backward_keeps(half):
    """Counted on the real model: every tensor saved for backward."""
    encoder = dict(embed_dims=256, num_layers=8, num_heads=4)
    model = MODELS.build(
        dict(
            type='ImageTextPretrainer',
            vision=dict(
                type='SparcViT',
                arch={**encoder, 'feedforward_channels': 1024},
            ),
            text=dict(type='TextTransformer', vocab_size=50, **encoder),
            objective=dict(type='SPARC'),
        )
    ).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(pairs):
        held = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = tensor, storage.nbytes()
            return tensor

        ids = torch.zeros(pairs * 55, dtype=torch.long)
        tokens = TokenBatch(ids, torch.full((pairs,), 55))
        images = torch.rand(pairs, 3, 224, 224)
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
            autocast(torch.device('cpu'), torch.bfloat16 if half else None),
        ):
            model(images, tokens, mode='loss')
        return sum(n for place, (_, n) in held.items() if place not in weights)

    measured = (kept(4) - kept(2)) / 2
    estimate = sum(s.bytes_per_sample(half) for s in model_sizes(model))
    assert estimate == pytest.approx(measured, rel=0.15)
