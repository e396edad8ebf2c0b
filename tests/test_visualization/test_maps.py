import numpy as np
import pytest
from PIL import Image

from sparc_vlm.models.alignment import sparse_alignment
from sparc_vlm.visualization.maps import (
    WordMaps,
    as_array,
    compare_word_maps,
    draw_word_maps,
    enlarge_map,
    save,
    word_maps,
)
from tests.test_evaluation.colour_world import Board, Boards, ColourModel

BOARD = Board(
    [['ruby', '', '', ''], [''] * 4, [''] * 4, ['', '', '', 'sea']],
    ['a ruby far from the sea .'],
)


def maps_of(model=None, **arguments):
    image = Boards([BOARD]).image(0)
    model = model or ColourModel()
    return word_maps(model, image, BOARD.captions[0], **arguments)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_one_map_for_each_word_with_the_weights_of_the_paper():
    maps = maps_of()
    assert maps.words == ['a', 'ruby', 'far', 'from', 'the', 'sea', '.']
    assert maps.weights.shape == (7, 4, 4)
    assert maps.weights.sum((1, 2)) == pytest.approx(np.ones(7))
    ruby = np.zeros((4, 4))
    ruby[0, 0] = 1
    assert maps.weights[1] == pytest.approx(ruby)
    # A word that the model does not know scores every patch the same.
    assert maps.weights[2] == pytest.approx(np.full((4, 4), 1 / 16))


def test_weights_are_the_mean_of_the_pieces_of_the_word():
    model = ColourModel()
    image = Boards([BOARD]).image(0)
    text = model.encode_text(BOARD.captions)
    patches = model.encode_image([image]).patches
    weights = sparse_alignment(text.tokens, patches)[0]
    # Tokens: mark, 'a', 'rub', 'y', ...
    expected = weights[2:4].mean(0).reshape(4, 4).numpy()
    assert maps_of().weights[1] == pytest.approx(expected)


def test_dense_patches_and_other_alignments():
    shifted = maps_of(ColourModel(dense_shift=2), patches='dense')
    # Shifted by two, ruby looks like sea.
    assert shifted.weights[1].argmax() == 15
    even = maps_of(alignment=lambda t, p: sparse_alignment(t * 0, p))
    assert even.weights == pytest.approx(np.full((7, 4, 4), 1 / 16))


def test_enlarged_map_keeps_places_and_mean():
    weights = np.array([[0.0, 1.0], [0.0, 0.0]])
    large = enlarge_map(weights, (8, 6))
    assert large.shape == (8, 6)
    assert large[0, -1] == 1
    assert large[:, 0].max() < 0.5
    assert large.mean() == pytest.approx(0.25)


def test_overlay_is_bright_on_the_object_and_grey_elsewhere():
    overlay = maps_of().overlay(1)
    assert overlay.shape == (32, 32, 3)
    assert overlay.min() >= 0
    assert overlay.max() <= 1
    spread = np.ptp(overlay, axis=-1)
    assert spread[2, 2] > 0.3
    assert spread[20:, :20].max() < 1e-6


def test_word_that_looks_everywhere_is_pale():
    maps = maps_of()
    assert np.ptp(maps.overlay(2), axis=-1).max() < 0.25


def test_figure_has_a_panel_a_word():
    figure = draw_word_maps(maps_of())
    assert titles(figure) == ['', *maps_of().words]
    assert figure.get_suptitle() == BOARD.captions[0]


def test_function_words_are_omitted_or_dimmed():
    figure = draw_word_maps(maps_of(), 'omit')
    assert titles(figure) == ['', 'ruby', 'far', 'sea']
    dimmed = draw_word_maps(maps_of(), 'dim').axes
    plain = draw_word_maps(maps_of(), 'draw').axes
    assert dimmed[1].title.get_color() != plain[1].title.get_color()
    assert dimmed[2].title.get_color() == plain[2].title.get_color()
    faded = np.asarray(dimmed[1].images[0].get_array())
    assert faded.min() >= 0.65


def test_long_captions_wrap_into_even_rows():
    figure = draw_word_maps(maps_of(), 'draw', columns=5)
    # Seven words, at most four in a row beside the picture: four and three.
    words = maps_of().words
    assert titles(figure) == ['', *words[:4], '', *words[4:]]


def test_comparison_has_a_row_a_model():
    models = {'CLIP': maps_of(ColourModel(dense_shift=1)), 'SPARC': maps_of()}
    figure = compare_word_maps(models, 'omit')
    words = ['ruby', 'far', 'sea']
    assert titles(figure) == ['CLIP', *words, 'SPARC', *words]


def test_bad_arguments_are_refused():
    maps = maps_of()
    other = WordMaps(maps.image, 'x', ['x'], maps.weights[:1])
    with pytest.raises(ValueError, match='the same words'):
        compare_word_maps({'a': maps, 'b': other})
    with pytest.raises(ValueError, match='at least 2'):
        draw_word_maps(maps, columns=1)
    with pytest.raises(ValueError, match="not 'hide'"):
        draw_word_maps(maps, 'hide')


def test_caption_of_function_words_alone_still_draws():
    image = Boards([BOARD]).image(0)
    maps = word_maps(ColourModel(), image, 'of the')
    assert titles(draw_word_maps(maps, 'omit')) == ['']


def test_long_caption_stands_whole_above_few_panels():
    image = Boards([BOARD]).image(0)
    caption = 'of the ' * 12 + 'ruby'
    figure = draw_word_maps(word_maps(ColourModel(), image, caption), 'omit')
    lines = figure.get_suptitle().split('\n')
    assert len(lines) > 1
    assert ' '.join(lines) == caption


def test_figures_as_files_and_arrays(tmp_path):
    figure = draw_word_maps(maps_of(), columns=3)
    save(figure, tmp_path / 'new' / 'maps.png', dpi=50)
    saved = Image.open(tmp_path / 'new' / 'maps.png').convert('RGB')
    array = as_array(figure, dpi=50)
    assert array.dtype == np.uint8
    assert array.shape == (saved.height, saved.width, 3)
    assert np.abs(array.astype(int) - np.asarray(saved)).mean() < 2


def test_panels_have_the_shape_of_the_picture_and_do_not_overlap():
    wide = Boards([Board([['ruby', '', '', 'sea']], ['a ruby'])]).image(0)
    maps = word_maps(ColourModel((1, 4)), wide, BOARD.captions[0])
    figure = draw_word_maps(maps, columns=4)
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    for box in boxes:
        shape = box.width * width / (box.height * height)
        assert shape == pytest.approx(4)
        assert 0 < box.x0 < box.x1 < 1
        assert 0 < box.y0 < box.y1 < 1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_a_long_name_stays_above_its_picture():
    name = 'cross-image negatives'
    figure = compare_word_maps({name: maps_of(), 'SPARC': maps_of()})
    figure.canvas.draw()
    for axes in figure.axes:
        box = axes.title.get_window_extent()
        assert box.width <= axes.get_window_extent().width
    assert figure.axes[0].title.get_fontsize() >= 5


def test_some_words_alone():
    maps = maps_of()
    chosen = maps.only([5, 1])
    assert chosen.words == ['sea', 'ruby']
    assert (chosen.weights == maps.weights[[5, 1]]).all()
    assert chosen.caption == maps.caption
    assert titles(draw_word_maps(chosen))[1:] == ['sea', 'ruby']
