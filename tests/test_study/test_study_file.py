import pytest

from sparc_vlm.engine import ConfigError
from sparc_vlm.errors import UserError
from sparc_vlm.study import (
    build_tasks,
    check_units,
    choose,
    open_pictures,
    read_study,
    tasks_by_arm,
)
from sparc_vlm.study.plan import filled
from tests.test_study.made import ROOT, STUDY, read_whole, write_study


def read(folder, more=''):
    return read_whole(write_study(folder, STUDY + more), folder / 'work')


def test_what_a_study_says(tmp_path):
    study = read(
        tmp_path,
        'steps = 90\nseeds = [4, 7]\n'
        "options = {'optim_wrapper': dict(optimizer=dict(lr=0.1))}\n"
        "arms[1]['options'] = {'model.objective.threshold': 0.5}\n"
        "arms[1]['value'] = 0.5\n"
        "baseline = 'SPARC'\n",
    )
    clip, sparc = study.arms
    # An arm's own seeds go before the study's.
    assert clip.seeds == (0, 1)
    assert sparc.seeds == (4, 7)
    assert sparc.options == {
        'train_cfg.max_iters': 90,
        'train_cfg.val_interval': 30,
        'param_scheduler.0.end': 9,
        'param_scheduler.1.begin': 9,
        'optim_wrapper.optimizer.lr': 0.1,
        'model.objective.threshold': 0.5,
    }
    assert study.baseline == 'SPARC'
    assert study.title == 'Colours'
    run = sparc.run(7, tmp_path, ROOT)
    assert run.folder == tmp_path / 'sparc' / 'seed7'
    assert run.options['randomness.seed'] == 7
    assert [(arm.name, seed) for arm, seed in study.units] == [
        ('CLIP', 0),
        ('SPARC', 4),
        ('CLIP', 1),
        ('SPARC', 7),
    ]


def test_data_of_an_arm_go_before_the_studys(tmp_path):
    for name in ('a', 'b'):
        rows = 'path,caption\nx.png,a cat\n'
        (tmp_path / f'{name}.csv').write_text(rows)
    study = read(
        tmp_path,
        f"data = 'csv:{tmp_path}/a.csv'\nval_data = 'csv:{tmp_path}/b.csv'\n"
        f"arms[0]['data'] = ['csv:{tmp_path}/b.csv']\n",
    )
    clip, sparc = (arm.flags for arm in study.arms)
    assert clip[:2] == ('--data', f'csv:{tmp_path}/b.csv')
    assert sparc[:2] == ('--data', f'csv:{tmp_path}/a.csv')
    assert sparc[2:] == ('--val-data', f'csv:{tmp_path}/b.csv')


def test_the_seed_stands_in_values_of_options(tmp_path):
    """Such as where what was pretrained with it is; looked for at once."""
    for seed in (0, 1):
        (tmp_path / f'seed{seed}.pth').touch()
    more = (
        f"arms[0]['options'] = dict(load_from='{tmp_path}/seed{{seed}}.pth')\n"
    )
    study = read(tmp_path, more)
    for seed, command in zip((0, 1), commands(study, tmp_path), strict=True):
        assert f'load_from={tmp_path}/seed{seed}.pth' in command
    (tmp_path / 'seed1.pth').unlink()
    with pytest.raises(UserError, match=r'arm CLIP: .*seed1\.pth'):
        read(tmp_path, more)


def commands(study, folder):
    """Those of the first arm's trainings."""
    told = []
    for seed in study.arms[0].seeds:
        run = study.arms[0].run(seed, folder / 'work', ROOT)
        run.launch = lambda command, place: told.append(command) or 1
        with pytest.raises(UserError, match='code 1'):
            run.train()
    return told


def test_texts_anywhere_in_a_value_are_filled():
    given = ['a{seed}', ('{seed}{seed}', 4), None, '{other}']
    assert filled(given, 7) == ['a7', ('77', 4), None, '{other}']


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        ('seed = 3', 'unknown seed; did you mean seeds'),
        ('seeds = 2.0', 'seeds is a whole number or a list, got 2.0'),
        ("arms[0]['seeds'] = True", 'arm CLIP: seeds is a whole number'),
        ("steps = '90'", "steps is a whole number, got '90'"),
        ('steps = 0', 'arm CLIP: steps must be at least 1, got 0'),
        ("arms = dict(name='a')", 'arms is a list'),
        ("arms = ['CLIP']", 'an arm has no name: CLIP'),
        ("arms[0]['name'] = 3", 'arm 3: name is a text'),
        ("arms[0]['name'] = '...'", 'its folder is named after it'),
        ("arms[0]['value'] = 'x'", 'arm CLIP: value is a number'),
        ("options = ['a=1']", 'options is a dict'),
        ("options = {'randomness.seed': 1}", 'seeds has them'),
        ("options = {'work_dir': 'x'}", '--work-dir of the study has it'),
        ('tasks = [3]', 'a task is a text or a dict: 3'),
        ('pictures = [1]', 'pictures is a dict'),
        ('pictures = dict(indices=[0])', 'pictures needs a dataset'),
        (
            "pictures = dict(dataset='scenes:', index=[0])",
            'pictures: unknown index; did you mean indices',
        ),
        ('arms = []', 'lists no arms: name at least one'),
        ('tasks = []', 'lists no tasks'),
        ("baseline = 'SPARK'", 'no arm SPARK; did you mean SPARC'),
        (
            "pictures = dict(dataset='scenes:', arms=['no'])",
            'there is no arm no',
        ),
        ("arms[0]['step'] = 1", 'arm CLIP: unknown step; did you mean steps'),
        ("arms[1]['name'] = 'CLIP'", 'two arms are called CLIP'),
        ("arms[1]['name'] = 'clip'", 'two arms are called'),
        ('arms = [dict(config="x")]', 'an arm has no name'),
        ("arms = [dict(name='a')]", 'arm a needs a config or a checkpoint'),
        ("arms[0]['config'] = 'configs/clip_vit.py'", 'no config'),
        ("arms[0]['seeds'] = 0", 'seeds must be a number'),
        ("arms[0]['seeds'] = [1, 1]", 'different numbers'),
        ("arms[0]['options'] = {'model.objektive': 1}", 'arm CLIP: '),
        ("options = {'custom_hooks': [dict(type='X')]}", 'write a config'),
        ("arms[0]['checkpoint'] = 'x'", 'takes no config and no seeds'),
        ("arms = [dict(name='a', checkpoint='no/where')]", 'no model at'),
        ("tasks = ['retrival:scenes:']", 'did you mean retrieval'),
        ("arms[0]['tasks'] = ['retrieval']", 'tasks is a dict of dicts'),
        ("arms[0]['tasks'] = dict(retrieval=3)", 'tasks is a dict of dicts'),
        (
            "arms[0]['tasks'] = dict(retrival={})",
            'arm CLIP: the study has no task retrival; did you mean retrieval',
        ),
        (
            "arms[0]['tasks'] = dict(pointing=dict(name='other'))",
            'arm CLIP: name of the task pointing stays',
        ),
        (
            "arms[0]['tasks'] = dict(pointing=None, retrieval=None)",
            'arm CLIP has no task left',
        ),
        (
            "arms[0]['tasks'] = dict(pointing=dict(type=dict(a=1)))",
            'arm CLIP: type of the task pointing stays',
        ),
        (
            "tasks[0]['batch_size'] = 3\n"
            "arms[0]['tasks'] = dict(retrieval=dict(batch_size=dict(a=1)))",
            'arm CLIP: the task retrieval cannot be changed by',
        ),
    ],
)
def test_mistakes_are_said_before_any_work(tmp_path, more, said):
    with pytest.raises(UserError) as caught:
        read(tmp_path, more)
    assert said in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        ("tasks[1]['type'] = 'Retrieval'", 'two tasks have the same name'),
        (
            "tasks[0]['type'] = 'Retrieved'",
            'a task cannot be built: .*Retrieved',
        ),
        ("tasks[0]['k'] = 3", 'a task cannot be built: .*Retrieval'),
        ("tasks[0]['batch_size'] = 0", 'batch_size'),
    ],
)
def test_tasks_that_cannot_be_built(tmp_path, more, said):
    with pytest.raises(UserError, match=said):
        build_tasks(read(tmp_path, more).tasks)


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        ("type='Scene'", 'pictures: the dataset cannot be built: .*Scene'),
        ("type='Scenes', splat='test'", 'pictures: .*splat'),
        ("type='Scenes', num_images=2", 'there is no picture 2 in'),
    ],
)
def test_pictures_that_are_not_there(tmp_path, more, said):
    more = f'pictures = dict(dataset=dict({more}), indices=[0, 2])'
    with pytest.raises(UserError, match=said):
        open_pictures(read(tmp_path, more).pictures)


def test_of_few_pictures_all_are_shown(tmp_path):
    more = "pictures = dict(dataset=dict(type='Scenes', num_images=2))"
    _, indices = open_pictures(read(tmp_path, more).pictures)
    assert list(indices) == [0, 1]


def test_an_arm_may_be_measured_in_its_own_way(tmp_path):
    study = read(
        tmp_path,
        "tasks[1]['name'] = 'here'\n"
        "arms[1]['tasks'] = dict(retrieval=dict(\n"
        '    batch_size=2, dataset=dict(num_images=4)), here=None)\n',
    )
    clip, sparc = study.arms
    assert study.tasks_of(clip) == study.tasks
    retrieval, pointing = study.tasks
    scenes = {**retrieval['dataset'], 'num_images': 4}
    assert study.tasks_of(sparc) == (
        {**retrieval, 'batch_size': 2, 'dataset': scenes},
    )
    tasks = tasks_by_arm(study)
    assert [task.name for task in tasks['CLIP']] == ['retrieval', 'here']
    assert [task.name for task in tasks['SPARC']] == ['retrieval']
    assert tasks['SPARC'][0].batch_size == 2
    assert len(tasks['SPARC'][0].source) == 4


def test_what_is_alike_is_one_task(tmp_path):
    change = "arm['tasks'] = dict(pointing=dict(batch_size=2))\n"
    study = read(tmp_path, f'for arm in arms:\n    {change}del arm\n')
    clip, sparc = tasks_by_arm(study).values()
    assert all(a is b for a, b in zip(clip, sparc, strict=True))


def test_a_change_that_no_task_takes(tmp_path):
    more = "arms[1]['tasks'] = dict(pointing=dict(k=3))"
    with pytest.raises(ConfigError, match='arm SPARC: a task cannot be built'):
        tasks_by_arm(read(tmp_path, more))


def test_choosing_arms(tmp_path):
    study = read(tmp_path)
    clip, sparc = study.arms
    assert choose(study) == study.units == [(clip, 0), (sparc, 0), (clip, 1)]
    assert choose(study, ['SPARC']) == [(sparc, 0)]
    assert choose(study, seeds=[1]) == [(clip, 1)]
    assert choose(study, ['CLIP'], [1, 0]) == [(clip, 0), (clip, 1)]
    with pytest.raises(ConfigError, match='did you mean SPARC'):
        choose(study, ['SPARK'])
    with pytest.raises(ConfigError, match='no arm has the seed 1: there are'):
        choose(study, ['SPARC'], [1])


def test_only_what_is_to_be_done_is_checked(tmp_path):
    """What the others start from may not be there yet."""
    more = "arms[0]['options'] = dict(load_from='no/seed{seed}.pth')\n"
    study = read_study(write_study(tmp_path, STUDY + more), ROOT)
    check_units(study, choose(study, ['SPARC']), tmp_path / 'work', ROOT)
    with pytest.raises(UserError, match=r'arm CLIP: .*no/seed1\.pth'):
        check_units(study, choose(study, (), [1]), tmp_path / 'work', ROOT)


@pytest.mark.parametrize(
    ('name', 'baseline'),
    [('sweep', 'CLIP'), ('scenes', 'CLIP'), ('maps', 'SPARC')],
)
def test_the_studies_of_the_project_can_be_begun(name, baseline, tmp_path):
    folder = ROOT / 'projects' / 'pretraining_study'
    study = read_whole(folder / f'{name}.py', tmp_path)
    build_tasks(study.tasks)
    assert study.baseline == baseline


def test_training_is_run_where_paths_of_data_are_meant_from(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.csv').write_text('path,caption\nx.png,a cat\n')
    both = "data = 'csv:a.csv'\nval_data = 'csv:a.csv'\n"
    arm = read(tmp_path, both).arms[0].run(0, tmp_path / 'work', ROOT)
    places = []
    arm.launch = lambda command, place: places.append(place) or 1
    with pytest.raises(UserError, match='code 1'):
        arm.train()
    assert places == [tmp_path]
