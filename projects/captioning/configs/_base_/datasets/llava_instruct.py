# LLaVA-1.5's 665k instructions (llava_v1_5_mix665k.json) beside the folders
# of their pictures: data/llava, or --data llava:/file.json. The 40k of them
# that are of no picture are left out.
_base_ = 'llava_pretrain.py'
train = dict(
    type='LlavaConversations',
    annotations='data/llava/llava_v1_5_mix665k.json',
    images='data/llava',
)
train_dataloader = dict(batch_size=16, dataset=dict(source=train))
