"""Captioners on drawn scenes tuned with LoRA, by what eyes they have.

Goes on from scenes_stage1.py, each arm from the same arm and seed there;
STAGE1 names its work folder, if it is not work_dirs/scenes_stage1, and
PRETRAINED that of the eyes, see there.
"""

_base_ = '_base_/scenes_tasks.py'
_pretrained = '{{$PRETRAINED:work_dirs/scenes}}'
_first = '{{$STAGE1:work_dirs/scenes_stage1}}'
title = 'Captions of drawn scenes, projector and LoRA'
note = (
    'SmolLM2-135M behind frozen eyes of 5 layers, 128 wide; projector and '
    'low-rank layers learn, from captions and questions. Test split.'
)
# About ten minutes on two cores that do not compute in bfloat16.
steps = 180
_config = 'projects/captioning/configs/smollm2_vitmini_scenes_stage2.py'
_eyes, _start = 'model.eyes', 'model.init_cfg.checkpoint'
_stage1 = f'{_first}/{{}}/seed{{{{seed}}}}/model'
_random = {
    f'{_eyes}.checkpoint': None,
    f'{_eyes}.image_size': 64,
    f'{_eyes}.vision': dict(
        type='SparcViT',
        arch='mini',
        patch_size=8,
        img_size=64,
        # Random, but the same as in the first stage.
        init_cfg=dict(
            type='Pretrained', checkpoint=_stage1.format('random') + '/eyes'
        ),
    ),
    _start: _stage1.format('random'),
}
_starts = {
    'random': _random,
    **{
        name: {
            f'{_eyes}.checkpoint': f'{_pretrained}/{arm}/seed{{seed}}/model',
            _start: _stage1.format(arm),
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
