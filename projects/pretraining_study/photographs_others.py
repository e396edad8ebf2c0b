"""What did best on scenes beside SPARC, on photographs, from scratch.

Data, encoders, steps and tasks are those of photographs.py, named by
FLICKR8K, COCO, ENTITIES and COCO_MASKS of the environment in the same way.
One seed each, and a CLIP of its own to compare with, since machines differ.
"""

_base_ = 'photographs.py'
title = 'The best others on photographs, from scratch'
seeds = 1
arms = [
    dict(name='CLIP', config='configs/clip_vitsmall_flickr8k.py'),
    dict(
        name='FILIP',
        config='projects/pretraining_study/configs/filip_vitsmall.py',
    ),
    dict(
        name='SPARC, softmax',
        config=_base_._sparc,
        options={
            **_base_._swept,
            'model.objective.alignment': 'softmax',
        },
        note='A softmax over patches in place of equations 2 to 4.',
    ),
]
pictures = dict(arms=['CLIP', 'FILIP', 'SPARC, softmax'])
