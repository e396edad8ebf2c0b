"""Why SPARC's local maps miss what words name: one thing changed at a time.

On the scenes' val split. An arm each for what may be to blame: the threshold,
which at few patches drops next to nothing; the temperature that both losses
share; token embeddings that carry the rest of the caption; and a loss that
never leaves its pair.
"""

title = 'What the local maps of SPARC lack, on drawn scenes'
note = (
    'SPARC with one thing changed at a time, 360 updates on drawn scenes of '
    '64 pixels, measured on the val split. One seed: what is near to each '
    'other is not told apart.'
)
steps = 360
seeds = 1
# Nothing is measured or drawn while training: the tasks come after it.
options = dict(
    val_cfg=None, val_dataloader=None, val_evaluator=None, custom_hooks=[]
)
baseline = 'SPARC'
_objective = 'model.objective'
arms = [
    dict(name='SPARC', config='configs/sparc_vittiny_scenes.py'),
    *(
        dict(
            name=name,
            config='configs/sparc_vittiny_scenes.py',
            options=options,
            note=note,
        )
        for name, options, note in (
            (
                'threshold 0.7',
                {f'{_objective}.threshold': 0.7},
                'In place of 1 / 64, which keeps nearly all patches.',
            ),
            (
                'own temperature',
                {f'{_objective}.local_temperature': 0.07},
                'The local loss learns one of its own.',
            ),
            (
                'tokens without context',
                {'model.text.num_layers': 0},
                'The text encoder is word and position embeddings alone.',
            ),
            (
                'cross-image negatives',
                {f'{_objective}.cross_image': 4},
                'Each token must prefer its own picture to four others.',
            ),
        )
    ),
]
_val = dict(type='Scenes', split='val', size=64, num_images=1000)
tasks = [
    dict(type='Retrieval', dataset=_val),
    dict(type='Segmentation', dataset=_val),
    dict(type='Pointing', dataset=_val),
]
pictures = dict(
    dataset=_val,
    indices=[0, 1, 2, 3],
    arms=['SPARC', 'threshold 0.7', 'cross-image negatives'],
)
