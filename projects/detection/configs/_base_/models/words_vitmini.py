# The detector by words on the pretraining recipes' small model for drawn
# scenes. model.init_cfg.checkpoint names a pretraining run's model folder,
# which brings its tokenizer; without it the encoders begin at random, and
# model.encoders.tokenizer.path names a tokenizer.
_base_ = '../../../../../configs/_base_/models/sparc_vitmini.py'
tokenizer = None  # the model has its own
model = dict(
    _delete_=True,
    type='sparc_vlm.WordDetector',
    encoders=_base_.model,
    init_cfg=dict(type='Pretrained', checkpoint=None),
)
