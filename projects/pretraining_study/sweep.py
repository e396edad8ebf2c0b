"""The weight of SPARC's local loss, swept on the scenes' val split.

As in the paper, beside CLIP: one seed, 240 updates each.
"""

title = 'The weight of the local loss on drawn scenes'
note = (
    'lambda_f of equation 7, the weight of the local loss, chosen on the val '
    'split. One seed: what is near to each other is not told apart.'
)
steps = 240
seeds = 1
options = dict(
    train_dataloader=dict(num_workers=1),
    val_cfg=None,
    val_dataloader=None,
    val_evaluator=None,
    custom_hooks=[],
)
baseline = 'CLIP'
_recipe = 'configs/sparc_vittiny_scenes.py'
arms = [
    dict(name='CLIP', config='configs/clip_vittiny_scenes.py'),
    *(
        dict(
            name=f'SPARC {weight:g}',
            config=_recipe,
            options={'model.objective.local_weight': weight},
            value=weight,
        )
        for weight in (0.5, 1.0, 5.0, 10.0)
    ),
]
_val = dict(type='Scenes', split='val', size=64, num_images=1000)
tasks = [
    dict(type='Retrieval', dataset=_val),
    dict(type='Segmentation', dataset=_val),
    dict(type='Pointing', dataset=_val),
]
