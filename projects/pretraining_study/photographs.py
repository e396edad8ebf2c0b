"""Objectives on photographs, a small ViT from scratch, measured on val.

Data come from the environment. FLICKR8K is a folder with Karpathy's
dataset_flickr8k.json and the pictures, COCO one in COCO's layout with
captions. Two may be left out: ENTITIES, phrases and boxes of val pictures as
grounding:entities: takes them (a file, entities_val.jsonl); and COCO_MASKS,
outlines as segmentation:coco: takes them (a folder, or FOLDER,split=NAME).
"""

_flickr8k, _coco = '{{$FLICKR8K:}}', '{{$COCO:}}'
_phrases, _masks = '{{$ENTITIES:none}}', '{{$COCO_MASKS:none}}'
title = 'Objectives on photographs, from scratch'
note = (
    'A ViT of 6 layers, 192 wide, trained on Flickr8k and COCO captions at '
    '128 pixels for 300 updates, each of a batch of 128 pairs of either; '
    'measured on their val splits.'
)
data = [f'karpathy:{_flickr8k}', f'coco:{_coco}']
# About 2.7 s an update on two cores: a quarter of an hour with the rest.
steps = 300
options = {
    'train_dataloader.batch_size': 128,
    'train_dataloader.num_workers': 1,
    # Retrieval once at the end; nothing is drawn while training.
    'train_cfg.val_interval': 300,
    'custom_hooks': [],
}
baseline = 'CLIP'
_sparc = 'configs/sparc_vitsmall_flickr8k.py'
# Those of the scenes: lambda_f as swept there.
_swept = {'model.objective.local_weight': 0.5}
_plus = {
    'model.objective.local_weight': 0.1,
    'model.objective.threshold': 0.7,
    'model.objective.cross_image': 4,
}
_beyond = (
    'Beyond the paper: negatives from other images, a light local loss, a '
    'high threshold.'
)
arms = [
    dict(name='CLIP', config='configs/clip_vitsmall_flickr8k.py', seeds=3),
    dict(name='SPARC', config=_sparc, seeds=3, options=_swept),
    dict(name='SPARC+', config=_sparc, options=_plus, note=_beyond),
    dict(
        name='MGCA',
        config='projects/pretraining_study/configs/mgca_vitsmall.py',
    ),
]
_val = f'karpathy:{_flickr8k},split=val'
tasks = [
    f'retrieval:{_val},name=retrieval_flickr8k',
    f'retrieval:coco:{_coco}',
    f'k_precision:{_val},name=k_precision_flickr8k',
    f'k_precision:coco:{_coco}',
]
tasks += [f'grounding:entities:{_phrases}'] * (_phrases != 'none')
tasks += [f'segmentation:coco:{_masks}'] * (_masks != 'none')
pictures = dict(
    dataset=_val, indices=[0, 1, 2, 3], arms=['CLIP', 'SPARC', 'SPARC+']
)
