# SPARC, a small ViT on drawn scenes of 64 pixels: 450 updates of 256 pairs,
# 10 minutes on two CPU cores. lambda_f was swept on the val split, see
# projects/pretraining_study/results/sweep/page.md.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/sparc_vitmini.py',
    '_base_/datasets/scenes_64.py',
    '_base_/schedules/adamw_450.py',
]
model = dict(objective=dict(local_weight=0.5))
