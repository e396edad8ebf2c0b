# Drawn scenes of 64 x 64 pixels: captions that name what is there, and as many
# questions.
train_dataloader = dict(
    type='PairLoader',
    batch_size=16,
    num_workers=1,
    dataset=dict(
        type='ChatDataset',
        source=dict(
            type='Scenes',
            split='train',
            size=64,
            num_images=100000,
            style='full',
        ),
        chat=dict(max_length=160),
        questions=0.5,
    ),
)
held_out = dict(
    type='Scenes', split='val', size=64, num_images=1000, style='full'
)
custom_hooks = [dict(type='CaptionSampleHook', dataset=held_out)]
