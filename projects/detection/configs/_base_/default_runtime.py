# How every detector is logged, saved, validated and seeded.
default_scope = 'mmdet'
custom_imports = dict(
    imports=['sparc_vlm.detection'], allow_failed_imports=False
)
runner_type = 'sparc_vlm.SparcRunner'
randomness = dict(seed=0)
env_cfg = dict(dist_cfg=dict(backend='nccl'), cudnn_benchmark=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='sparc_vlm.SafeCheckpointHook', interval=1000, minutes=15
    ),
    export=dict(type='sparc_vlm.DetectorExportHook'),
)
log_processor = dict(type='LogProcessor', by_epoch=False, window_size=20)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends)
