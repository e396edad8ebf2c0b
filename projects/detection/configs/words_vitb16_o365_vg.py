# A detector by words, ViT-B/16 at 768 pixels, OWL-ViT's recipe on Objects365
# and Visual Genome: 70k updates of 256 pictures, 8 on each of 32 GPUs. LVIS's
# rare group is never boxed in training. Not measured here.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/words_vitb16.py',
    '_base_/datasets/words_o365_vg_768.py',
    '_base_/schedules/words_70k.py',
]
