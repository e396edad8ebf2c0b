# LLaVA's 558k captioned pictures (blip_laion_cc_sbu_558k.json), the pictures
# beside it: data/llava_pretrain, or --data llava:/file.json. Sample captions
# are of COCO's val split: data/coco, or --val-data.
train = dict(
    type='LlavaConversations',
    annotations='data/llava_pretrain/blip_laion_cc_sbu_558k.json',
    images='data/llava_pretrain',
)
train_dataloader = dict(
    type='PairLoader',
    batch_size=32,
    num_workers=4,
    group=50,
    dataset=dict(type='ChatDataset', source=train, chat=dict(max_length=2048)),
)
held_out = dict(
    type='CocoCaptions',
    annotations='data/coco/annotations/captions_val2017.json',
    images='data/coco/val2017',
)
custom_hooks = [dict(type='CaptionSampleHook', dataset=held_out, interval=500)]
