"""Other people's CLIPs, small and with random weights, written to folders."""

from __future__ import annotations

import json

import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
)

from tests.test_models.tiny_models import WORDS

VISION = dict(image_size=32, patch_size=8, width=64, head_width=32, layers=2)
TEXT = dict(context_length=16, width=32, heads=2, layers=2, vocab_size=49408)
CAPTIONS = ['a red circle', 'the big blue square, small!', "it isn't two"]


def write_open_clip(folder, vision=None, text=None, **more):
    """A folder that open_clip calls 'local-dir:'."""
    cfg = dict(
        embed_dim=24,
        vision_cfg={**VISION, **(vision or {})},
        text_cfg={**TEXT, **(text or {})},
        **more,
    )
    torch.manual_seed(0)
    custom = cfg.pop('custom_text', False)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(**cfg)
    if custom:
        cfg['custom_text'] = True
    folder.mkdir(parents=True)
    preprocess = dict(mean=[0.5] * 3, std=[0.25] * 3, resize_mode='shortest')
    (folder / 'open_clip_config.json').write_text(
        json.dumps(dict(model_cfg=cfg, preprocess_cfg=preprocess))
    )
    weights = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / 'open_clip_model.safetensors')
    return folder


def write_hf_clip(folder):
    """A folder that transformers reads a CLIPModel from."""
    marks = ['<s>', '</s>', '<unk>']
    vocab = {word: place for place, word in enumerate([*marks, *WORDS, ','])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token='<unk>'))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single='<s> $A </s>', special_tokens=[('<s>', 0), ('</s>', 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
    ).save_pretrained(folder)
    size = dict(shortest_edge=32)
    CLIPImageProcessor(
        size=size, crop_size=dict(height=32, width=32)
    ).save_pretrained(folder)
    shape = dict(num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=dict(
            hidden_size=16,
            intermediate_size=32,
            vocab_size=len(vocab),
            max_position_embeddings=9,
            eos_token_id=1,
            bos_token_id=0,
            **shape,
        ),
        vision_config=dict(
            hidden_size=20,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            **shape,
        ),
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


def pictures(count=3, size=(50, 40)):
    generator = torch.Generator().manual_seed(0)
    shape = (count, size[1], size[0], 3)
    pixels = torch.randint(0, 256, shape, generator=generator)
    return [Image.fromarray(p.numpy().astype('uint8')) for p in pixels]
