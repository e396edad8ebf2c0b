# How every pretraining run is logged, saved, validated and seeded.
default_scope = 'sparc_vlm'
custom_imports = dict(imports=['sparc_vlm'], allow_failed_imports=False)
runner_type = 'SparcRunner'
randomness = dict(seed=0)
# A benchmark may choose other kernels each time, and so other roundings.
env_cfg = dict(dist_cfg=dict(backend='nccl'), cudnn_benchmark=False)

default_hooks = dict(
    timer=dict(type='ThroughputHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1000, minutes=15),
    export=dict(type='ExportHook'),
)
log_processor = dict(type='LogProcessor', by_epoch=False, window_size=20)
vis_backends = [
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
