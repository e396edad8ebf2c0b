# The detector by words on the pretraining recipes' model for photographs, a
# frozen EfficientNet with ImageNet's weights under 2 layers: 7 x 7 patches of
# 224 pixels. Where the rest begins is said in words_vitmini.py.
_base_ = '../../../../../configs/_base_/models/sparc_efficientlite0.py'
tokenizer = None  # the model has its own
model = dict(
    _delete_=True,
    type='sparc_vlm.WordDetector',
    encoders=_base_.model,
    init_cfg=dict(type='Pretrained', checkpoint=None),
)
