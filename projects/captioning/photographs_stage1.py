"""The projector of captioners on photographs, by what eyes they have.

As scenes_stage1.py, on Flickr8k and COCO captions, with the eyes of
projects/pretraining_study/photographs_frozen.py, of its first seed: PRETRAINED
names its work folder, if it is not work_dirs/photographs_frozen.
"""

_base_ = '_base_/photographs.py'
_pretrained = '{{$PRETRAINED:work_dirs/photographs_frozen}}'
title = 'Captions of photographs, the projector alone'
note = (
    'SmolLM2-135M behind frozen eyes, 2 layers on an EfficientNet with '
    "ImageNet's weights; only the projector learns. One "
    'pretraining of each, two captioners. Val splits.'
)
# About five minutes on two cores that do not compute in bfloat16.
steps = 110
# It has learned no answers, so there is nothing to ask.
tasks = [task for task in _base_.tasks if not task.startswith('pope')]
_config = (
    'projects/captioning/configs/smollm2_efficientlite0_flickr8k_stage1.py'
)
_eyes = 'model.eyes.checkpoint'
arms = [
    dict(name='random', config=_config, options=_base_._random),
    *(
        dict(
            name=name,
            config=_config,
            options={_eyes: f'{_pretrained}/{arm}/seed0/model'},
        )
        for name, arm in (('CLIP', 'clip'), ('SPARC', 'sparc'))
    ),
]
