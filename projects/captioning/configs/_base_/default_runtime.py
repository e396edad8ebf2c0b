# How every captioner is logged, saved and seeded.
default_scope = 'sparc_vlm'
custom_imports = dict(
    imports=['sparc_vlm.captioning'], allow_failed_imports=False
)
runner_type = 'SparcRunner'
randomness = dict(seed=0)
env_cfg = dict(dist_cfg=dict(backend='nccl'), cudnn_benchmark=False)

default_hooks = dict(
    timer=dict(type='ThroughputHook'),
    logger=dict(type='LoggerHook', interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1000, minutes=15),
    export=dict(type='CaptionerExportHook'),
)
log_processor = dict(type='LogProcessor', by_epoch=False, window_size=10)
vis_backends = [
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
