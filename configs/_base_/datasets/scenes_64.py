# Drawn scenes of 64 x 64 pixels, in batches for two cores.
train_dataloader = dict(
    type='PairLoader',
    batch_size=256,
    num_workers=2,
    dataset=dict(
        type='PairDataset',
        source=dict(type='Scenes', split='train', size=64, num_images=1000000),
        image_size=64,
    ),
)
val_dataloader = dict(batch_size=64)
held_out = dict(type='Scenes', split='val', size=64, num_images=1000)
val_evaluator = [
    dict(type='Retrieval', dataset=held_out),
    dict(type='Segmentation', dataset=held_out),
]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
val_cfg = dict(type='TaskLoop')
