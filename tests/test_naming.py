"""Which words name objects, and which name nothing."""

import pytest

from sparc_vlm.naming import is_function_word, named_objects, plain


def test_plain_words():
    assert plain(' "Circle," ') == 'circle'
    assert plain('T-shirt.') == 't-shirt'


def test_function_words_and_marks():
    assert is_function_word('The')
    assert is_function_word(',')
    assert not is_function_word('Circle')


@pytest.mark.parametrize(
    ('caption', 'expected'),
    [
        ('a red circle.', {2: ['red circle']}),
        ('Two circles', {1: ['red circle', 'blue circle']}),
        ('a small striped blue circle', {4: ['blue circle']}),
        # Red belongs to another noun, across a function word.
        ('a red box above a circle', {5: ['red circle', 'blue circle']}),
        ('one star, below it two boxes', {1: ['green star']}),
        ('red , circle', {2: ['red circle', 'blue circle']}),
        ('nothing here', {}),
    ],
)
def test_which_words_name_objects(caption, expected):
    names = ['red circle', 'blue circle', 'green star']
    assert named_objects(caption.split(), names) == expected


def test_plural_in_es():
    assert named_objects(['boxes'], ['red box']) == {0: ['red box']}


def test_an_object_without_a_name_is_not_named():
    assert named_objects(['a', '', 's'], ['', ' ']) == {}
