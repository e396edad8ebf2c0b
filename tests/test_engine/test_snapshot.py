from sparc_vlm.engine.snapshot import learning, learning_changes


def config(objective):
    return dict(
        model=dict(type='ImageTextPretrainer', objective=dict(type=objective)),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
    )


def test_another_objective_is_another_run():
    before, after = learning(config('SPARC')), learning(config('CLIP'))
    assert learning_changes(before, after) == [
        "model.objective.type='SPARC' (the config now says 'CLIP')"
    ]
    assert learning_changes(before, learning(config('SPARC'))) == []


def test_a_run_that_did_not_say_its_objective_can_be_gone_on_with():
    before = learning(config('SPARC'))
    del before['model.objective.type']
    assert learning_changes(before, learning(config('CLIP'))) == []


def test_models_without_an_objective_have_none():
    cfg = config('SPARC')
    del cfg['model']
    assert 'model.objective.type' not in learning(cfg)
