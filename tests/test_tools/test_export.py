"""A captioner taken apart says what it said before."""

from __future__ import annotations

import re
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MMLogger
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparc_vlm import captioning
from sparc_vlm.captioning import ChatFormat, Conversation, load_vision
from sparc_vlm.registry import MODELS
from tests.test_captioning.test_chat import THINKS
from tests.test_captioning.test_saving import as_picture
from tests.test_captioning.tiny_captioner import (
    EYES,
    LORA,
    build,
    captioner_cfg,
    pictures,
)
from tests.test_captioning.tiny_language import save_language
from tests.test_study.made import save_model
from tools import export as tool

PROMPT = "What is on it? Don't guess."
SAID = 'a red circle', 'two blue squares left of it'


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """mmengine's logger would go on writing to another test's output."""
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())


@pytest.fixture(scope='module')
def language(tmp_path_factory):
    return save_language(tmp_path_factory.mktemp('language'))


def trained(cfg, folder, steps=3):
    """Trains a few steps and saves; the folder and the chat it learned."""
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    model.init_weights()
    chat = ChatFormat(model.language.tokenizer, model.image_tokens).training(
        [
            Conversation((('user', PROMPT), ('assistant', text)))
            for text in SAID
        ]
    )
    learned = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(pictures(2), chat, mode='loss')['loss'].backward()
        optimizer.step()
    return model.eval(), captioning.save(model, folder, cfg), chat


KINDS = dict(
    lora=dict(options=LORA),
    whole=dict(freeze_language=False),
    frozen=dict(),
    sparc=dict(options=LORA, eyes=None),
    thinks=dict(options=LORA),
)


@pytest.mark.parametrize('kind', KINDS)
def test_train_save_load_merge(kind, language, tmp_path, capfd):
    """The same logits at each station, and the same caption at the last."""
    changes = dict(KINDS[kind], prompt=PROMPT)
    if kind == 'thinks':
        place = tmp_path / 'language'
        language = save_language(place, chat_template=THINKS)
    if kind == 'sparc':
        eyes = str(save_model(tmp_path))
        changes['eyes'] = dict(type='SparcEyes', checkpoint=eyes)
    cfg = captioner_cfg(language, **changes)
    model, folder, chat = trained(cfg, tmp_path / 'run' / 'model')
    images = pictures(2)
    with torch.no_grad():
        expected = model(images, chat)
    loaded = captioning.load(folder)
    with torch.no_grad():
        found = loaded.captioner(images, chat)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    out = tmp_path / 'exported'
    assert tool.main([str(folder), str(out)]) == 0
    printed = capfd.readouterr().out
    names = ['README.md', 'adapter', 'language', 'vision']
    if not model.language.has_lora:
        names.remove('adapter')
    assert re.findall(r'exported/(\S+): [\d.]+ MB', printed) == names

    merged = AutoModelForCausalLM.from_pretrained(out / 'language')
    if model.language.has_lora:
        base = AutoModelForCausalLM.from_pretrained(language)
        wrapped = PeftModel.from_pretrained(base, out / 'adapter').eval()
        ids = torch.arange(30)[None]
        torch.testing.assert_close(
            wrapped(ids).logits, merged(ids).logits, atol=1e-5, rtol=1e-5
        )
    # Its own embeddings, with the pictures' tokens among them.
    vision = load_vision(out / 'vision')
    photos = [as_picture(image) for image in images]
    tokens = vision(photos)
    assert tokens.shape[:2] == (2, model.image_tokens)
    places = chat.ids == captioning.IMAGE
    embeds = merged.get_input_embeddings()(chat.ids.masked_fill(places, 0))
    embeds = embeds.masked_scatter(places[..., None], tokens)
    with torch.no_grad():
        found = merged(
            inputs_embeds=embeds, attention_mask=chat.mask.long()
        ).logits
    torch.testing.assert_close(
        found[chat.mask], expected[chat.mask], atol=1e-5, rtol=1e-5
    )

    # The example of the page, as it stands there.
    photos[1].save(tmp_path / 'photo.png')
    page = (out / 'README.md').read_text()
    code = page.partition('```python\n')[2].partition('```')[0]
    code = code.replace('photo.jpg', str(tmp_path / 'photo.png'))
    code = code.replace("'exported/", f"'{out}/")
    written = []
    exec(code, {'print': written.append})
    ((caption,),) = loaded.caption(photos[1:])
    assert written == [caption]
    assert caption


def test_a_tokenizer_without_a_template_is_given_the_plain_one(tmp_path):
    language = save_language(tmp_path / 'language', chat_template=None)
    cfg = captioner_cfg(language, LORA)
    folder = captioning.save(build(cfg), tmp_path / 'model', cfg)
    assert tool.main([str(folder), str(tmp_path / 'out')]) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / 'out' / 'language')
    asked = [{'role': 'user', 'content': 'what?'}]
    written = tokenizer.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True
    )
    assert written == 'User: what?\nAssistant:'


def test_mistakes_are_one_sentence(language, tmp_path, capfd):
    cfg = captioner_cfg(language, LORA, eyes=dict(EYES))
    folder = captioning.save(build(cfg), tmp_path / 'model', cfg)
    other = save_language(tmp_path / 'other', seed=1)
    ours = save_model(tmp_path / 'ours')
    for given, said in (
        ([tmp_path / 'none', 'x'], 'train a model first'),
        ([folder, tmp_path], 'already: name another folder'),
        ([ours, tmp_path / 'x'], 'load it with sparc_vlm.load'),
        ([folder, tmp_path / 'x', '--language', other], 'another language'),
        ([folder, '/proc/no/x'], '/proc/no cannot be written to'),
    ):
        assert tool.main([str(part) for part in given]) == tool.USAGE
        printed = capfd.readouterr().err
        last = printed.strip().splitlines()[-1]
        assert last.startswith('error: ')
        assert said in last
        assert 'Traceback' not in printed
    assert not (tmp_path / 'x').exists()
    assert not list(tmp_path.glob('x.*'))
