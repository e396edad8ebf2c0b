# The detector by words on the paper's model, at 768 pixels: ViT-B/16 and a
# 12-layer text transformer. model.init_cfg.checkpoint names a pretraining
# run's model folder, which brings its tokenizer.
_base_ = '../../../../../configs/_base_/models/sparc_vitb16.py'
tokenizer = None  # the model has its own
model = dict(
    _delete_=True,
    type='sparc_vlm.WordDetector',
    encoders=_base_.model,
    templates=('{}', 'a photo of a {}', 'a close-up of a {}', 'the {}'),
    init_cfg=dict(type='Pretrained', checkpoint=None),
)
