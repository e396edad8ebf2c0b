"""The captioner's three modes against slow, obvious twins."""

from __future__ import annotations

import pytest
import torch

from sparc_vlm.captioning import IGNORED, IMAGE, ChatBatch
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.registry import MODELS
from tests.processes import run_processes
from tests.test_captioning.tiny_captioner import (
    LORA,
    PROJECTORS,
    build,
    captioner_cfg,
    pictures,
    prompts,
    training,
)
from tests.test_captioning.tiny_language import save_language

TURNS = (
    ('what?', 'a red circle'),
    ('how many?', 'two'),
    ('is there a dog on the left?', 'no, there is none.'),
)


@pytest.fixture(scope='module')
def language(tmp_path_factory):
    return save_language(tmp_path_factory.mktemp('language'))


@pytest.fixture(scope='module')
def model(language):
    return build(captioner_cfg(language, LORA))


def alone(model, image, ids):
    """(N, V) logits of one conversation, no padding, by transformers."""
    tokens = list(model.encode(image[None])[0])
    embed = model.language.causal.get_input_embeddings()
    row = [tokens.pop(0) if id == IMAGE else embed(id) for id in ids]
    assert not tokens
    return model.language.model(inputs_embeds=torch.stack(row)[None]).logits[0]


@pytest.mark.parametrize('projector', PROJECTORS)
def test_logits_are_those_of_each_conversation_alone(language, projector):
    model = build(captioner_cfg(language, projector=PROJECTORS[projector]))
    images = pictures(3)
    for chat in (
        training(model, *TURNS),
        prompts(model, *(question for question, _ in TURNS)),
    ):
        logits = model(images, chat)
        for row, image in enumerate(images):
            real = chat.mask[row]
            expected = alone(model, image, chat.ids[row][real])
            torch.testing.assert_close(logits[row][real], expected)


def slow_loss(model, images, chat):
    """Mean over the answers' tokens, one by one, and how many are first."""
    losses, right = [], 0
    for row, image in enumerate(images):
        real = chat.mask[row]
        logits = alone(model, image, chat.ids[row][real])
        labels = chat.labels[row][real]
        for place in range(1, len(labels)):
            if labels[place] != IGNORED:
                before = logits[place - 1]
                losses.append(-before.log_softmax(-1)[labels[place]])
                right += int(before.argmax() == labels[place])
    return torch.stack(losses).mean(), right / len(losses), len(losses)


def gradients(model):
    found = {
        name: weights.grad.clone()
        for name, weights in model.named_parameters()
        if weights.grad is not None
    }
    model.zero_grad()
    return found


def test_the_loss_is_the_mean_over_the_answers_tokens(model):
    images, chat = pictures(3), training(model, *TURNS)
    found = model(images, chat, mode='loss')
    expected, accuracy, count = slow_loss(model, images, chat)
    torch.testing.assert_close(found['loss'], expected)
    assert float(found['token_accuracy']) == pytest.approx(accuracy)
    assert int(found['answer_tokens']) == count
    # Each answer, and the mark that ends it.
    assert count == sum(len(answer) + 1 for _, answer in TURNS)
    found['loss'].backward()
    fast = gradients(model)
    expected.backward()
    slow = gradients(model)
    assert fast.keys() == slow.keys()
    for name, gradient in fast.items():
        torch.testing.assert_close(gradient, slow[name], msg=name)


def test_what_trains(language):
    def trained(options=None, **changes):
        model = build(captioner_cfg(language, options, **changes))
        loss = model(pictures(1), training(model, TURNS[0]), mode='loss')
        loss['loss'].backward()
        names = gradients(model).keys()
        wanted = {
            name
            for name, weights in model.named_parameters()
            if weights.requires_grad
        }
        assert names == wanted
        # A checkpoint has those, and random eyes.
        state = {k for k in model.state_dict() if not k.startswith('eyes.')}
        assert state - {'language.model.lm_head.weight'} <= names
        assert names <= state
        return {name.partition('.')[0] for name in names}, names

    assert trained()[0] == {'projector'}
    parts, names = trained(LORA)
    assert parts == {'projector', 'language'}
    own = [name for name in names if name.startswith('language')]
    assert all('.lora_' in name for name in own)
    # Seven linear layers in each of two blocks, two factors for each.
    assert len(own) == 2 * 7 * 2
    assert not any('lm_head' in name or 'embed' in name for name in own)
    parts, names = trained(freeze_language=False)
    assert parts == {'projector', 'language'}
    assert any('embed_tokens' in name for name in names)


def test_coarse_weights_do_not_train_whole(language):
    half = dict(dtype='bfloat16')
    MODELS.build(captioner_cfg(language, half)).init_weights()
    # One that was trained can be loaded so.
    model = MODELS.build(captioner_cfg(language, half, freeze_language=False))
    with pytest.raises(UsageError, match='hardly learns with .* in bfloat16'):
        model.init_weights()


def test_eyes_are_frozen_in_whatever_mode(model):
    model.train()
    assert model.training
    assert model.language.training
    assert not any(part.training for part in model.eyes.modules())
    assert not any(p.requires_grad for p in model.eyes.parameters())
    model.eval()


def test_a_checkpoint_holds_what_was_trained_and_is_strict(language):
    cfg = captioner_cfg(language, LORA)
    first, second = build(cfg), build(cfg, seed=1)
    state = first.state_dict()
    images, chat = pictures(3), training(first, *TURNS)
    expected = first(images, chat)
    assert not torch.allclose(second(images, chat), expected)
    second.load_state_dict(state)
    assert torch.equal(second(images, chat), expected)
    name = next(key for key in state if 'lora_A' in key)
    missing = {key: value for key, value in state.items() if key != name}
    with pytest.raises(RuntimeError, match='Missing key.*lora_A'):
        second.load_state_dict(missing)
    with pytest.raises(RuntimeError, match='Unexpected key.*"more"'):
        second.load_state_dict({**state, 'more': torch.zeros(1)})


def test_layers_that_are_computed_again_change_nothing(language):
    images = pictures(3)
    found = []
    for checkpointing in (False, True):
        options = dict(LORA, checkpointing=checkpointing)
        model = build(captioner_cfg(language, options)).train()
        loss = model(images, training(model, *TURNS), mode='loss')['loss']
        loss.backward()
        found.append((loss, gradients(model)))
    (plain, slow), (again, fast) = found
    torch.testing.assert_close(again, plain)
    for name, gradient in slow.items():
        torch.testing.assert_close(fast[name], gradient, msg=name)


@pytest.mark.parametrize('way', ['weights', 'autocast'])
def test_half_precision_is_the_same_but_for_rounding(language, way):
    dtype = 'bfloat16' if way == 'weights' else 'float32'
    model = build(captioner_cfg(language, dict(LORA, dtype=dtype)))
    exact = build(captioner_cfg(language, LORA))
    images, chat = pictures(3), training(model, *TURNS)
    with torch.autocast('cpu', torch.bfloat16, enabled=way == 'autocast'):
        found = model(images, chat, mode='loss')['loss']
        logits = model(images, chat)
    assert found.dtype == logits.dtype == torch.float32
    expected = exact(images, chat, mode='loss')['loss']
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0)
    assert found != expected
    found.backward()
    expected.backward()
    rounded, gradient = (
        one.projector.mlp.layers[0].weight.grad.flatten()
        for one in (model, exact)
    )
    assert torch.cosine_similarity(rounded, gradient, 0) > 0.95


def test_what_does_not_fit_is_said(model):
    images, chat = pictures(1), training(model, TURNS[0])
    few = ChatBatch(*(part[:, 1:] for part in chat))
    with pytest.raises(UsageError, match=r'is 4 tokens .* holds \[3\] of'):
        model(images, few)
    nothing = chat._replace(labels=torch.full_like(chat.labels, IGNORED))
    with pytest.raises(RunError, match='no token of this batch is learned'):
        model(images, nothing, mode='loss')
    with pytest.raises(UsageError, match="mode must be .* got 'lose'"):
        model(images, chat, mode='lose')


def test_the_likelihood_of_an_answer_is_a_mean_over_its_tokens(model):
    images, chat = pictures(3), training(model, *TURNS)
    found = model.log_likelihood(images, chat)
    for row, value in enumerate(found):
        own = ChatBatch(*(part[row : row + 1] for part in chat))
        loss, _, _ = slow_loss(model, images[row : row + 1], own)
        torch.testing.assert_close(value, -loss)
    nothing = chat._replace(labels=torch.full_like(chat.labels, IGNORED))
    assert model.log_likelihood(images, nothing).tolist() == [0, 0, 0]


SHARED = dict(uneven=([0, 1], [1]), nothing_in_one=([0, 1], [2]))
"""Conversations of each of two processes; of 2 nothing is learned there."""


def shares(language):
    """Loss, accuracy and gradients of this process's own conversations."""
    found = {}
    for name, rows in SHARED.items():
        model = build(captioner_cfg(language, LORA))
        own = rows[torch.distributed.get_rank()]
        chat = training(model, *(TURNS[row] for row in own))
        if own == [2]:
            chat = chat._replace(labels=torch.full_like(chat.labels, IGNORED))
        losses = model(pictures(3)[own], chat, mode='loss')
        total, log = model.parse_losses(losses)
        total.backward()
        logged = {k: log[k] for k in ('loss', 'token_accuracy')}
        found[name] = gradients(model) | logged
    return found


def test_processes_train_as_one(language):
    both = run_processes(2, shares, language)
    for name, (first, second) in SHARED.items():
        rows = first + [row for row in second if row != 2]
        model = build(captioner_cfg(language, LORA))
        chat = training(model, *(TURNS[row] for row in rows))
        expected = model(pictures(3)[rows], chat, mode='loss')
        expected['loss'].backward()
        one, other = (found[name] for found in both)
        for key, gradient in gradients(model).items():
            mean = (one[key] + other[key]) / 2
            torch.testing.assert_close(mean, gradient, msg=key)
        for key in ('loss', 'token_accuracy'):
            assert one[key] == other[key]
            torch.testing.assert_close(one[key], expected[key].detach())
