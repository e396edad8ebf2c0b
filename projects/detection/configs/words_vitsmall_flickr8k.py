# A detector by words, a small ViT on Flickr8k's pictures at 160 pixels: 600
# updates of 16 pictures. The nouns of the rare group are never boxed in
# training; they are asked for by name at test.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/words_vitsmall.py',
    '_base_/datasets/words_flickr8k_160.py',
    '_base_/schedules/words_600.py',
]
train_dataloader = dict(
    dataset=dict(dataset=dict(leave_out=dict(frequency='r')))
)
