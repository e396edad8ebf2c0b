"""What choosing among sampled captions does, on drawn scenes.

SPARC's captioner of scenes_stage2.py, seed 0, as it is and with the best of
its likeliest caption and five samples, by likelihood and by grounding score.
STAGE2 names that study's work folder, if it is not work_dirs/scenes_stage2;
EYES another of its arms by its folder, such as sparc_plus.
"""

_base_ = '_base_/scenes_tasks.py'
_second, _eyes = '{{$STAGE2:work_dirs/scenes_stage2}}', '{{$EYES:sparc}}'
title = 'Captions of drawn scenes, chosen among samples'
note = (
    'One captioner of two stages: its likeliest caption as it is, and the '
    'best of that and five samples. Test split.'
)
baseline = 'as it is'
_model = f'{_second}/{_eyes}/seed0/model'
arms = [
    dict(name='as it is', checkpoint=_model),
    *(
        dict(
            name=f'by {by}',
            checkpoint=_model,
            tasks=dict(
                captioning=dict(
                    choose=dict(type='Rerank', by=by, num_samples=5)
                ),
                # It asks the captioner itself.
                attribution=None,
            ),
        )
        for by in ('likelihood', 'grounding')
    ),
]
_captioning, _ = _base_.tasks
tasks = [
    _captioning,
    dict(type='Attribution', dataset=_captioning['dataset']),
]
