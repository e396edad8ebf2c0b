"""Where words may look, checked against what is drawn in the picture."""

from itertools import product

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from PIL import Image

from sparc_vlm.datasets import (
    CaptionTokenizer,
    CocoCaptions,
    PairDataset,
    PairLoader,
    Scenes,
    collate,
)
from sparc_vlm.naming import named_objects
from tests.test_datasets.made import ListSource, write_coco
from tests.test_models.tiny_models import build, model_cfg

SCENES = Scenes('val', size=64, num_images=40)
TOKENIZER = CaptionTokenizer.train(
    [text for index in range(40) for text in SCENES.captions(index)] * 3
)
SHOWN = 255


class Square(ListSource):
    """A white square with a name on black, in a picture of any shape."""

    def __init__(self, size, box, **options):
        options = {'texts': {0: ['the white square here']}} | options
        super().__init__(count=1, **options)
        self.size, self.box = size, box

    def image(self, index, at_least=None):
        picture = Image.new('RGB', self.size)
        picture.paste((SHOWN,) * 3, self.box)
        return picture

    def boxes(self, index):
        return [{'name': 'white square', 'box': list(self.box)}]

    def segments(self, index):
        labels = np.asarray(self.image(index))[..., 0] // SHOWN
        return labels.astype(np.int64), ['white square']


def dataset(source, kind, **options):
    options = dict(image_size=64, patch_size=8) | options
    return PairDataset(source, TOKENIZER, patch_masks=kind, **options)


def row_of(pair, word, caption='the white square here'):
    """(8, 8) mask of a word's first token."""
    place = TOKENIZER.word_spans(caption).index(word)
    return pair.patch_mask[pair.tokens.words.index(place)].view(8, 8)


def pixels_of(kind, index, name):
    """(64, 64) bool, one object name in a drawn scene."""
    if kind == 'segments':
        labels, names = SCENES.segments(index)
        return labels == names.index(name) + 1
    shown = np.zeros((64, 64), bool)
    for entry in SCENES.boxes(index):
        if entry['name'] == name:
            x1, y1, x2, y2 = (int(value) for value in entry['box'])
            shown[y1:y2, x1:x2] = True
    return shown


@pytest.mark.parametrize('kind', ['boxes', 'segments'])
def test_words_of_a_drawn_scene_look_at_their_objects(kind):
    pairs = dataset(SCENES, kind)
    named = 0
    for index in range(20):
        pair = pairs[index, index]
        texts = [t for t in SCENES.captions(index)
                 if TOKENIZER.encode(t).ids == pair.tokens.ids]  # fmt: skip
        words = TOKENIZER.word_spans(texts[0])
        names = list(dict.fromkeys(b['name'] for b in SCENES.boxes(index)))
        meant = named_objects(words, names)
        named += len(meant)
        for place, word in enumerate(pair.tokens.words):
            row = pair.patch_mask[place].view(8, 8)
            if word not in meant:
                assert row.all()
                continue
            shown = sum(pixels_of(kind, index, n) for n in meant[word])
            for i, j in product(range(8), range(8)):
                tile = shown[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
                assert row[i, j] == bool(tile.any())
            assert not row.all()
    assert named > 20


@pytest.mark.parametrize('kind', ['boxes', 'segments'])
@pytest.mark.parametrize('size', [(64, 64), (90, 50), (37, 120)])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'resize': 'crop'},
        {'flip': True},
        {'crop_scale': (0.3, 0.9), 'flip': True},
    ],
)
def test_masks_move_with_the_picture(kind, size, options):
    width, height = size
    box = (width // 5, height // 3, width // 2, height // 2)
    pairs = dataset(Square(size, box), kind, **options)
    rows = set()
    for draw in range(12):
        pair = pairs[0, draw]
        row = row_of(pair, 'square')
        tiles = pair.image[0].view(8, 8, 8, 8).permute(0, 2, 1, 3)
        # Where a patch is named, a pixel of it is white (a box may reach in
        # by less than a pixel); elsewhere all are black up to the edge's blur.
        brightest = tiles.flatten(2).amax(-1)
        if not (brightest > SHOWN // 2).any():
            assert row.all()
            continue
        assert (brightest[~row] < 0.75 * SHOWN).all()
        if kind == 'segments':
            assert (brightest[row] > 0.25 * SHOWN).all()
        else:
            assert (brightest[row] > 0.25 * SHOWN).double().mean() > 0.5
        assert row_of(pair, 'white').all()
        rows.add(tuple(row.flatten().tolist()))
    moves = options.get('crop_scale') or options.get('flip')
    assert len(rows) == 1 if not moves else len(rows) > 1


def test_a_word_whose_object_is_out_of_view_looks_everywhere():
    source = Square((120, 40), (0, 0, 6, 6))
    pair = dataset(source, 'segments', resize='crop')[0, 0]
    assert row_of(pair, 'square').all()


def test_pictures_with_boxes_are_decoded_in_full():
    class Asked(Square):
        asked = []

        def image(self, index, at_least=None):
            self.asked.append(at_least)
            return super().image(index)

    source = Asked((64, 64), (0, 0, 9, 9))
    for kind, wanted in (('boxes', None), ('segments', 64), (None, 64)):
        pairs = dataset(source, kind)
        source.asked.clear()
        pairs[0, 0]
        assert source.asked[0] == wanted


def test_boxes_of_coco(tmp_path):
    root = write_coco(tmp_path, count=2)
    source = CocoCaptions(
        root / 'annotations/captions_train.json',
        root / 'images_train.zip',
        root / 'annotations/instances_train.json',
    )
    source.captions = lambda index: ['a dog on a mat']
    # A square of (2, 2) to (12, 12) in a picture of 24 x 24 pixels.
    for kind in ('boxes', 'segments'):
        pair = dataset(source, kind, image_size=24, patch_size=6)[0, 0]
        row = pair.patch_mask[pair.tokens.words.index(1)].view(4, 4)
        assert row.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    # The second picture has no objects.
    assert pair.patch_mask.shape == (len(pair.tokens.ids), 16)
    assert dataset(source, 'boxes')[1, 0].patch_mask.all()


def test_a_batch_is_padded_with_true_and_trains_a_model():
    source = dict(type='Scenes', split='val', size=64, num_images=8)
    options = dict(source=source, image_size=64, tokenizer=TOKENIZER)
    masked = dict(options, patch_masks='boxes', patch_size=8)
    batch = next(iter(PairLoader(masked, batch_size=4)))
    tokens, mask = batch['tokens'], batch['patch_mask']
    assert mask.shape == (4, int(tokens.lengths.max()), 64)
    assert mask[~tokens.mask].all() and not mask[tokens.mask].all()
    assert 'patch_mask' not in next(iter(PairLoader(options, batch_size=4)))

    cfg = model_cfg()
    cfg['vision'] |= dict(img_size=64)
    cfg['text'] = dict(
        cfg['text'], vocab_size=TOKENIZER.vocab_size, max_length=55
    )
    model = build(cfg)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch.pop('report')
    log = model.train_step(batch, OptimWrapper(optimizer))
    assert all(torch.isfinite(value).all() for value in log.values())
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, model.parameters(), strict=True)
    ]
    assert sum(moved) > 0.9 * len(moved)
    batch = model.data_preprocessor(batch)
    pairs = model(**batch)
    weights = model.objective.align(pairs.tokens, pairs.patches,
                                    pairs.patch_mask)  # fmt: skip
    assert (weights[~pairs.patch_mask] == 0).all()


def test_annotations_that_make_no_sense_are_counted():
    class Odd(Square):
        def boxes(self, index):
            return [{'name': 'square', 'box': [1, 2, 3]}]

    class Later(Odd):
        calls = 0

        def boxes(self, index):
            self.calls += 1
            return [] if self.calls == 1 else super().boxes(index)

    pair = dataset(Later((64, 64), (0, 0, 9, 9)), 'boxes')[0, 0]
    assert pair.patch_mask.all()
    assert pair.report['skipped_rows'] == 1
    assert '0.png' in pair.report['examples'][0]


def test_masks_change_nothing_else():
    source = Square((90, 50), (1, 2, 30, 40))
    options = dict(crop_scale=(0.3, 0.9), flip=True)
    with_masks = dataset(source, 'segments', **options)
    without = dataset(source, None, **options)
    for draw in range(5):
        a, b = with_masks[0, draw], without[0, draw]
        assert torch.equal(a.image, b.image) and a.tokens == b.tokens
        assert b.patch_mask is None
    assert 'patch_mask' not in collate([b])


@pytest.mark.parametrize(
    ('kind', 'options', 'says'),
    [
        ('masks', {}, "'boxes', 'segments' or None"),
        ('boxes', dict(patch_size=None), 'needs the patch_size'),
        ('boxes', dict(patch_size=7), 'is a multiple, got 7'),
    ],
)
def test_wrong_options_are_said(kind, options, says):
    with pytest.raises(ValueError, match=says):
        dataset(SCENES, kind, **options)


def test_data_without_them_are_refused(tmp_path):
    with pytest.raises(ValueError, match='ListSource has no boxes'):
        dataset(ListSource(), 'boxes')
    root = write_coco(tmp_path)
    source = CocoCaptions(
        root / 'annotations/captions_train.json', root / 'images_train.zip'
    )
    with pytest.raises(ValueError, match='need an instances file'):
        dataset(source, 'boxes')


def test_whatever_damaged_annotations_raise_is_counted():
    class Broken(Square):
        calls = 0

        def boxes(self, index):
            self.calls += 1
            if self.calls > 1:
                raise Exception('input type is not supported.')
            return super().boxes(index)

    pair = dataset(Broken((64, 64), (0, 0, 9, 9)), 'boxes')[0, 0]
    assert pair.patch_mask.all()
    assert pair.report['skipped_rows'] == 1
    assert 'not supported' in pair.report['examples'][0]
