import re

import pytest

from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.errors import UserError
from sparc_vlm.registry import TASKS
from sparc_vlm.study import split_flags, task_config
from tests.test_datasets.made import write_coco, write_karpathy
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


@pytest.mark.parametrize('split', ['train', 'val', None])
def test_a_split_chooses_files_of_coco(tmp_path, split):
    for there in ('train', 'val'):
        write_coco(tmp_path, split=there)
    option = f',split={split}' if split else ''
    for name, kind in (
        ('retrieval', 'captions'),
        ('k_precision', 'captions'),
        ('segmentation', 'instances'),
    ):
        data = task_config(f'{name}:coco:{tmp_path}{option}')['dataset']
        path = f'{tmp_path}/annotations/{kind}_{split or "val"}.json'
        assert data['annotations'] == path
        assert 'split' not in data
    flag = f'segmentation:coco:{tmp_path}{option},candidates=all'
    assert len(TASKS.build(task_config(flag)).source) == 4
    flag = f'attribution:coco:{tmp_path}{option}'
    assert len(TASKS.build(task_config(flag)).source) == 4


def test_options_of_shuffles_and_of_what_is_shuffled(tmp_path):
    path = write_karpathy(tmp_path)
    flag = f'foils:aro-order:{path},split=val,seed=2,batch_size=3'
    config = task_config(flag)
    assert config['batch_size'] == 3
    assert config['dataset']['seed'] == 2
    assert config['dataset']['source']['split'] == 'val'
    with pytest.raises(UserError, match='takes max_word; .* max_words'):
        task_config(f'foils:aro-order:{path},max_word=3')


def test_an_option_that_nobody_takes(tmp_path):
    path = write_karpathy(tmp_path)
    coco = write_coco(tmp_path / 'coco', split='val')
    for flag in (
        f'retrieval:karpathy:{path},splitt=val',
        f'retrieval:coco:{coco},spilt=val',
        f'segmentation:coco:{coco},split=val,imagess=x',
    ):
        with pytest.raises(UserError, match='takes (splitt|spilt|imagess)'):
            task_config(flag)


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


def test_the_page_links_to_every_page_on_tasks():
    docs = ROOT / 'docs'
    page = (docs / 'evaluation.md').read_text()
    others = [path.name for path in docs.glob('evaluation_*.md')]
    assert len(others) > 4
    assert [name for name in others if f']({name})' not in page] == []


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
