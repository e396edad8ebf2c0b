"""A start that all texts of a batch have in common is computed once."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
)

from sparc_vlm.captioning import IMAGE, ChatBatch, Language
from sparc_vlm.captioning.chat import ChatFormat, Conversation
from sparc_vlm.captioning.generation import Prompts
from tests.test_captioning.tiny_captioner import (
    LORA,
    build,
    captioner_cfg,
    pictures,
    prompts,
)
from tests.test_captioning.tiny_language import save_language, tiny_tokenizer

SIZES = dict(vocab_size=259, bos_token_id=None, eos_token_id=2)
OTHERS = {
    'gpt2': (GPT2LMHeadModel, GPT2Config, dict(n_embd=32, n_head=2)),
    'mamba': (MambaForCausalLM, MambaConfig, dict(hidden_size=32)),
}


@pytest.fixture(scope='module')
def llama(tmp_path_factory):
    return save_language(tmp_path_factory.mktemp('llama'))


@pytest.fixture
def path(request, llama, tmp_path):
    """A tiny model of a kind, with the tiny tokenizer."""
    if request.param == 'llama':
        return str(llama)
    kind, config, sizes = OTHERS[request.param]
    layers = dict(num_hidden_layers=2)
    torch.manual_seed(0)
    kind(config(**SIZES, **sizes, **layers)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


def texts(language):
    """Three of them, alike in the first four tokens, padded on the right."""
    torch.manual_seed(1)
    ids = torch.randint(3, 250, (3, 11))
    ids[:, :4] = ids[0, :4]
    mask = torch.arange(11) < torch.tensor([[11], [7], [5]])
    return language.embed(ids).requires_grad_(), mask


@pytest.mark.parametrize('path', ['llama', 'gpt2'], indirect=True)
@pytest.mark.parametrize('lora', [None, LORA], ids=['frozen', 'lora'])
def test_nothing_changes(path, lora):
    language = Language(path, **(lora or {})).eval()
    assert language.can_share
    if lora:
        for name, weights in language.named_parameters():
            if 'lora_B' in name:
                torch.nn.init.normal_(weights, std=0.1)
    found = []
    for shared in (0, 4):
        embeds, mask = texts(language)
        hidden = language.hidden(embeds, mask, shared)
        hidden[mask].square().sum().backward()
        trained = [w for w in language.parameters() if w.requires_grad]
        own = [weights.grad.clone() for weights in trained]
        language.zero_grad()
        found.append([hidden[mask], embeds.grad.sum(0), *own])
    whole, once = found
    assert len(whole) == (2 if lora is None else 2 + len(trained))
    for one, other in zip(whole, once, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@contextmanager
def computed(model):
    """Rows and tokens of each pass through the blocks."""
    seen = []
    blocks = model.language.causal.base_model
    block = getattr(blocks, 'h', None) or blocks.layers
    handle = block[0].register_forward_pre_hook(
        lambda _, given: seen.append(tuple(given[0].shape[:2]))
    )
    yield seen
    handle.remove()


def learn(model, images, chat):
    """The passes of a loss."""
    with computed(model) as seen:
        model(images, chat, mode='loss')['loss'].backward()
    return seen


def conversations(model, *answers):
    """About one thing, behind a system's prompt."""
    form = ChatFormat(model.language.tokenizer, model.image_tokens, 400)
    asked = ('system', 'You look at pictures.'), ('user', 'What is there?')
    return form.training(
        [Conversation((*asked, ('assistant', text))) for text in answers]
    )


def test_a_system_prompt_is_computed_once(llama):
    model = build(captioner_cfg(llama, LORA))
    chat = conversations(model, 'a ring', 'two blue stars')
    shared = chat.shared()
    rows, tokens = chat.ids.shape
    start = tiny_tokenizer().decode(chat.ids[1, :shared])
    assert start.endswith(
        'You look at pictures.<|im_end|>\n<|im_start|>user\n'
    )
    assert chat.ids[1, shared] == IMAGE
    seen = learn(model, pictures(2), chat)
    assert seen == [(1, shared), (rows, tokens - shared)]
    logits = model(pictures(2), chat)
    for row, image in enumerate(pictures(2)):
        alone = ChatBatch(*(part[row : row + 1] for part in chat))
        real = chat.mask[row]
        expected = model(image[None], alone)[0, real]
        torch.testing.assert_close(logits[row, real], expected)
    single = conversations(model, 'a ring')
    assert learn(model, pictures(1), single) == [single.ids.shape]


@pytest.mark.parametrize('path', ['mamba'], indirect=True)
def test_a_model_without_keys_computes_all(path):
    language = Language(path).eval()
    assert not language.can_share
    embeds, mask = texts(language)
    expected = language.hidden(embeds, mask)
    torch.testing.assert_close(language.hidden(embeds, mask, 4), expected)


def test_blocks_that_are_computed_twice_share_nothing(llama):
    cfg = captioner_cfg(llama, LORA)
    cfg['language'] = dict(cfg['language'], checkpointing=True)
    model = build(cfg).train()
    chat = conversations(model, 'a ring', 'two blue stars')
    assert chat.shared()
    whole = tuple(chat.ids.shape)
    assert set(learn(model, pictures(2), chat)) == {whole}


def batch(rows, mask=None):
    ids = torch.tensor(rows)
    given = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    return ChatBatch(ids, ids, given)


@pytest.mark.parametrize(
    'rows, expected',
    [
        ([[5, 6, 7, 1], [5, 6, 8, 1]], 2),
        # What is alike further on does not count, nor does a picture.
        ([[5, 6, 7], [4, 6, 7]], 0),
        ([[5, IMAGE, 6], [5, IMAGE, 7]], 1),
        ([[5, 6, 7]], 0),
        # Too short to be worth it.
        ([[5, *range(10, 29)], [5, *range(30, 49)]], 0),
    ],
)
def test_how_much_is_in_common(rows, expected):
    assert batch(rows).shared() == expected


def test_padding_is_no_start():
    mask = torch.tensor([[True, True, True], [False, True, True]])
    assert batch([[0, 5, 6], [0, 5, 7]], mask).shared() == 0


def test_padding_on_the_left_is_left_out():
    ids = [[0, 0, 5, 6, 7], [0, 5, 6, IMAGE, 8], [5, 6, IMAGE, 8, 9]]
    mask = [[False] * 2 + [True] * 3, [False] + [True] * 4, [True] * 5]
    chat = batch(ids, torch.tensor(mask))
    assert chat.shared() == 2
    last = ChatBatch(*(part[1:] for part in chat))
    assert last.shared() == 2
    # Of the shorter one, which is a start of the longer, a token is left.
    assert last.shared(one_picture=True) == 3


def test_padding_goes_behind_the_start():
    mask = torch.tensor([[False, False, True, True, True], [True] * 5])
    embeds = torch.arange(10.0).view(2, 5, 1)
    moved = Prompts(embeds, mask, 2).start_first()
    assert moved.embeds[0, :, 0].tolist() == [2, 3, 0, 1, 4]
    assert moved.mask[0].tolist() == [True, True, False, False, True]
    assert moved.embeds[1].equal(embeds[1])
    assert moved.mask[1].all()


ASKED = 'what is it?', 'what?', 'what colour has the ring?'


@pytest.mark.parametrize('path', ['llama', 'gpt2'], indirect=True)
def test_questions_about_a_picture_begin_once(path):
    model = build(captioner_cfg(path))
    chat = prompts(model, *ASKED)
    rows, tokens = chat.ids.shape
    start = model.image_tokens + len('what')
    with computed(model) as seen:
        found = model.generate(pictures(1), chat, 6, shown=[0] * rows)
    assert seen[:2] == [(1, start), (rows, tokens - start)]
    assert set(seen[2:]) == {(rows, 1)}
    alone = [
        model.generate(pictures(1), prompts(model, text), 6)[0]
        for text in ASKED
    ]
    assert found == alone
    model.language.can_share = False
    with computed(model) as seen:
        whole = model.generate(pictures(1), chat, 6, shown=[0] * rows)
    assert seen[0] == (rows, tokens)
    assert whole == found
    # Two pictures have no start in common here.
    model.language.can_share = True
    with computed(model) as seen:
        model.generate(pictures(2), chat, 6, shown=[0, 1, 1])
    assert seen[0] == (rows, tokens)


@pytest.mark.parametrize('path', ['llama', 'gpt2'], indirect=True)
def test_samples_go_on_from_one_prompt(path):
    model = build(captioner_cfg(path))
    chat = prompts(model, *ASKED)
    rows, tokens = chat.ids.shape
    draw = dict(num_samples=4, temperature=1.5, seed=3)
    with computed(model) as seen:
        found = model.generate(pictures(rows), chat, 6, **draw)
    assert seen[:2] == [(rows, tokens - 1), (4 * rows, 1)]
    model.language.can_share = False
    with computed(model) as seen:
        whole = model.generate(pictures(rows), chat, 6, **draw)
    assert seen[0] == (4 * rows, tokens)
    assert whole == found
    assert len({text for samples in found for text in samples}) > rows
