"""What choosing among sampled captions does, on drawn scenes.

SPARC's and SPARC+'s captioners of scenes_stage2.py, seed 0, measured as they
are and with the best of five samples, by grounding score and by likelihood.
STAGE2 names that study's work folder, if it is not work_dirs/scenes_stage2.
"""

_second = '{{$STAGE2:work_dirs/scenes_stage2}}'
custom_imports = dict(imports=['sparc_vlm.captioning'])
title = 'Captions of drawn scenes, chosen among samples'
arms = [
    dict(name=name, checkpoint=f'{_second}/{arm}/seed0/model')
    for name, arm in (('SPARC', 'sparc'), ('SPARC+', 'sparc_plus'))
]
_test = dict(type='Scenes', split='test', size=64, num_images=300)
_how = dict(type='Captioning', dataset=_test, meteor=False)
tasks = [
    _how,
    *(
        dict(
            _how,
            name=f'captioning_by_{by}',
            choose=dict(type='Rerank', by=by, num_samples=5),
        )
        for by in ('grounding', 'likelihood')
    ),
    dict(type='Attribution', dataset=_test),
]
