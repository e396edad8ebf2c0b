import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from sparc_vlm.adapters import OpenClipModel
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.evaluation import Pointing, Retrieval, Segmentation
from sparc_vlm.evaluation.encoding import whole_picture
from sparc_vlm.evaluation.phrases import phrase_tokens
from sparc_vlm.evaluation.words import encode_words
from sparc_vlm.visualization import word_maps
from tests.test_adapters.tiny_clips import (
    CAPTIONS,
    pictures,
    write_open_clip,
)
from tests.test_evaluation.colour_world import some_boards


def opened(folder):
    """Our adapter, and open_clip's own model and preprocessing."""
    name = f'local-dir:{folder}'
    own, _, transform = open_clip.create_model_and_transforms(name)
    return OpenClipModel(name), own.eval(), transform


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    return opened(write_open_clip(tmp_path_factory.mktemp('m') / 'clip'))


@torch.no_grad()
def test_embeddings_are_open_clips(both):
    model, own, transform = both
    pixels = torch.stack([transform(picture) for picture in pictures()])
    found = model.encode_image(pictures())
    torch.testing.assert_close(found.image, own.encode_image(pixels))
    torch.testing.assert_close(model.encode_image(pixels).image, found.image)
    ids = open_clip.tokenize(CAPTIONS, 16)
    text = model.encode_text(CAPTIONS)
    torch.testing.assert_close(text.text, own.encode_text(ids))
    one = model.encode_text(CAPTIONS[0])
    torch.testing.assert_close(one.text, text.text[:1])


@torch.no_grad()
def test_patches_go_through_the_last_norm_and_the_projection(both):
    model, own, transform = both
    own.visual.output_tokens = True
    pixels = torch.stack([transform(picture) for picture in pictures()])
    _, tokens = own.visual(pixels)
    own.visual.output_tokens = False
    found = model.encode_image(pictures())
    assert found.grid == (4, 4)
    assert found.patches.shape == (3, 16, 24)
    torch.testing.assert_close(found.patches, tokens @ own.visual.proj)
    assert found.dense is found.patches


def test_phrases_are_found_in_captions_with_capitals(both):
    """The tokenizer reads small letters."""
    tokenizer = both[0].tokenizer
    caption = 'Two dogs run and A Dog sits .'
    for phrase in ('Two dogs', 'A Dog', '.'):
        start = caption.index(phrase)
        places = phrase_tokens(tokenizer, caption, start, start + len(phrase))
        alone = tokenizer.encode(phrase).ids[1:-1]
        ids = tokenizer.encode(caption).ids
        assert [ids[place] for place in places] == alone
    # Mended, it has other words: nobody can say which.
    assert phrase_tokens(tokenizer, 'A dog &amp; a cat', 0, 5) == []


def test_a_mean_of_patches_is_the_image(tmp_path):
    """Where a model pools so, its image embedding tells the same."""
    vision = dict(pool_type='avg')
    folder = write_open_clip(tmp_path / 'clip', vision)
    found = opened(folder)[0].encode_image(pictures())
    torch.testing.assert_close(found.patches.mean(1), found.image)


def test_the_end_token_is_the_text(both):
    """Tokens lie where the pooled one does; masks count from lengths."""
    model = both[0]
    found = model.encode_text(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        ids = model.tokenizer.encode(caption)
        end = len(ids.ids) - 1
        torch.testing.assert_close(found.tokens[row, end], found.text[row])
        mask = found.token_mask[row].tolist()
        assert mask[: end + 1] == [False, *[True] * (end - 1), False]
        assert not any(mask[end + 1 :])
        # What open_clip itself makes of it.
        padded = open_clip.tokenize(caption, 16)[0]
        assert padded[: end + 1].tolist() == ids.ids


def test_tokens_know_their_words(both):
    model = both[0]
    words = encode_words(model, ["It  isn't  Unbelievableness!"], 4)[0]
    assert words.words == ['it', "isn't", 'unbelievableness', '!']
    assert words.owners[:3] == [None, 0, 1]
    assert words.owners.count(2) > 1
    assert words.owners[-1] is None
    ids = model.tokenizer.encode('red ' * 40)
    assert len(ids.ids) == 16
    assert ids.truncated
    assert ids.ids[-1] == model.tokenizer.encode('a').ids[-1]
    # '!' has the id that pads: it counts as a token all the same.
    assert model.encode_text(['! !']).token_mask.sum() == 2
    with pytest.raises(UsageError, match='has no token in it'):
        model.encode_text(['a', ' '])


def test_tasks_and_figures_take_it(both):
    model = both[0]
    boards = some_boards(6)
    for task in (Retrieval, Segmentation, Pointing):
        found = task(boards).run(model)
        assert len(found.samples) == 6
    maps = word_maps(model, boards.image(0), 'a ruby and a leaf')
    assert maps.weights.shape == (5, 4, 4)
    assert model.image_size == (32, 32)
    assert whole_picture(model, pictures()[0]).size == (32, 32)


@pytest.mark.parametrize(
    'changes',
    [
        dict(vision=dict(attentional_pool=True, attn_pooler_queries=4)),
        dict(vision=dict(layers=[1, 1, 1, 1], patch_size=None)),
    ],
    ids=['attention', 'resnet'],
)
def test_towers_without_patches_in_the_space_of_text(tmp_path, changes):
    model, own, transform = opened(
        write_open_clip(tmp_path / 'clip', **changes)
    )
    found = model.encode_image(pictures())
    assert found.patches.shape == (3, 0, 24)
    with torch.no_grad():
        pixels = torch.stack([transform(p) for p in pictures()])
        torch.testing.assert_close(found.image, own.encode_image(pixels))
    assert Retrieval(some_boards(4)).run(model).metrics
    with pytest.raises(UsageError, match='needs patches in the space of'):
        Segmentation(some_boards(4)).run(model)


def test_a_text_tower_of_its_own(tmp_path):
    folder = write_open_clip(tmp_path / 'clip', custom_text=True)
    model, own, _ = opened(folder)
    found = model.encode_text(CAPTIONS)
    with torch.no_grad():
        text = own.encode_text(open_clip.tokenize(CAPTIONS, 16))
    torch.testing.assert_close(found.text, text)
    end = len(model.tokenizer.encode(CAPTIONS[0]).ids) - 1
    torch.testing.assert_close(found.tokens[0, end], found.text[0])


def test_weights_from_a_file_or_none(tmp_path, log):
    folder = write_open_clip(tmp_path / 'clip')
    weights = load_file(folder / 'open_clip_model.safetensors')
    config = tmp_path / 'tiny-clip-of-a-test.json'
    # An architecture of that name.
    import json

    cfg = json.loads((folder / 'open_clip_config.json').read_text())
    config.write_text(json.dumps(cfg['model_cfg']))
    open_clip.add_model_config(config)
    name = config.stem
    model = OpenClipModel(name, folder / 'open_clip_model.safetensors')
    torch.testing.assert_close(model.model.visual.proj, weights['visual.proj'])
    assert log == []
    OpenClipModel(name)
    assert f'{name} has random weights' in log[0]
    del weights['visual.proj']
    save_file(weights, tmp_path / 'half.safetensors')
    with pytest.raises(RunError, match='open_clip cannot load'):
        OpenClipModel(name, tmp_path / 'half.safetensors')


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (('ViT-B-33',), 'has no ViT-B-33; did you mean ViT-B-32'),
        (('ViT-B-32', 'laion2b_e1'), 'neither a file nor weights'),
    ],
)
def test_mistakes(given, said):
    with pytest.raises(UsageError, match=said):
        OpenClipModel(*given)


def test_a_folder_that_holds_none(tmp_path):
    with pytest.raises(RunError, match='open_clip cannot load local-dir'):
        OpenClipModel(f'local-dir:{tmp_path}')
