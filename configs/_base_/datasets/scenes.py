# Drawn scenes: a million captioned pictures, drawn as they are needed.
train_dataloader = dict(
    type='PairLoader',
    batch_size=None,  # as much as the machine holds, see auto_batch
    num_workers=2,
    dataset=dict(
        type='PairDataset',
        source=dict(
            type='Scenes', split='train', size=224, num_images=1000000
        ),
        image_size=224,
    ),
)
val_dataloader = dict(batch_size=64)
held_out = dict(type='Scenes', split='val', size=224, num_images=1000)
val_evaluator = [
    dict(type='Retrieval', dataset=held_out),
    dict(type='Segmentation', dataset=held_out),
]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
val_cfg = dict(type='TaskLoop')
