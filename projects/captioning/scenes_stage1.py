"""The projector of captioners on drawn scenes, by what eyes they have.

Eyes with random weights, or those that the pretraining study trained at the
same seed: `python tools/compare.py projects/pretraining_study/scenes.py --only
CLIP SPARC SPARC+`. PRETRAINED names its work folder, if it is not
work_dirs/scenes. scenes_stage2.py goes on from here.
"""

_base_ = '_base_/scenes_tasks.py'
_pretrained = '{{$PRETRAINED:work_dirs/scenes}}'
title = 'Captions of drawn scenes, the projector alone'
note = (
    'SmolLM2-135M behind frozen eyes of 5 layers, 128 wide; only the '
    'projector learns, from captions. Test split.'
)
# About five minutes on two cores that do not compute in bfloat16.
steps = 110
# It has learned no answers, so there is nothing to ask.
tasks = [task for task in _base_.tasks if task['type'] != 'POPE']
_config = 'projects/captioning/configs/smollm2_vitmini_scenes_stage1.py'
_eyes = 'model.eyes'
_random = {
    f'{_eyes}.checkpoint': None,
    f'{_eyes}.image_size': 64,
    f'{_eyes}.vision': dict(
        type='SparcViT', arch='mini', patch_size=8, img_size=64
    ),
}
_starts = {
    'random': _random,
    **{
        name: {
            f'{_eyes}.checkpoint': f'{_pretrained}/{arm}/seed{{seed}}/model'
        }
        for name, arm in (
            ('CLIP', 'clip'),
            ('SPARC', 'sparc'),
            ('SPARC+', 'sparc_plus'),
        )
    },
}
arms = [
    dict(name=name, config=_config, options=options)
    for name, options in _starts.items()
]
