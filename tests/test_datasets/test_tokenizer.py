from __future__ import annotations

import errno
import json
import os
import resource

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from sparc_vlm.datasets import (
    CaptionTokenizer,
    HuggingFaceTokenizer,
    Scenes,
    load_tokenizer,
)
from sparc_vlm.datasets.statistics import all_captions, count_tokens
from sparc_vlm.datasets.tokenizer import has_tokenizer
from sparc_vlm.datasets.tokens import assign_words, find_words
from sparc_vlm.registry import TOKENIZERS
from tests.test_datasets.made import ListSource, caption
from tests.test_engine import children

SCENES = Scenes(num_images=300)
TRAINED = CaptionTokenizer.train(all_captions(SCENES))


@pytest.fixture(scope='module')
def marked(tmp_path_factory):
    """A ready-made tokenizer with begin and end marks, in a folder."""
    folder = tmp_path_factory.mktemp('ready')
    TRAINED.save(folder / 'plain')
    inner = Tokenizer.from_file(str(folder / 'plain' / 'tokenizer.json'))
    inner.add_special_tokens(['<s>', '</s>'])
    marks = [(m, inner.token_to_id(m)) for m in ('<s>', '</s>')]
    inner.post_processor = TemplateProcessing(
        single='<s> $A </s>', special_tokens=marks
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token='<s>', eos_token='</s>'
    ).save_pretrained(folder / 'ready')
    return folder / 'ready'


def test_words_of_the_data_are_whole_tokens():
    text = 'two small striped red circles left of a blue hexagon'
    tokens = TRAINED.encode(text)
    assert len(tokens.ids) <= len(text.split()) + 2
    counts = count_tokens(all_captions(SCENES), TRAINED)
    assert counts.unknown == 0 and counts.empty == 0
    assert counts.mean < 20 and counts.truncated == 0
    assert counts.captions == 1500


def test_training_gives_the_same_vocabulary_again(tmp_path):
    again = CaptionTokenizer.train(all_captions(SCENES))
    texts = [text for i in range(50) for text in SCENES.captions(i)]
    assert [again.encode(t) for t in texts] == [
        TRAINED.encode(t) for t in texts
    ]


@pytest.mark.parametrize('size', [40, 100, 32_000])
def test_vocabulary_stays_within_what_is_asked(size):
    trained = CaptionTokenizer.train(all_captions(SCENES), size)
    assert trained.vocab_size <= size
    ids = trained.encode('a red circle').ids
    assert ids and max(ids) < trained.vocab_size


@pytest.mark.parametrize('texts', [['a'], ['☃☃'], ['a b', ''], ['x'] * 9])
def test_tiny_data_train(texts):
    trained = CaptionTokenizer.train(texts)
    assert trained.encode(texts[0]).ids
    assert trained.encode('never met').ids


def test_no_captions_is_an_error():
    for texts in ([], ['', ' \n']):
        with pytest.raises(ValueError, match='no captions'):
            CaptionTokenizer.train(texts)


def test_rare_characters_are_left_to_the_unknown_token():
    common = [caption(i) for i in range(100)] * 20
    rare = [chr(0x4E00 + i) for i in range(5)]
    trained = CaptionTokenizer.train(common + rare)
    assert trained.unknown_id in trained.encode('a \u4e00 dog').ids
    assert trained.unknown_id not in trained.encode('a red dog').ids


def test_case_width_and_space_make_no_difference():
    plain = TRAINED.encode('a red circle').ids
    for text in ('A RED Circle', ' a  red\tcircle\n', 'ａ ｒｅｄ circle'):
        assert TRAINED.encode(text).ids == plain
    assert TRAINED.encode('a\u200bred circle').ids == plain


def test_empty_and_unknown_texts():
    for empty in ('', ' ', '\n\t', '\u200b'):
        assert TRAINED.encode(empty).ids == []
    for unknown in ('☃', '名前', '\u00a9'):
        tokens = TRAINED.encode(unknown)
        assert tokens.ids and TRAINED.unknown_id in tokens.ids
    with pytest.raises(ValueError, match='text 1 of 2'):
        TRAINED.batch(['a', ''])


def test_long_captions_are_cut():
    tokens = TRAINED.encode('red ' * 100)
    assert len(tokens.ids) == len(tokens.real) == len(tokens.words) == 55
    assert tokens.truncated
    assert not TRAINED.encode('red ' * 10).truncated


@pytest.mark.parametrize(
    'text',
    [
        'a red circle',
        'An unfamiliar, oddly-named thing!',
        "the dog's (big) ball...",
        '  Two ﬁne ☃☃ snowmen ',
    ],
)
def test_tokens_know_their_words(text, marked):
    for tokenizer in (TRAINED, HuggingFaceTokenizer(marked)):
        tokens = tokenizer.encode(text)
        words = tokenizer.word_spans(text)
        named = [word for word in tokens.words if word is not None]
        assert named == sorted(named)
        assert set(named) == set(range(len(words)))
        assert ''.join(words) == ''.join(text.split())


def test_a_word_in_pieces():
    tokens = TRAINED.encode('red zebra circle')
    assert tokens.words.count(1) > 1
    assert tokens.words[0] == 0 and tokens.words[-1] == 2


def test_assigning_words():
    text = 'a big-eared dog.'
    assert find_words(text) == [(0, 1), (2, 11), (12, 15), (15, 16)]
    offsets = [(0, 0), (0, 1), (1, 4), (4, 5), (5, 11), (11, 12), (12, 16)]
    assert assign_words(text, offsets) == [None, 0, 1, 1, 1, None, 2]


def test_batches_are_packed():
    texts = ['a red circle', 'two hearts']
    batch = TRAINED.batch(texts)
    expected = [TRAINED.encode(text).ids for text in texts]
    assert batch.lengths.tolist() == [len(ids) for ids in expected]
    assert batch.ids.tolist() == sum(expected, [])
    assert batch.ids.dtype == torch.int64 and batch.real is None
    words = sum((TRAINED.encode(text).words for text in texts), [])
    assert batch.words.tolist() == words
    assert {0, 1, 2} <= set(batch.words.tolist())


def test_saved_and_loaded(tmp_path):
    trained = CaptionTokenizer.train(['a red dog'] * 3, max_length=7)
    trained.save(tmp_path / 'new' / 'folder')
    for loaded in (
        load_tokenizer(tmp_path / 'new/folder'),
        CaptionTokenizer(tmp_path / 'new/folder/tokenizer.json'),
        TOKENIZERS.build(
            {'type': 'CaptionTokenizer', 'path': f'{tmp_path}/new/folder'}
        ),
    ):
        assert loaded.max_length == 7
        assert loaded.vocab_size == trained.vocab_size
        assert loaded.encode('a red dog') == trained.encode('a red dog')
    short = load_tokenizer(tmp_path / 'new/folder', max_length=2)
    assert len(short.encode('a red dog').ids) == 2
    with pytest.raises(FileNotFoundError, match='prepare_data'):
        load_tokenizer(tmp_path / 'none')


def test_what_is_the_same_is_not_written_again(marked, tmp_path):
    for tokenizer in (TRAINED, HuggingFaceTokenizer(marked)):
        folder = tmp_path / type(tokenizer).__name__
        tokenizer.save(folder)
        before = {f.name: f.stat().st_ino for f in folder.iterdir()}
        tokenizer.save(folder)
        assert {f.name: f.stat().st_ino for f in folder.iterdir()} == before


def save_into_little_space(source, folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    with pytest.raises(OSError, match='too large') as caught:
        load_tokenizer(source).save(folder)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize('kind', ['trained', 'ready'])
def test_a_full_disk_is_an_oserror_and_leaves_the_old(kind, marked, tmp_path):
    """A real limit of the system, not a pretended one."""
    tokenizer = TRAINED if kind == 'trained' else HuggingFaceTokenizer(marked)
    tokenizer.save(tmp_path / 'source')
    small = CaptionTokenizer.train(['a red dog'] * 3, max_length=7)
    small.save(tmp_path / 'out')
    for name in ('out', 'new'):
        process = children.start(
            save_into_little_space,
            tmp_path / 'source',
            tmp_path / name,
            log=tmp_path / 'log',
        )
        children.finish(process, tmp_path / 'log')
    assert not list(tmp_path.rglob('*.unfinished'))
    tokens = CaptionTokenizer(tmp_path / 'out', 7).encode('a red dog')
    assert tokens == small.encode('a red dog')
    assert not has_tokenizer(tmp_path / 'new')


@pytest.mark.parametrize('kind', ['trained', 'ready'])
def test_a_kill_between_files_leaves_no_tokenizer(
    kind, marked, tmp_path, monkeypatch
):
    tokenizer = TRAINED if kind == 'trained' else HuggingFaceTokenizer(marked)
    real, moved = os.replace, []

    def killed(old, new):
        moved.append(new.name)
        if new.name == 'tokenizer.json':
            raise KeyboardInterrupt
        real(old, new)

    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        tokenizer.save(tmp_path / 'new')
    assert 'tokenizer_settings.json' in moved
    assert moved[-1] == 'tokenizer.json'
    assert not has_tokenizer(tmp_path / 'new')


def test_a_cut_vocabulary_is_no_tokenizer(tmp_path):
    assert not has_tokenizer(tmp_path)
    TRAINED.save(tmp_path)
    assert has_tokenizer(tmp_path)
    file = tmp_path / 'tokenizer.json'
    file.write_bytes(file.read_bytes()[:300])
    assert not has_tokenizer(tmp_path)
    with pytest.raises(ValueError, match='tokenizer.json is no tokenizer: '):
        load_tokenizer(tmp_path)


def test_marks_of_ready_made_tokenizers_are_not_real(marked):
    tokenizer = HuggingFaceTokenizer(marked, max_length=6)
    tokens = tokenizer.encode('a red circle')
    assert tokens.ids[1:-1] == TRAINED.encode('a red circle').ids
    assert tokens.real == [False, *[True] * (len(tokens.ids) - 2), False]
    assert tokens.words[0] is None and tokens.words[-1] is None
    long = tokenizer.encode('a red circle left of a blue square')
    assert len(long.ids) == 6 and long.truncated
    assert long.real[0] is False and long.real[-1] is False
    assert not any(tokenizer.encode('').real)
    assert tokenizer.batch(['a red circle']).real.sum() == len(tokens.ids) - 2
    with pytest.raises(ValueError, match='text 0'):
        tokenizer.batch([''])


def test_ready_made_saved_and_loaded(marked, tmp_path):
    tokenizer = HuggingFaceTokenizer(marked, max_length=9)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, HuggingFaceTokenizer)
    assert loaded.max_length == 9
    assert loaded.vocab_size == tokenizer.vocab_size
    text = 'a big red heart'
    assert loaded.encode(text) == tokenizer.encode(text)


def test_code_beside_a_tokenizer_is_not_run(marked, tmp_path):
    tokenizer = HuggingFaceTokenizer(marked)
    tokenizer.save(tmp_path)
    (tmp_path / 'evil.py').write_text('raise SystemExit("was run")')
    config = tmp_path / 'tokenizer_config.json'
    content = json.loads(config.read_text())
    content['auto_map'] = {'AutoTokenizer': ['evil.Evil', 'evil.Evil']}
    config.write_text(json.dumps(content))
    assert HuggingFaceTokenizer(tmp_path).encode('a red heart').ids


def test_captions_spread_over_the_source():
    source = ListSource(count=100)
    assert list(all_captions(source)) == [caption(i) for i in range(100)]
    assert list(all_captions(source, 10)) == [
        caption(i) for i in range(0, 100, 10)
    ]


def test_more_than_half_of_the_captions_are_spread_too():
    source = ListSource(900, texts={i: [str(i)] for i in range(900)})
    found = [int(text) for text in all_captions(source, 500)]
    assert len(found) == 500 and found == sorted(found)
    assert found[0] == 0 and found[-1] >= 898
    assert [int(text) for text in all_captions(source, 900)] == [*range(900)]


def test_the_first_picture_does_not_speak_for_all():
    texts = {i: [str(i)] * 5 for i in range(1, 900)}
    source = ListSource(900, texts=texts)
    found = list(all_captions(source, 450))
    assert 400 <= len(found) <= 500
    assert int(found[-1]) > 880
    assert list(all_captions(ListSource(0), 5)) == []
