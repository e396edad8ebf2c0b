# A detector by words, ViT-B/16 at 768 pixels, OWL-ViT's recipe on Objects365
# and Visual Genome: 140k updates of 256 pictures, 8 on each of 32 GPUs. Not
# measured here. Boxes under the names and synonyms of LVIS's rare group are
# left out of training. Near synonyms and larger classes stay, and Visual
# Genome shares pictures with COCO, so with LVIS. Unlike OWL-ViT's released
# recipe: losses are divided by the boxes of the whole batch, and gradients
# clipped over it, not picture by picture, there are no random crops, three
# prompts, and no stochastic depth unless
# model.encoders.vision.drop_path_rate is set.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/words_vitb16.py',
    '_base_/datasets/words_o365_vg_768.py',
    '_base_/schedules/words_140k.py',
]
