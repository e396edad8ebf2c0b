"""What no task may take for a result: nothing to encode, nothing finite."""

from types import SimpleNamespace

import pytest
import torch

from sparc_vlm.evaluation.encoding import finite_patches, has_words


class Letters:
    """A tokenizer for which only letters are tokens."""

    def encode(self, text):
        return SimpleNamespace(real=[c.isalpha() for c in text])


@pytest.mark.parametrize(
    ('caption', 'expected'),
    [('a dog', True), ('', False), (' \n', False), ('\u200b\x07', False)],
)
def test_captions_without_a_token_have_no_words(caption, expected):
    assert has_words(SimpleNamespace(tokenizer=Letters()), caption) == expected


def test_without_a_tokenizer_blank_decides():
    assert has_words(object(), 'a dog')
    assert not has_words(object(), '  ')


@pytest.mark.parametrize('name', ['patches', 'dense'])
def test_a_model_that_diverged_is_said(name):
    values = dict(patches=torch.zeros(1, 2, 3), dense=torch.zeros(1, 2, 3))
    assert len(finite_patches(SimpleNamespace(**values), 'pointing')) == 2
    values[name] = torch.full((1, 2, 3), float('nan'))
    with pytest.raises(ValueError, match='pointing: .* diverged'):
        finite_patches(SimpleNamespace(**values), 'pointing')
