# A detector by words, a frozen EfficientNet with 2 layers on Flickr8k's
# pictures at 224 pixels: 450 updates of 16 pictures. The nouns of the rare
# group are never boxed in training; they are asked for by name at test.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/words_efficientlite0.py',
    '_base_/datasets/words_flickr8k_224.py',
    '_base_/schedules/words_1200.py',
]
train_cfg = dict(max_iters=450, val_interval=450)
rare = dict(frequency='r')
train_dataloader = dict(dataset=dict(dataset=dict(leave_out=rare)))
