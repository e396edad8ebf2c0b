# SPARC, ViT-B/16, the paper's recipe: 200k updates of 16384 pairs. The drawn
# scenes stand in for the paper's data until --data names others.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/sparc_vitb16.py',
    '_base_/datasets/scenes.py',
    '_base_/schedules/paper_200k.py',
]
