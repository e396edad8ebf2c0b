"""The projector of captioners on photographs, by what eyes they have.

As scenes_stage1.py, on Flickr8k and COCO captions, with the eyes of
projects/pretraining_study/photographs.py: PRETRAINED names its work folder,
if it is not work_dirs/photographs; FLICKR8K and COCO the data, as there, COCO
with instances too.
"""

_pretrained = '{{$PRETRAINED:work_dirs/photographs}}'
_flickr8k, _coco = '{{$FLICKR8K:}}', '{{$COCO:}}'
custom_imports = dict(imports=['sparc_vlm.captioning'])
title = 'Captions of photographs, the projector alone'
note = (
    'SmolLM2-135M behind frozen eyes of 6 layers, 192 wide; only the '
    'projector learns. Val splits.'
)
data = [f'karpathy:{_flickr8k}', f'coco:{_coco}']
seeds = 2
# Of each of the two, so that an update has 16 pictures.
options = {'custom_hooks': [], 'train_dataloader.batch_size': 8}
baseline = 'CLIP'
# Meant for five minutes on two cores that compute in bfloat16.
steps = 110
_config = 'projects/captioning/configs/smollm2_vitsmall_flickr8k_stage1.py'
_eyes = 'model.eyes'
_arch = dict(
    embed_dims=192, num_layers=6, num_heads=6, feedforward_channels=768
)
_random = {
    f'{_eyes}.checkpoint': None,
    f'{_eyes}.image_size': 128,
    f'{_eyes}.vision': dict(
        type='SparcViT', arch=_arch, patch_size=16, img_size=128
    ),
}
_starts = {
    'random': _random,
    **{
        name: {
            f'{_eyes}.checkpoint': f'{_pretrained}/{arm}/seed{{seed}}/model'
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
