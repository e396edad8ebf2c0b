# SmolLM2-135M behind the small ViT of photographs: 8 x 8 patches as 16
# tokens. The eyes are those of configs/sparc_vitsmall_coco.py.
_base_ = 'smollm2_vitmini.py'
model = dict(eyes=dict(checkpoint='work_dirs/sparc_vitsmall_coco/model'))
