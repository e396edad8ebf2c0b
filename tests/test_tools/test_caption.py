"""tools/caption.py: a line for each caption, and a drawing for --why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sparc_vlm import captioning
from sparc_vlm.captioning import ChatFormat, Conversation
from sparc_vlm.registry import MODELS
from tests.test_captioning.test_eyes import save_clip
from tests.test_captioning.tiny_captioner import (
    build,
    captioner_cfg,
    pictures,
)
from tests.test_captioning.tiny_language import save_language
from tests.test_study.made import save_model
from tools import caption as tool

SAID = 'A red circle left of the blue square.'


@pytest.fixture(scope='module')
def language(tmp_path_factory):
    return save_language(tmp_path_factory.mktemp('language'))


@pytest.fixture(scope='module')
def captioner(language, tmp_path_factory):
    """The folder of one that says the same of every picture."""
    folder = tmp_path_factory.mktemp('captioner')
    eyes = dict(type='SparcEyes', checkpoint=str(save_model(folder)))
    cfg = captioner_cfg(language, eyes=eyes, freeze_language=False)
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    model.init_weights()
    form = ChatFormat(model.language.tokenizer, model.image_tokens)
    turns = (('user', model.prompt), ('assistant', SAID))
    chat = form.training([Conversation(turns)] * 2)
    learned = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    for step in range(200):
        optimizer.zero_grad()
        loss = model(pictures(2, seed=step), chat, mode='loss')['loss']
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    return str(captioning.save(model, folder / 'model', cfg))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'a.png'
    values = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(values).save(path)
    return str(path)


def test_a_line_a_picture(captioner, image, capfd):
    assert tool.main([captioner, image, image]) == 0
    assert capfd.readouterr().out == f'{image}: {SAID}\n' * 2


def test_why_draws_the_nouns(captioner, image, tmp_path, capfd):
    pytest.importorskip('spacy')
    out = tmp_path / 'new' / 'out'
    given = [captioner, image, image, '--why', '--out', str(out)]
    assert tool.main(given) == 0
    assert capfd.readouterr().out == (
        f'{image}: {SAID} -> {out}/a.png\n{image}: {SAID} -> {out}/a-2.png\n'
    )
    drawn = Image.open(out / 'a.png')
    # The picture, and a panel for 'circle' and for 'square'.
    model = captioning.load(captioner).eyes_model
    maps = tool.word_maps(model, Image.open(image).convert('RGB'), SAID)
    find = tool.tagged_nouns()
    nouns = [maps.words[at] for at in find(maps.words, SAID)]
    assert nouns == ['circle', 'square']
    whole = tool.draw_word_maps(maps.only(find(maps.words, SAID)), 'draw')
    assert len(whole.axes) == 3
    width, height = whole.get_size_inches()
    assert drawn.width / drawn.height == pytest.approx(width / height, 0.02)


def test_several_samples(captioner, image, tmp_path, capfd):
    given = [captioner, image, '--samples', '3', '--temperature', '0.01']
    assert tool.main(given) == 0
    assert capfd.readouterr().out == f'{image}: {SAID}\n' * 3
    pytest.importorskip('spacy')
    out = tmp_path / 'out'
    assert tool.main([*given, '--why', '--out', str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        'a-caption2.png',
        'a-caption3.png',
        'a.png',
    ]


def test_samples_differ_and_the_seed_decides(captioner, image, capfd):
    given = [captioner, image, '--samples', '4', '--temperature', '3']
    given += ['--max-tokens', '6']

    def lines(*more):
        assert tool.main([*given, *more]) == 0
        return capfd.readouterr().out

    assert lines() == lines('--seed', '0') != lines('--seed', '1')
    assert len(set(lines().split(f'{image}: '))) > 2


def test_the_prompt_is_asked(captioner, image, capfd):
    prompt = 'What colour?'
    given = [captioner, image, '--prompt', prompt, '--max-tokens', '5']
    assert tool.main(given) == 0
    ((expected,),) = captioning.load(captioner).caption(
        [Image.open(image)], prompt=prompt, max_new_tokens=5
    )
    assert capfd.readouterr().out == f'{image}: {expected}\n'


def test_a_caption_without_a_noun(captioner, image, tmp_path, capfd):
    pytest.importorskip('spacy')
    given = [captioner, image, '--max-tokens', '1', '--why']
    assert tool.main([*given, '--out', str(tmp_path / 'out')]) == 0
    assert capfd.readouterr().out == f'{image}: A (no noun to draw)\n'
    assert not (tmp_path / 'out').exists()


def test_a_broken_picture_does_not_stop_the_others(
    captioner, image, tmp_path, capfd
):
    broken, missing = tmp_path / 'b.png', tmp_path / 'no.png'
    broken.write_bytes(b'no picture')
    given = [captioner, str(broken), image, str(missing)]
    assert tool.main(given) == tool.FAILED
    printed = capfd.readouterr()
    assert printed.out == f'{image}: {SAID}\n'
    assert printed.err.splitlines()[-3:] == [
        f'error: {broken}: not a picture in any known format',
        f'error: {missing}: No such file or directory',
        '2 of 3 pictures could not be read',
    ]


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (('--samples', '0'), '--max-tokens must be at least 1'),
        (('--max-tokens', '0'), '--max-tokens must be at least 1'),
        (('--temperature', '0'), '--temperature must be above 0, got 0.0'),
        (('--temperature', 'nan'), '--temperature must be above 0, got nan'),
        (('--temperature', '0.7'), 'add --samples N'),
    ],
)
def test_numbers_that_make_no_sense(captioner, image, capfd, more, said):
    assert tool.main([captioner, image, *more]) == tool.USAGE
    printed = capfd.readouterr().err
    assert said in printed
    assert printed.count('\n') == 1


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (('--samples', '2', '--seed', '-1'), '--seed must be at least 0'),
        (('--device', 'gpu'), "the device 'gpu' here: choose cpu"),
    ],
)
def test_mistakes_are_said_before_the_model_is_loaded(
    image, tmp_path, capfd, more, said
):
    assert tool.main([str(tmp_path / 'no'), image, *more]) == tool.USAGE
    printed = capfd.readouterr().err
    assert said in printed
    assert printed.count('\n') == 1


def test_models_that_cannot_be_taken(captioner, image, tmp_path, capfd):
    for model, said in (
        (tmp_path / 'no', f'there is no {tmp_path}/no'),
        (save_model(tmp_path), 'is the folder of a model: load it with'),
    ):
        assert tool.main([str(model), image]) == tool.USAGE
        printed = capfd.readouterr()
        assert said in printed.err
        assert printed.err.count('\n') == 1
        assert printed.out == ''


def test_eyes_without_a_text_encoder_cannot_say_why(
    language, image, tmp_path, capfd
):
    pytest.importorskip('spacy')
    eyes = dict(type='HuggingFaceEyes', path=str(save_clip(tmp_path / 'eyes')))
    projector = dict(type='MLPProjector')
    cfg = captioner_cfg(language, eyes=eyes, projector=projector)
    folder = captioning.save(build(cfg), tmp_path / 'model', cfg)
    assert tool.main([str(folder), image, '--why']) == tool.USAGE
    assert 'have no text encoder' in capfd.readouterr().err
    assert tool.main([str(folder), image, '--max-tokens', '2']) == 0


def test_drawings_that_cannot_be_written(captioner, image, tmp_path, capfd):
    pytest.importorskip('spacy')
    given = [captioner, image, '--why', '--out']
    (tmp_path / 'file').touch()
    assert tool.main([*given, str(tmp_path / 'file/out')]) == tool.USAGE
    assert 'a.png cannot be written: Not a directory' in (
        capfd.readouterr().err
    )
    assert tool.main([*given, str(tmp_path)]) == tool.USAGE
    assert 'name another folder with --out' in capfd.readouterr().err
    # What is not drawn is not in the way.
    assert tool.main([captioner, image, '--out', str(tmp_path)]) == 0
