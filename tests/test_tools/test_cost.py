from __future__ import annotations

import json

from tools.cost import main

CONFIGS = ['configs/clip_vittiny_scenes.py', 'configs/sparc_vittiny_scenes.py']
SMALLER = ['--cfg-options', 'model.text.num_layers=1', 'model.embed_dims=32']


def test_counts_prints_and_draws(tmp_path, capsys):
    numbers, picture = tmp_path / 'cost.json', tmp_path / 'new' / 'cost.png'
    arguments = [*CONFIGS, '--batch-size', '8', '--devices', '4']
    arguments += ['--tokens', '6', '--json', str(numbers)]
    table = tmp_path / 'cost.md'
    arguments += ['--plot', str(picture), '--markdown', str(table)]
    assert main([*arguments, *SMALLER]) == 0
    said = capsys.readouterr()
    assert 'Cost of one update' in said.out
    assert 'Peak memory of ours' in said.out
    assert 'SPARC, batch 8' in said.err
    assert table.read_text().startswith('|  | batch | TFLOPs, paper |')
    assert picture.stat().st_size > 10_000
    found = json.loads(numbers.read_text())
    assert found['setting'] == dict(
        devices=4, tokens=6, dtype='bf16', machine='accelerator'
    )
    assert 'torch' in found['versions']
    clip, sparc = found['lines']
    assert (clip['objective'], sparc['objective']) == ('CLIP', 'SPARC')
    assert clip['batch_size'] == 8 and clip['config'] == 'clip_vittiny_scenes'
    assert 1 < sparc['ours']['flops'] / clip['ours']['flops'] < 1.2
    assert clip['one_shot'] == clip['ours']
    assert clip['paper'] is None


def test_mistakes_are_one_sentence(tmp_path, capsys):
    for arguments, said in (
        (['configs/none.py'], 'there is no config configs/none.py'),
        ([CONFIGS[0], '--batch-size', '9'], 'cannot be shared evenly by 256'),
        ([CONFIGS[0], '--tokens', '99'], 'at most 55'),
        ([CONFIGS[0], '--cfg-options', 'model.embed_dim=2'], 'embed_dim'),
        ([CONFIGS[0], '--json', f'{__file__}/x'], 'cannot be written to'),
        ([CONFIGS[0], '--plot', 'x.txt'], 'must end in .png or .pdf'),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
