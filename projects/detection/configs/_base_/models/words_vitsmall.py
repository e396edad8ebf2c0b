# The detector by words on the pretraining recipes' small model for
# photographs; where it begins is said in words_vitmini.py.
_base_ = '../../../../../configs/_base_/models/sparc_vitsmall.py'
tokenizer = None  # the model has its own
model = dict(
    _delete_=True,
    type='sparc_vlm.WordDetector',
    encoders=_base_.model,
    init_cfg=dict(type='Pretrained', checkpoint=None),
)
