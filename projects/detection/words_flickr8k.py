"""The detector by words on Flickr8k's nouns: what the start is worth.

The nouns of the rare group are never boxed in training and asked for by name.
Begun with what the study of photographs trained at its first seed, as
swap_coco2k.py.
"""

_pretrained = '{{$PRETRAINED:work_dirs/photographs_frozen}}'
custom_imports = dict(imports=['sparc_vlm.detection'])
title = 'Detection by words on photographs, by the start of the encoders'
note = (
    'Both encoders, of pictures 2 layers on a frozen EfficientNet with '
    "ImageNet's weights, with heads for boxes, on Flickr8k's pictures at 224 "
    'pixels; one pretraining of each start, three detectors; measured on the '
    'val split. Rare: nouns that were never boxed in training.'
)
seeds = 3
# Not measured while training; how it reads pictures goes into the model.
options = {'train_cfg.val_begin': 10**9}
baseline = 'CLIP'
_config = 'projects/detection/configs/words_efficientlite0_flickr8k.py'
_clip = f'{_pretrained}/clip/seed0/model'
_sparc = f'{_pretrained}/sparc/seed0/model'
_start = 'model.init_cfg.checkpoint'
arms = [
    dict(
        name='random',
        config=_config,
        options={
            'model.encoders.tokenizer.type': 'CaptionTokenizer',
            'model.encoders.tokenizer.path': f'{_clip}/tokenizer',
        },
    ),
    dict(name='CLIP', config=_config, options={_start: _clip}),
    dict(name='SPARC', config=_config, options={_start: _sparc}),
]
tasks = [
    dict(
        type='WordAP',
        annotations='data/flickr8k/instances_val.json',
        images='data/flickr8k/images_val.zip',
    )
]
