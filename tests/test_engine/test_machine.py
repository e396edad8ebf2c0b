import torch
from mmengine.config import Config

from sparc_vlm.engine.machine import machines_of, note_machine
from sparc_vlm.engine.versions import versions


def noted(folder, dtype):
    wrapper = dict(type='AutocastOptimWrapper', dtype=dtype)
    note_machine(Config(dict(work_dir=str(folder), optim_wrapper=wrapper)))
    return machines_of(folder)


def test_where_a_run_goes_on_is_noted_once(tmp_path):
    assert machines_of(tmp_path / 'nowhere') == []
    (first,) = noted(tmp_path, 'bfloat16')
    assert first['precision'] == 'bfloat16'
    assert first['versions'] == versions()
    found = torch.accelerator.current_accelerator(check_available=True)
    assert first['device'] == (found.type if found else 'cpu')
    assert noted(tmp_path, 'bfloat16') == [first]
    before, now = noted(tmp_path, None)
    assert before == first
    assert now == {**first, 'precision': 'float32'}


def test_a_damaged_note_is_none(tmp_path):
    (tmp_path / 'trained_on.json').write_text('[{')
    assert machines_of(tmp_path) == []
    assert len(noted(tmp_path, None)) == 1
