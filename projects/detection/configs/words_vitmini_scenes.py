# A detector by words, a small ViT on drawn scenes of 64 pixels: 2400 updates
# of 16 pictures, 16 minutes on one core. Two shapes, and ten pairs of a colour
# and a shape, are never boxed in training; they are asked for by name at test.
# Expect few things found: it is far from its end by then.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/words_vitmini.py',
    '_base_/datasets/words_scenes_64.py',
    '_base_/schedules/words_1200.py',
]
held_out = [
    *('star', 'crescent'),
    *('red circle', 'blue square', 'green triangle', 'yellow heart'),
    *('purple cross', 'orange diamond', 'pink ring', 'brown arrow'),
    *('black hexagon', 'white oval'),
]
train_cfg = dict(max_iters=2400, val_interval=2400)
train_dataloader = dict(dataset=dict(leave_out=held_out))
