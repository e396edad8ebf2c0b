"""Sample captions while training: written, kept, beside those of others."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger

from sparc_vlm.captioning import CaptionSampleHook, LoadedCaptioner
from sparc_vlm.registry import DATASETS
from tests.test_captioning.tiny_captioner import build, captioner_cfg
from tests.test_datasets.made import ListSource


@pytest.fixture(scope='module')
def captioner(tiny_language):
    return build(captioner_cfg(tiny_language))


def run(hook, model, folder, steps=range(6), max_iters=6):
    """A training without any training."""
    runner = SimpleNamespace(
        model=model,
        work_dir=str(folder),
        logger=MMLogger.get_current_instance(),
        max_iters=max_iters,
        iter=0,
    )
    hook.before_train(runner)
    for runner.iter in steps:
        hook.after_train_iter(runner, runner.iter)


def written(folder):
    found = sorted((folder / 'samples').glob('*.json'), key=lambda p: p.stem)
    return {int(p.stem): json.loads(p.read_text()) for p in found}


def test_captions_come_in_intervals_and_at_the_end(captioner, tmp_path, log):
    source = ListSource(texts={1: ['a dog', 'a cat', 'a mat']})
    hook = CaptionSampleHook(source, (1, 4), interval=4, max_new_tokens=5)
    captioner.train()
    run(hook, captioner, tmp_path)
    assert captioner.training
    found = written(tmp_path)
    assert found.keys() == {4, 6}
    sheet = found[4]
    assert sheet['prompt'] == captioner.prompt
    assert [sample['key'] for sample in sheet['samples']] == ['1.png', '4.png']
    assert sheet['samples'][0]['references'] == ['a dog', 'a cat', 'a mat']
    pictures = [source.image(1), source.image(4)]
    expected = LoadedCaptioner(captioner.eval()).caption(
        pictures, max_new_tokens=5
    )
    assert [[s['caption']] for s in sheet['samples']] == expected
    text = next(line for line in log if 'captions at iteration 4' in line)
    assert text.splitlines()[:5] == [
        'captions at iteration 4:',
        '  1.png',
        f'    writes: {expected[0][0] or "(nothing)"}',
        '    others: a dog',
        '    others: a cat',
    ]


def test_broken_and_missing_pictures_are_left_out(captioner, tmp_path, log):
    source = ListSource(count=3, broken=[1])
    hook = CaptionSampleHook(source, (0, 1, 2, 3), interval=1)
    run(hook, captioner, tmp_path, steps=[0])
    keys = [s['key'] for s in written(tmp_path)[1]['samples']]
    assert keys == ['0.png', '2.png']
    assert any('no sample caption: 1.png: made so' in line for line in log)
    nothing = CaptionSampleHook(ListSource(broken=[0]), (0,), interval=1)
    run(nothing, captioner, tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_a_disk_that_takes_nothing_is_said(captioner, tmp_path, log):
    (tmp_path / 'samples').touch()
    hook = CaptionSampleHook(ListSource(), (0,), interval=6)
    run(hook, captioner, tmp_path)
    assert any('6.json is not written: ' in line for line in log)


def test_the_source_may_be_a_config():
    config = dict(type='Scenes', split='val', num_images=3)
    hook = CaptionSampleHook(config)
    assert hook.indices == [0, 1, 2]
    assert type(hook.source) is DATASETS.get('Scenes')
