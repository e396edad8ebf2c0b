# Faster R-CNN for two cores: heads 128 and 256 wide, a tenth of the proposals
# and anchors a fourth as large as COCO's.
_base_ = 'faster_rcnn_vitb16.py'
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    rpn_head=dict(
        in_channels=128,
        feat_channels=128,
        anchor_generator=dict(scales=[3]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128, finest_scale=28),
        bbox_head=dict(in_channels=128, fc_out_channels=256),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50)),
)
