"""Captioners on photographs tuned with LoRA, by what eyes they have.

Goes on from photographs_stage1.py, each arm from the same arm and seed there;
STAGE1 names its work folder, if it is not work_dirs/photographs_stage1, the
other variables are those of that study.
"""

_base_ = '_base_/photographs.py'
_pretrained = '{{$PRETRAINED:work_dirs/photographs_frozen}}'
_first = '{{$STAGE1:work_dirs/photographs_stage1}}'
title = 'Captions of photographs, projector and LoRA'
note = (
    'SmolLM2-135M behind frozen eyes, 2 layers on an EfficientNet with '
    "ImageNet's weights; projector and low-rank layers learn. One "
    'pretraining of each, two captioners. Val splits.'
)
# About ten minutes on two cores that do not compute in bfloat16.
steps = 180
# Half of what is said of COCO's pictures is yes or no: whoever learned from
# captions alone answers POPE with captions.
options = {'train_dataloader.dataset.questions': 0.5}
_config = (
    'projects/captioning/configs/smollm2_efficientlite0_flickr8k_stage2.py'
)
_eyes, _start = 'model.eyes.checkpoint', 'model.init_cfg.checkpoint'
_stage1 = f'{_first}/{{}}/seed{{{{seed}}}}/model'
# Random, but the same as in the first stage.
_same = dict(type='Pretrained', checkpoint=_stage1.format('random') + '/eyes')
_random = {
    **_base_._random,
    'model.eyes.vision': dict(_base_._vision, init_cfg=_same),
    _start: _stage1.format('random'),
}
arms = [
    dict(name='random', config=_config, options=_random),
    *(
        dict(
            name=name,
            config=_config,
            options={
                _eyes: f'{_pretrained}/{arm}/seed0/model',
                _start: _stage1.format(arm),
            },
        )
        for name, arm in (('CLIP', 'clip'), ('SPARC', 'sparc'))
    ),
]
