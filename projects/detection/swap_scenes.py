"""Faster R-CNN on drawn scenes: what the start of its backbone is worth.

Begins at random, or with the image encoder that the pretraining study trained
at the same seed: `python tools/compare.py projects/pretraining_study/scenes.py
--only CLIP SPARC SPARC+`. PRETRAINED names its work folder, if it is not
work_dirs/scenes. The scenes are drawn by `python tools/prepare_data.py scenes
data/scenes`, once for each split: train, val, test.
"""

_pretrained = '{{$PRETRAINED:work_dirs/scenes}}'
custom_imports = dict(imports=['sparc_vlm.detection'])
title = 'Faster R-CNN on drawn scenes, by the start of its backbone'
note = (
    'A ViT of 5 layers, 128 wide, under a simple feature pyramid, 450 updates '
    'of 16 pictures of 64 pixels; measured on the test split. Nothing in the '
    'detectors differs but where the backbone begins, and whether it is '
    'trained on.'
)
seeds = 3
# Not measured while training; how it reads pictures goes into the model.
options = {'train_cfg.val_begin': 10**9}
baseline = 'CLIP'
_config = 'projects/detection/configs/faster_rcnn_vitmini_scenes.py'
_start = 'model.backbone.init_cfg.checkpoint'
_starts = {
    'random': {},
    'CLIP': {_start: f'{_pretrained}/clip/seed{{seed}}/model'},
    'SPARC': {_start: f'{_pretrained}/sparc/seed{{seed}}/model'},
    'SPARC+': {_start: f'{_pretrained}/sparc_plus/seed{{seed}}/model'},
}
_frozen = {'model.backbone.frozen_stages': 5}
arms = [
    *(
        dict(name=name, config=_config, options=start)
        for name, start in _starts.items()
    ),
    *(
        dict(name=f'{name}, frozen', config=_config, options=start | _frozen)
        for name, start in _starts.items()
    ),
]
tasks = [
    dict(
        type='BoxAP',
        annotations='data/scenes/annotations/instances_test.json',
        images='data/scenes/images_test',
        # A scene is 64 pixels wide. Of its boxes a tenth are small, and
        # somewhat more are large than medium.
        areas=dict(small=[0, 100], medium=[100, 200], large=[200, 4096]),
    )
]
