"""Answers agree with decoding one by one, without a cache."""

from __future__ import annotations

import pytest
import torch

from sparc_vlm.captioning.generation import GumbelNoise, Sampling
from sparc_vlm.errors import UsageError
from tests.test_captioning.test_captioner import alone
from tests.test_captioning.tiny_captioner import (
    LORA,
    build,
    captioner_cfg,
    pictures,
    prompts,
    training,
)
from tests.test_captioning.tiny_language import save_language

PROMPTS = 'what?', 'how many are there?', 'is it red?', 'where?'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    language = save_language(tmp_path_factory.mktemp('language'))
    return build(captioner_cfg(language, LORA))


def slowly(model, image, prompt, most):
    """The likeliest continuation, all of it computed for each token."""
    chat = prompts(model, prompt)
    ids, written = chat.ids[0], []
    with torch.no_grad():
        while len(written) < most:
            best = int(alone(model, image, ids)[-1].argmax())
            if best in model.language.end_ids:
                break
            written.append(best)
            ids = torch.cat([ids, torch.tensor([best])])
    text = model.language.tokenizer.decode(written, skip_special_tokens=True)
    return text.strip()


def test_a_batch_is_written_as_each_is_alone(model):
    images, chat = pictures(4), prompts(model, *PROMPTS)
    assert not chat.mask.all()
    found = model.generate(images, chat, 12)
    expected = [
        slowly(model, image, prompt, 12)
        for image, prompt in zip(images, PROMPTS, strict=True)
    ]
    assert [one for (one,) in found] == expected
    assert len(set(expected)) > 1
    assert max(map(len, expected)) > 3
    predicted = model(images, chat, mode='predict')
    for text, start in zip(predicted, expected, strict=True):
        assert text.startswith(start)


def test_an_answer_ends_at_its_mark(model):
    """The likeliest first token, taken for a mark, leaves nothing."""
    images, chat = pictures(2), prompts(model, *PROMPTS[:2])
    (before,), _ = model.generate(images, chat, 1)
    first = model.language.tokenizer(before).input_ids[0]
    config = model.language.causal.generation_config
    marks = config.eos_token_id
    config.eos_token_id = [*marks, first]
    try:
        (after,), _ = model.generate(images, chat, 5)
    finally:
        config.eos_token_id = marks
    assert before
    assert after == before


def test_pictures_are_looked_at_once(model, monkeypatch):
    seen = []
    encode = model.encode
    monkeypatch.setattr(
        model,
        'encode',
        lambda images: seen.append(len(images)) or encode(images),
    )
    found = model.generate(
        pictures(2), prompts(model, *PROMPTS[:2]), 4, 3, 1.0, seed=0
    )
    assert seen == [2]
    assert [len(samples) for samples in found] == [3, 3]


def test_samples_follow_the_seed_the_picture_and_their_number(model):
    images, chat = pictures(3), prompts(model, *PROMPTS[:3])
    draw = dict(max_new_tokens=8, num_samples=2, temperature=2.0)
    found = model.generate(images, chat, **draw, seed=5)
    # Two hundred letters to choose from: no two are alike by chance.
    assert len({text for samples in found for text in samples}) == 6
    assert model.generate(images, chat, **draw, seed=5) == found
    assert model.generate(images, chat, **draw, seed=6) != found
    torch.manual_seed(9)
    for place in range(3):
        own = pictures(3)[place : place + 1]
        alone = prompts(model, PROMPTS[place])
        again = model.generate(own, alone, **draw, seed=5, first=place)
        assert again == found[place : place + 1]
    more = model.generate(images, chat, **{**draw, 'num_samples': 3}, seed=5)
    assert [samples[:2] for samples in more] == found
    unseeded = [model.generate(images, chat, **draw) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_without_a_temperature_all_samples_are_the_likeliest(model):
    images, chat = pictures(2), prompts(model, *PROMPTS[:2])
    found = model.generate(images, chat, 6, num_samples=3)
    alone = model.generate(images, chat, 6)
    assert found == [samples * 3 for samples in alone]


def test_draws_follow_the_softmax():
    scores = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]])
    temperature, count = 0.7, 20_000
    noise = GumbelNoise(temperature, list(range(count)))
    best = noise(None, scores.expand(count, -1)).argmax(1)
    shares = best.bincount(minlength=4) / count
    expected = (scores[0] / temperature).softmax(0)
    # Five standard errors.
    torch.testing.assert_close(shares, expected, atol=0.018, rtol=0)
    assert shares[3] == 0


def test_the_mode_is_as_it_was(model):
    model.train()
    model.generate(pictures(1), prompts(model, 'what?'), 1)
    assert model.training
    assert model.language.training
    model.eval()


def test_what_cannot_be_written_is_said(model):
    images, chat = pictures(1), prompts(model, 'what?')
    with pytest.raises(UsageError, match='max_new_tokens must be at least 1'):
        model.generate(images, chat, 0)
    with pytest.raises(UsageError, match='num_samples must be at least 1'):
        model.generate(images, chat, num_samples=0)
    with pytest.raises(UsageError, match='temperature must be at least 0'):
        Sampling(temperature=-1)
    with pytest.raises(UsageError, match='seed must be at least 0, got -1'):
        model.generate(images, chat, seed=-1)
    right = training(model, ('what?', 'one'), ('what?', 'another'))
    with pytest.raises(UsageError, match='padded on the left'):
        model.generate(pictures(2), right)
