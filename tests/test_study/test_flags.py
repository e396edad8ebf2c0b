import re

import pytest

from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.errors import UserError
from sparc_vlm.registry import TASKS
from sparc_vlm.study import split_flags, task_config
from tests.test_datasets.made import write_karpathy
from tests.test_study.made import ROOT


def test_a_flag_becomes_a_task(tmp_path):
    path = write_karpathy(tmp_path)
    flag = f'retrieval:karpathy:{path},split=val,batch_size=3,ks=(1, 2)'
    config = task_config(flag)
    assert config['type'] == 'Retrieval'
    assert config['name'] == 'retrieval_karpathy'
    assert config['batch_size'] == 3
    assert config['ks'] == (1, 2)
    assert config['dataset']['split'] == 'val'
    task = TASKS.build(config)
    assert task.batch_size == 3
    assert len(task.source)


def test_scenes_need_no_path():
    flag = 'pointing:scenes:,num_images=3,size=64,name=mine'
    task = TASKS.build(task_config(flag))
    assert task.name == 'mine'
    assert len(task.source) == 3


def test_a_config_stays_as_it_is():
    config = {'type': 'Retrieval', 'dataset': {'type': 'Scenes'}}
    assert task_config(config) == config
    assert task_config(config) is not config


def test_several_flags_with_commas():
    flags = 'a_b:c-d:/x,y,k=1,a:c:', 'a:c:/p'
    assert split_flags(flags) == ['a_b:c-d:/x,y,k=1', 'a:c:', 'a:c:/p']


def test_the_docs_list_every_task_and_kind():
    page = (ROOT / 'docs' / 'evaluation.md').read_text()
    listed = {}
    for row in re.findall(r'^\| `(\w+)` \| (.*?) \| \[', page, re.MULTILINE):
        listed[row[0]] = re.findall(r'`([\w-]+)`', row[1])
    listed['k_precision'] = listed['retrieval']
    assert {task: sorted(kinds) for task, kinds in listed.items()} == {
        task: sorted(kinds) for task, kinds in KINDS.items()
    }


@pytest.mark.parametrize(
    ('flag', 'said'),
    [
        ('retrieval', 'say what to measure on, as TASK:KIND:PATH'),
        ('retrival:scenes:', 'no task retrival; did you mean retrieval'),
        ('retrieval:scene:', 'reads no scene; did you mean scenes'),
        ('retrieval:scenes:/data', 'takes no path'),
        ('retrieval:csv:', 'needs a path'),
        ('retrieval:csv:/not/there', 'nothing at /not/there'),
        ('retrieval:scenes:,num_image=3', 'did you mean num_images'),
    ],
)
def test_mistakes(flag, said):
    with pytest.raises(UserError) as caught:
        task_config(flag)
    assert said in str(caught.value)
