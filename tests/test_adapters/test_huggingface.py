import json

import pytest
import torch
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from sparc_vlm.adapters import HuggingFaceClip
from sparc_vlm.errors import RunError, UnsupportedError
from sparc_vlm.evaluation import Pointing, Retrieval, Segmentation
from tests.test_adapters.tiny_clips import pictures, write_hf_clip
from tests.test_evaluation.colour_world import some_boards

TEXTS = ['a red circle', 'big, blue square on the left of two', 'two']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_hf_clip(tmp_path_factory.mktemp('m') / 'clip')


@pytest.fixture(scope='module')
def model(folder):
    return HuggingFaceClip(folder)


@pytest.fixture(scope='module')
def own(folder):
    return CLIPModel.from_pretrained(folder).eval()


@torch.no_grad()
def test_image_embeddings_are_transformers(model, own, folder):
    processor = CLIPImageProcessor.from_pretrained(folder)
    pixels = processor(pictures(), return_tensors='pt')['pixel_values']
    found = model.encode_image(pictures())
    theirs = own.get_image_features(pixels)
    torch.testing.assert_close(
        found.image, theirs.pooler_output, rtol=1e-4, atol=1e-4
    )
    assert found.grid == (4, 4)
    assert found.patches.shape == (3, 16, 12)
    # As the class token goes: row 0 would give the image.
    normed = own.vision_model.post_layernorm(theirs.last_hidden_state)
    everything = own.visual_projection(normed)
    torch.testing.assert_close(
        found.patches, everything[:, 1:], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        found.image, everything[:, 0], rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_text_embeddings_are_transformers(model, own, folder):
    """Whatever the padding; one caption is cut, and keeps its end."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = model.encode_text(TEXTS)
    for row, text in enumerate(TEXTS):
        inputs = tokenizer(
            text, return_tensors='pt', truncation=True, max_length=9
        )
        ids = inputs['input_ids']
        theirs = own.get_text_features(
            input_ids=ids, attention_mask=inputs['attention_mask']
        ).pooler_output
        torch.testing.assert_close(found.text[row], theirs[0])
        end = ids.shape[1] - 1
        torch.testing.assert_close(found.tokens[row, end], theirs[0])
        mask = found.token_mask[row].tolist()
        assert mask[: end + 1] == [False, *[True] * (end - 1), False]
        assert not any(mask[end + 1 :])
    assert found.token_mask.sum(1).tolist() == [3, 7, 1]


def test_tasks_take_it(model):
    boards = some_boards(5)
    for task in (Retrieval, Segmentation, Pointing):
        assert len(task(boards).run(model).samples) == 5


def test_other_kinds_and_damaged_folders_are_refused(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'bert'}))
    with pytest.raises(UnsupportedError, match='is a bert, and only CLIP'):
        HuggingFaceClip(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'clip'}))
    with pytest.raises(RunError, match='transformers cannot load') as caught:
        HuggingFaceClip(tmp_path)
    assert '\n' not in str(caught.value)
