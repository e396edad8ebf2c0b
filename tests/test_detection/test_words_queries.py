"""Words are encoded once, and kept as long as they are the same."""

import pytest
import torch
from mmdet.structures import DetDataSample

from sparc_vlm.detection.words.queries import (
    KeptWords,
    encode_texts,
    numbered,
    queries_of,
    words_of,
)
from sparc_vlm.errors import UsageError
from tests.test_detection.words_made import (
    build,
    detector_cfg,
    sample,
    tokenizer,
)


@pytest.fixture(scope='module')
def tokens(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp('words'))


@pytest.fixture
def encoders(tokens):
    return build(detector_cfg(tokens)).encoders.eval()


@pytest.fixture
def run(encoders):
    """How many texts each call of the text encoder had."""
    counts = []
    encoders.text.register_forward_pre_hook(
        lambda module, args: counts.append(len(args[0].lengths))
    )
    return counts


def test_embeddings_are_those_of_the_pretrainer(encoders):
    words = ['red box', 'dog', 'a photo of a blue box']
    twin = encoders.encode_text(words).text
    twin = twin / twin.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encode_texts(encoders, words), twin)


def test_equal_words_of_a_batch_share_a_row(encoders):
    lists = [('dog', 'red box'), (), ('red box', 'black box', 'dog')]
    table = numbered(lists)
    assert list(table) == ['dog', 'red box', 'black box']
    values = encode_texts(encoders, list(table))
    queries = queries_of(lists, table, values)
    assert queries.mask.tolist() == [
        [True, True, False],
        [False] * 3,
        [True] * 3,
    ]
    for row, words in enumerate(lists):
        for place, word in enumerate(words):
            expected = values[table[word]]
            assert torch.equal(queries.values[row, place], expected)
    assert not queries.values[~queries.mask].any()


def test_no_words_at_all(encoders):
    queries = queries_of([(), ()], {}, encode_texts(encoders, []))
    assert queries.values.shape == (2, 0, 8)
    assert KeptWords(['{}']).encode(encoders, []).shape == (0, 8)


def test_a_text_is_asked_for_before_words():
    """MMDetection's prompts, of which labels are places."""
    samples = [
        sample(['dog'], text='red box . dog'),
        sample(['dog'], text=['Blue_Box']),
        sample(['black box']),
        DetDataSample(),
    ]
    assert words_of(samples, ['green box']) == [
        ('red box', 'dog'),
        ('blue box',),
        ('black box',),
        ('green box',),
    ]
    with pytest.raises(UsageError, match='give each sample words or a text'):
        words_of(samples, None)


def test_only_new_words_are_run(encoders, run):
    kept = KeptWords(['{}'])
    first = kept.encode(encoders, ['dog', 'red box'])
    assert run == [2]
    assert torch.equal(kept.encode(encoders, ['dog', 'red box']), first)
    second = kept.encode(encoders, ['blue box', 'red box'])
    assert run == [2, 1]
    assert torch.equal(second[1], first[1])
    kept.encode(encoders, ['dog'])
    assert run == [2, 1, 1], 'words of the last call alone are kept'


def change_in_place(encoders):
    with torch.no_grad():
        encoders.text.token_embed.weight.mul_(1.5)


def load_others(encoders):
    state = {k: v + 0.3 for k, v in encoders.text_adapter.state_dict().items()}
    encoders.text_adapter.load_state_dict(state)


@pytest.mark.parametrize('change', [change_in_place, load_others])
def test_other_weights_are_noticed(encoders, run, change):
    kept = KeptWords(['{}'])
    before = kept.encode(encoders, ['dog'])
    change(encoders)
    after = kept.encode(encoders, ['dog'])
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, encode_texts(encoders, ['dog']).detach())


def test_a_change_of_mode_drops_what_was_kept(tokens):
    """Averaged weights are swapped in behind the version counters."""
    model = build(detector_cfg(tokens, words=['dog'])).eval()
    images = torch.rand(1, 3, 32, 32)
    before = model(images).logits
    model.encoders.text_adapter.weight.data.mul_(-1)
    assert not torch.allclose(model.eval()(images).logits, before)


def test_templates_are_averaged(encoders):
    found = KeptWords(['{}', 'a photo of a {}']).encode(
        encoders, ['dog', 'red box']
    )
    parts = [
        encode_texts(encoders, ['dog', 'red box']),
        encode_texts(encoders, ['a photo of a dog', 'a photo of a red box']),
    ]
    mean = (parts[0] + parts[1]) / 2
    torch.testing.assert_close(found, mean / mean.norm(dim=-1, keepdim=True))
