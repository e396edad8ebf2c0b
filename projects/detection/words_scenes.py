"""The detector by words on drawn scenes: what the start is worth.

Two shapes, and ten pairs of a colour and a shape that others share, are never
boxed in training and asked for by name: the shapes are the rare group, the
pairs the common one. A quarter of what is on the pictures is so left without
a box. As swap_scenes.py otherwise; the detector whose encoders begin at random
takes CLIP's tokenizer.
"""

_pretrained = '{{$PRETRAINED:work_dirs/scenes}}'
custom_imports = dict(imports=['sparc_vlm.detection'])
title = 'Detection by words on drawn scenes, by the start of the encoders'
note = (
    'Both encoders of a ViT of 5 layers, 128 wide, with heads for boxes; '
    'measured on the test split. Never boxed in training: rare, two shapes; '
    'common, ten pairs of a colour and a shape.'
)
seeds = 3
# Not measured while training; how it reads pictures goes into the model.
options = {'train_cfg.val_begin': 10**9}
baseline = 'CLIP'
_config = 'projects/detection/configs/words_vitmini_scenes.py'
_start = 'model.init_cfg.checkpoint'
_tokenizer = 'model.encoders.tokenizer'
_clip = f'{_pretrained}/clip/seed{{seed}}/model'
arms = [
    dict(
        name='random',
        config=_config,
        options={
            f'{_tokenizer}.type': 'CaptionTokenizer',
            f'{_tokenizer}.path': f'{_clip}/tokenizer',
        },
    ),
    dict(name='CLIP', config=_config, options={_start: _clip}),
    *(
        dict(
            name=name,
            config=_config,
            options={_start: f'{_pretrained}/{folder}/seed{{seed}}/model'},
        )
        for name, folder in (('SPARC', 'sparc'), ('SPARC+', 'sparc_plus'))
    ),
]
_colours = [
    *('red', 'orange', 'yellow', 'green', 'blue'),
    *('purple', 'pink', 'brown', 'black', 'white'),
]
_pairs = [
    *('red circle', 'blue square', 'green triangle', 'yellow heart'),
    *('purple cross', 'orange diamond', 'pink ring', 'brown arrow'),
    *('black hexagon', 'white oval'),
]
_shapes = [f'{c} {s}' for s in ('star', 'crescent') for c in _colours]
tasks = [
    dict(
        type='WordAP',
        annotations='data/scenes/annotations/instances_test.json',
        images='data/scenes/images_test',
        rare=_shapes,
        common=_pairs,
        areas=dict(small=[0, 100], medium=[100, 200], large=[200, 4096]),
    )
]
