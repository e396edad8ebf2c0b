"""Every objective on drawn scenes, measured on the test split.

A small ViT; the same data, encoders and number of updates for all. SPARC's
lambda_f is the one that sweep.py found on the val split.
"""

title = 'Objectives on drawn scenes'
note = (
    'A ViT of 5 layers, 128 wide, trained on drawn scenes of 64 pixels for '
    '360 updates of 256 pairs, from the same data in the same order.'
)
steps = 360
# Nothing is measured or drawn while training: the tasks come after it.
options = dict(
    val_cfg=None, val_dataloader=None, val_evaluator=None, custom_hooks=[]
)
baseline = 'CLIP'
_sparc = 'configs/sparc_vittiny_scenes.py'
_objective = 'model.objective'
arms = [
    dict(name='CLIP', config='configs/clip_vittiny_scenes.py', seeds=3),
    dict(name='SPARC', config=_sparc, seeds=3),
    dict(
        name='SPARC+',
        config='configs/sparc_plus_vittiny_scenes.py',
        seeds=3,
        note='Beyond the paper: negatives from other images, a light local '
        'loss, a high threshold.',
    ),
    *(
        dict(name=name, config=f'configs/{recipe}_vittiny_scenes.py', seeds=2)
        for name, recipe in (
            ('FILIP', 'filip'),
            ('CLIP + FILIP', 'clip_filip'),
            ('PACL', 'pacl'),
            ('GLoRIA', 'gloria'),
            ('MGCA', 'mgca'),
            ('SigLIP', 'siglip'),
        )
    ),
    *(
        dict(
            name=f'SPARC, {name}',
            config=_sparc,
            seeds=2,
            options=options,
        )
        for name, options in (
            ('no sparsity', {f'{_objective}.alignment': 'dense'}),
            ('softmax', {f'{_objective}.alignment': 'softmax'}),
            ('entmax 1.5', {f'{_objective}.alignment': 'entmax'}),
            ('cross-image negatives', {f'{_objective}.cross_image': 4}),
            (
                'same meaning is no negative',
                {f'{_objective}.same_meaning': dict(limit=0.9)},
            ),
            ('whole words', {f'{_objective}.words': True}),
            (
                'query projection',
                {f'{_objective}.query': dict(embed_dims=128, dims=64)},
            ),
        )
    ),
]
_test = dict(type='Scenes', split='test', size=64, num_images=1000)
tasks = [
    dict(type='Retrieval', dataset=_test),
    dict(type='Segmentation', dataset=_test, candidates='both'),
    dict(type='Pointing', dataset=_test),
    dict(type='Foils', dataset=_test),
    dict(type='KPrecision', dataset=_test),
]
pictures = dict(
    dataset=_test,
    indices=[0, 1, 2, 3],
    arms=['CLIP', 'SPARC', 'SPARC+'],
)
