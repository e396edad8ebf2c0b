"""Captioners on photographs tuned with LoRA, by what eyes they have.

Goes on from photographs_stage1.py, each arm from the same arm and seed there;
STAGE1 names its work folder, if it is not work_dirs/photographs_stage1, the
other variables are those of that study.
"""

_pretrained = '{{$PRETRAINED:work_dirs/photographs}}'
_first = '{{$STAGE1:work_dirs/photographs_stage1}}'
_flickr8k, _coco = '{{$FLICKR8K:}}', '{{$COCO:}}'
custom_imports = dict(imports=['sparc_vlm.captioning'])
title = 'Captions of photographs, projector and LoRA'
note = (
    'SmolLM2-135M behind frozen eyes of 6 layers, 192 wide; projector and '
    'low-rank layers learn. Val splits.'
)
data = [f'karpathy:{_flickr8k}', f'coco:{_coco}']
seeds = 2
# Of each of the two, so that an update has 16 pictures.
options = {'custom_hooks': [], 'train_dataloader.batch_size': 8}
baseline = 'CLIP'
# Meant for ten minutes on two cores that compute in bfloat16.
steps = 180
_config = 'projects/captioning/configs/smollm2_vitsmall_flickr8k_stage2.py'
_eyes, _start = 'model.eyes', 'model.init_cfg.checkpoint'
_stage1 = f'{_first}/{{}}/seed{{{{seed}}}}/model'
_arch = dict(
    embed_dims=192, num_layers=6, num_heads=6, feedforward_channels=768
)
_random = {
    f'{_eyes}.checkpoint': None,
    f'{_eyes}.image_size': 128,
    f'{_eyes}.vision': dict(
        type='SparcViT',
        arch=_arch,
        patch_size=16,
        img_size=128,
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
        for name, arm in (('CLIP', 'clip'), ('SPARC', 'sparc'))
    },
}
arms = [
    dict(name=name, config=_config, options=options)
    for name, options in _starts.items()
]
tasks = [
    f'captioning:karpathy:{_flickr8k},split=val,name=captioning_flickr8k',
    f'captioning:coco:{_coco}',
    f'pope:coco:{_coco},max_images=100',
]
pictures = dict(dataset=f'coco:{_coco}')
