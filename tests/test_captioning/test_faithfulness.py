"""The tasks on a real captioner, small and untrained, from its folder."""

from __future__ import annotations

import json

import pytest

from sparc_vlm import captioning
from sparc_vlm.captioning import Attribution, Rerank, save
from sparc_vlm.captioning.grounding import ground_captions, words_among
from sparc_vlm.datasets import Scenes
from sparc_vlm.datasets.scenes.vocabulary import SHAPES
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation import POPE, Captioning
from sparc_vlm.study.models import is_captioner, is_detector, open_model
from tests.test_captioning.tiny_captioner import build, captioner_cfg
from tools import test as tool

COUNT = 6


@pytest.fixture(scope='module')
def folder(tiny_language, tiny_pretrained, tmp_path_factory):
    eyes = dict(type='SparcEyes', checkpoint=tiny_pretrained)
    path = tmp_path_factory.mktemp('captioner') / 'model'
    cfg = captioner_cfg(tiny_language, eyes=eyes)
    save(build(cfg), path, cfg)
    return path


@pytest.fixture(scope='module')
def model(folder):
    return captioning.load(folder)


@pytest.fixture
def scenes():
    return Scenes('val', size=32, num_images=COUNT)


def test_captioning_and_its_choices(model, scenes):
    options = dict(meteor=False, k_precision=False, max_new_tokens=6)
    plain = Captioning(scenes, **options).run(model)
    assert len(plain.samples) == COUNT
    assert {'cider', 'bleu_4', 'clip_score', 'missed_objects'} <= set(
        plain.metrics
    )
    images = [scenes.image(i) for i in range(COUNT)]
    said = model.caption(images, max_new_tokens=6)
    assert [s['caption'] for s in plain.samples] == [one for (one,) in said]
    for by in ('clip_score', 'likelihood'):
        choose = dict(type='Rerank', by=by, num_samples=3)
        chosen = Captioning(scenes, choose=choose, **options).run(model)
        assert chosen.metrics['captioned'] == 100
        if by == 'clip_score':
            before, after = plain.metrics[by], chosen.metrics[by]
            assert after >= before - 1e-3


def test_one_picture_of_many_questions_is_looked_at_once(
    model, scenes, monkeypatch
):
    first, second = scenes.image(0), scenes.image(1)
    images = [first, first, second, first]
    asked = ['Is there a star?', 'What is it?', 'What is it?', 'Where?']
    one_by_one = [
        model.answer([image], [text])[0]
        for image, text in zip(images, asked, strict=True)
    ]
    alone = model.likelihood([image.copy() for image in images], asked)
    seen = []
    encode = model.captioner.encode
    monkeypatch.setattr(
        model.captioner,
        'encode',
        lambda pixels: seen.append(len(pixels)) or encode(pixels),
    )
    assert model.answer(images, asked) == one_by_one
    assert model.likelihood(images, asked) == pytest.approx(alone, abs=1e-4)
    assert seen == [2, 2]


def test_what_is_chosen_is_the_likeliest(model, scenes):
    choice = Rerank('likelihood', num_samples=4, seed=1)
    image = scenes.image(0)
    (rated,) = choice.wrap(model).rate([image], max_new_tokens=6)
    assert len(rated) > 1
    for one in rated:
        alone = model.likelihood([image], [one.text])
        assert one.score == pytest.approx(alone[0], abs=1e-4)
    (best,) = choice.wrap(model).caption([image], max_new_tokens=6)
    assert best == [max(rated, key=lambda one: one.score).text]


def test_what_is_drawn_does_not_depend_on_the_batch(model, scenes):
    choice = Rerank('likelihood', num_samples=2, seed=1)
    images = [scenes.image(0), scenes.image(1)]
    together = choice.wrap(model).rate(images, max_new_tokens=6)
    one_by_one = choice.wrap(model)
    alone = [one_by_one.rate([image], max_new_tokens=6)[0] for image in images]
    assert [[one.text for one in own] for own in together] == [
        [one.text for one in own] for own in alone
    ]


def test_grounding_of_real_words(model, scenes):
    choice = Rerank('grounding', nouns=list(SHAPES)).wrap(model)
    said = ['a red circle', 'a small blue star and a ring', 'nothing']
    scores = choice._scores(scenes.image(0), said, None)
    assert all(-1 <= score <= 2 for score in scores)
    assert scores[2] == 0


def test_what_the_eyes_model_has_no_token_for_has_no_noun(model, scenes):
    said, find = ['\ufffd', 'a red circle'], words_among(SHAPES)
    nouns, _ = ground_captions(model.eyes_model, scenes.image(0), said, find)
    assert [[noun.word for noun in own] for own in nouns] == [[], ['circle']]


def test_pope_and_attribution(model, scenes):
    result = POPE(scenes, kinds=['popular']).run(model)
    assert len(result.samples) == COUNT
    asked = result.samples[0]['asked']
    assert {'object', 'is_there', 'answer', 'kind'} == set(asked[0])
    # It has learned nothing, and names no shape.
    with pytest.raises(UsageError, match='no caption names a class'):
        Attribution(scenes, max_new_tokens=4).run(model)


def test_by_flags(folder, tmp_path, capsys):
    assert is_captioner(str(folder))
    assert not is_detector(str(folder))
    assert open_model(str(folder)).caption is not None
    out = tmp_path / 'found.json'
    options = 'size=32,num_images=3'
    flags = [
        f'captioning:scenes:,{options},max_new_tokens=4,meteor=False',
        f'pope:scenes:,{options}',
    ]
    code = tool.main([str(folder), '--tasks', *flags, '--out', str(out)])
    assert code == 0, capsys.readouterr().err
    found = json.loads(out.read_text())['tasks']
    assert set(found) == {'captioning_scenes', 'pope_scenes'}
