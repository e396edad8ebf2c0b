"""The pretrainer against the paper's formulas, and its encoding methods."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine import dist
from PIL import Image
from torch import nn
from torch.nn import functional as F

from sparc_vlm.datasets.tokenizer import CaptionTokenizer
from sparc_vlm.models import CLIP, SPARC
from sparc_vlm.preprocess import resize_picture, to_tensor
from sparc_vlm.structures import TokenBatch
from tests.test_models.tiny_models import (
    TEXT,
    VIT,
    WORDS,
    assert_same,
    build,
    captions,
    gradients,
    model_cfg,
    objective_cfg,
)

MARKED = TokenBatch.from_lists(
    [[1, 7, 8, 9, 2], [1, 5, 2], [1, 4, 6, 2]],
    [
        [False, True, True, True, False],
        [False, True, False],
        [False, True, True, False],
    ],
)


def pretrainer(**changes):
    return build(model_cfg(**changes)).double()


def images(count=3):
    torch.manual_seed(5)
    return torch.randn(count, 3, 32, 32, dtype=torch.float64)


@pytest.fixture
def tokenizer_cfg(tmp_path):
    """A tokenizer trained on a few sentences, saved."""
    sentences = [' '.join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    tokenizer = CaptionTokenizer.train(sentences * 4, 50, max_length=9)
    tokenizer.save(tmp_path / 'tokens')
    return dict(type='CaptionTokenizer', path=str(tmp_path / 'tokens'))


# the formulas


def test_embeddings_are_the_papers():
    model, pixels = pretrainer().eval(), images()
    pairs = model(pixels, MARKED)
    patches = model.vision.forward_patches(pixels).values
    tokens = model.text(MARKED)
    (linear, gelu), g_v = model.vision_head, model.vision_adapter.weight
    g_t = model.text_adapter.weight
    assert isinstance(gelu, nn.GELU)
    torch.testing.assert_close(pairs.patches, patches @ g_v.T)
    mean = patches.mean(1)
    image = F.gelu(mean @ linear.weight.T + linear.bias) @ g_v.T
    torch.testing.assert_close(pairs.image, image)
    starts = [0, 5, 8]
    for i, (start, length) in enumerate(zip(starts, [5, 3, 4], strict=True)):
        own = tokens[start : start + length]
        torch.testing.assert_close(pairs.tokens[i, :length], own @ g_t.T)
        assert not pairs.tokens[i, length:].any()
        real = own[1:-1].mean(0)
        torch.testing.assert_close(pairs.text[i], real @ g_t.T)
    assert pairs.token_mask.tolist() == [
        [False, True, True, True, False],
        [False, True, False, False, False],
        [False, True, True, False, False],
    ]
    assert pairs.patch_mask is None
    assert pairs.logit_scale.item() == pytest.approx(1 / 0.07)


def test_without_marks_every_token_is_real():
    model, tokens = pretrainer().eval(), captions([4, 1, 2])
    pairs = model(images(), tokens)
    features = model.text(tokens)
    assert torch.equal(pairs.token_mask, tokens.mask)
    wanted = model.text_adapter(features[:4].mean(0))
    torch.testing.assert_close(pairs.text[0], wanted)


def test_a_caption_of_marks_alone_stays_finite():
    model = pretrainer().eval()
    tokens = TokenBatch.from_lists(
        [[1, 2], [1, 5, 2]], [[False, False], [False, True, False]]
    )
    pairs = model(images(2), tokens)
    wanted = model.text_adapter(model.text(tokens)[:2].mean(0))
    torch.testing.assert_close(pairs.text[0], wanted)
    assert not pairs.token_mask[0].any()


def test_a_pair_does_not_depend_on_longer_neighbours():
    model = pretrainer().eval()
    whole = model(images(), captions([3, 9, 1]))
    alone = model(
        images()[:1],
        captions([3, 9, 1])._replace(
            ids=captions([3, 9, 1]).ids[:3], lengths=torch.tensor([3])
        ),
    )
    torch.testing.assert_close(whole.text[:1], alone.text)
    torch.testing.assert_close(whole.tokens[:1, :3], alone.tokens)
    torch.testing.assert_close(whole.image[:1], alone.image)


def test_adapters_are_linear_and_keys_are_the_contracts():
    model = pretrainer()
    assert model.vision_adapter.bias is None
    assert model.text_adapter.bias is None
    prefixes = (
        'vision.',
        'text.',
        'vision_adapter.',
        'vision_head.',
        'text_adapter.',
        'objective.',
    )
    keys = list(model.state_dict())
    assert all(k.startswith(prefixes) or k == 'log_scale' for k in keys)
    tops = {key.split('.')[0] + '.' for key in keys}
    assert tops == {*prefixes, 'log_scale.'} - {'objective.'}


# temperature


def test_the_scale_stops_at_100():
    model = pretrainer()
    for value, wanted, slope in [
        (math.log(50), 50, 50),
        (math.log(99.9), 99.9, 99.9),
        (math.log(101), 100, 0),
        (20.0, 100, 0),
    ]:
        model.log_scale.data.fill_(value)
        scale = model.logit_scale
        assert scale.item() == pytest.approx(wanted)
        (grad,) = torch.autograd.grad(scale, model.log_scale)
        assert grad.item() == pytest.approx(slope)


@pytest.mark.parametrize('start', [math.log(100), math.log(101), 20.0])
def test_the_temperature_comes_down_from_its_ceiling(start):
    model = pretrainer()
    model.log_scale.data.fill_(start)
    model(images(), MARKED, mode='loss')
    assert 99.99 < model.logit_scale.item() <= 100
    (slope,) = torch.autograd.grad(model.logit_scale, model.log_scale)
    assert slope.item() == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize('objective', ['SPARC', 'CLIP'])
def test_the_temperature_is_learned_and_logged(objective):
    model = pretrainer(objective=dict(type=objective), temperature=0.1)
    assert model.logit_scale.item() == pytest.approx(10)
    losses = model(images(), MARKED, mode='loss')
    assert losses['temperature'].item() == pytest.approx(0.1)
    assert not losses['temperature'].requires_grad
    grads = gradients(model, model.parse_losses(losses)[0])
    assert grads['log_scale'].abs() > 0


# modes


@pytest.mark.parametrize('objective', [CLIP, SPARC])
def test_loss_is_the_objective_of_the_embeddings(objective):
    model = pretrainer(objective=dict(type=objective.__name__))
    losses = model(images(), MARKED, mode='loss')
    wanted = objective()(model(images(), MARKED))
    assert losses.keys() == wanted.keys() | {'temperature'}
    for key, value in wanted.items():
        torch.testing.assert_close(losses[key], value)
    total, log = model.parse_losses(losses)
    parts = [value for key, value in wanted.items() if 'loss' in key]
    torch.testing.assert_close(total, sum(parts))
    assert log['loss'] == total
    assert log.keys() == losses.keys() | {'loss'}


def test_every_weight_gets_a_gradient():
    model = pretrainer()
    total, _ = model.parse_losses(model(images(), MARKED, mode='loss'))
    total.backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_clip_does_not_pay_for_patches_and_tokens():
    model = pretrainer(objective=dict(type='CLIP'))
    seen = []
    model.objective.register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    total, _ = model.parse_losses(model(images(), MARKED, mode='loss'))
    assert seen[0].patches.shape[:2] == (3, 0)
    assert seen[0].tokens.numel() == 0
    wanted = CLIP()(model(images(), MARKED))['loss_global']
    torch.testing.assert_close(total, wanted)
    assert_same(gradients(model, total), gradients(model, wanted))


def test_predict():
    model = pretrainer().eval()
    results = model(images(), MARKED, mode='predict')
    pairs = model(images(), MARKED)
    assert len(results) == 3
    for i, result in enumerate(results):
        image = F.normalize(pairs.image[i], dim=0).float()
        text = F.normalize(pairs.text[i], dim=0).float()
        torch.testing.assert_close(result['image'], image)
        torch.testing.assert_close(result['text'], text)
        torch.testing.assert_close(result['similarity'], image @ text)


def test_another_mode():
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict'"):
        pretrainer()(images(), MARKED, mode='losses')


def test_logged_values_are_means_over_processes(monkeypatch):
    model = pretrainer()
    losses = model(images(), MARKED, mode='loss')
    total, alone = model.parse_losses(losses)

    def all_reduce(values, kind):
        assert kind == 'mean'
        values.add_(1)

    monkeypatch.setattr(dist, 'get_world_size', lambda: 2)
    monkeypatch.setattr(dist, 'all_reduce', all_reduce)
    same, log = model.parse_losses(losses)
    assert torch.equal(same, total), 'what is trained on is not reduced'
    for key, value in alone.items():
        torch.testing.assert_close(log[key], value.detach().float() + 1)


def test_bf16_autocast_is_close():
    model = pretrainer().float()
    wanted = model(images().float(), MARKED, mode='loss')
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(images().float(), MARKED, mode='loss')
    for key in ('loss_global', 'loss_local'):
        assert losses[key].dtype == torch.float32
        torch.testing.assert_close(
            losses[key], wanted[key], rtol=0.1, atol=0.1
        )


# patch masks


def test_patch_masks_follow_dropped_patches():
    model = pretrainer(vision=VIT | dict(patch_drop_rate=0.5)).train()
    torch.manual_seed(1)
    mask = torch.rand(3, 5, 16) > 0.5
    torch.manual_seed(2)
    kept = model.vision.forward_patches(images()).kept
    torch.manual_seed(2)
    pairs = model(images(), MARKED, mask)
    assert pairs.patch_mask.shape == (3, 5, 8)
    for i in range(3):
        for j, patch in enumerate(kept[i].tolist()):
            assert torch.equal(pairs.patch_mask[i, :, j], mask[i, :, patch])


@pytest.mark.parametrize('dropped', [0.0, 0.5])
def test_a_patch_mask_of_another_grid_is_refused(dropped):
    model = pretrainer(vision=VIT | dict(patch_drop_rate=dropped)).train()
    mask = torch.ones(3, 5, 9, dtype=torch.bool)
    with pytest.raises(ValueError, match='counts 9 patches, but.*4 x 4'):
        model(images(), MARKED, mask)


def test_patch_masks_pass_through_and_matter():
    model = pretrainer().eval()
    mask = torch.zeros(3, 5, 16, dtype=torch.bool)
    mask[..., :4] = True
    assert model(images(), MARKED, mask).patch_mask is mask
    masked = model(images(), MARKED, mask, mode='loss')['loss_local']
    plain = model(images(), MARKED, mode='loss')['loss_local']
    assert not torch.isclose(masked, plain)


# encoding


def pictures():
    torch.manual_seed(3)
    noise = torch.randint(0, 256, (2, 40, 56, 3), dtype=torch.uint8)
    return [Image.fromarray(part.numpy()) for part in noise]


def as_dict(embeddings):
    return {
        key: value
        for key, value in vars(embeddings).items()
        if isinstance(value, torch.Tensor)
    }


@pytest.mark.parametrize('resize', ['stretch', 'crop'])
def test_every_way_of_giving_pictures_agrees(tmp_path, resize):
    model = pretrainer(resize=resize).float()
    paths = [tmp_path / f'{i}.png' for i in range(2)]
    for path, picture in zip(paths, pictures(), strict=True):
        picture.save(path)
    sized = [resize_picture(p, 32, resize) for p in pictures()]
    tensor = torch.stack([to_tensor(p) for p in sized])
    normal = model.data_preprocessor.normalise(tensor)
    wanted = model.encode_image(pictures())
    assert wanted.grid == (4, 4)
    for given in (
        tuple(pictures()),
        paths,
        [str(paths[0]), pictures()[1]],
        tensor,
        normal,
    ):
        output = as_dict(model.encode_image(given))
        assert_same(output, as_dict(wanted), rtol=0, atol=0)
    for one in (pictures()[0], paths[0], str(paths[0])):
        output = model.encode_image(one).image
        torch.testing.assert_close(output, wanted.image[:1])


def test_image_embeddings_are_the_papers():
    model = pretrainer()
    output = model.encode_image(images())
    pairs = model(images(), MARKED)
    torch.testing.assert_close(output.patches, pairs.patches)
    torch.testing.assert_close(output.image, pairs.image)
    patches = model.vision.forward_patches(images()).values
    dense = model.vision_adapter(model.vision_head(patches))
    torch.testing.assert_close(output.dense, dense)
    assert not output.image.requires_grad
    assert not output.dense.requires_grad


def test_pictures_of_other_modes_are_taken():
    model = pretrainer().float()
    grey = pictures()[0].convert('L')
    torch.testing.assert_close(
        model.encode_image(grey).image,
        model.encode_image(grey.convert('RGB')).image,
    )


def test_sentences(tokenizer_cfg):
    model = pretrainer(tokenizer=tokenizer_cfg)
    sentences = ['a red circle', 'two', 'big blue square on the left']
    output = model.encode_text(sentences)
    pairs = model(images(), model.tokenizer.batch(sentences))
    assert_same(
        as_dict(output),
        dict(
            tokens=pairs.tokens,
            text=pairs.text,
            token_mask=pairs.token_mask,
        ),
    )
    assert not output.text.requires_grad
    torch.testing.assert_close(model.encode_text('two').text, output.text[1:2])


def test_sentences_that_cannot_be_encoded(tokenizer_cfg):
    with pytest.raises(ValueError, match='has no tokenizer'):
        pretrainer().encode_text('a')
    model = pretrainer(tokenizer=tokenizer_cfg)
    with pytest.raises(ValueError, match='text 1 of 2 has no token'):
        model.encode_text(['red', ''])


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


@pytest.mark.parametrize('training', [True, False])
def test_encoding_leaves_the_mode_as_it_was(tokenizer_cfg, training):
    """Frozen parts too, whoever froze them."""
    vision = VIT | dict(
        frozen_stages=1, drop_path_rate=0.9, patch_drop_rate=0.5
    )
    model = pretrainer(vision=vision, tokenizer=tokenizer_cfg).train(training)
    model.vision.layers[2].eval()
    model.text.layers[1].train()
    before = modes(model)
    first = model.encode_image(images())
    model.encode_text('red')
    assert modes(model) == before
    # and all of it was off meanwhile
    assert first.patches.shape[1] == 16
    assert torch.equal(first.image, model.encode_image(images()).image)


def test_the_mode_comes_back_after_an_error(tokenizer_cfg):
    text = TEXT | dict(max_length=2)
    model = pretrainer(text=text, tokenizer=tokenizer_cfg).train()
    with pytest.raises(ValueError, match='max_length is 2'):
        model.encode_text('a red blue circle')
    assert model.text.training


def test_training_goes_on_after_encoding():
    model = pretrainer().train()
    model.encode_image(images())
    losses = model(images(), MARKED, mode='loss')
    assert gradients(model, model.parse_losses(losses)[0])


@pytest.mark.parametrize('name', ['FILIP', 'GLoRIA', 'PACL', 'MGCA', 'SPARC'])
def test_whatever_aligns_logs_how_far_a_token_spreads(name):
    objective = dict(type=name)
    if name == 'MGCA':
        objective['embed_dims'] = 8
    losses = pretrainer(objective=objective)(images(), MARKED, mode='loss')
    spread = losses['effective_patches']
    assert 1 <= spread <= 16
    assert not spread.requires_grad


def test_lengths_that_a_wrapper_has_moved_come_back():
    """As DDP and FSDP do with every tensor that they are given."""

    class Elsewhere(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            assert function is torch.Tensor.cpu, 'used where it was moved to'
            return args[0].as_subclass(torch.Tensor)

    lengths = MARKED.lengths.as_subclass(Elsewhere)
    model = pretrainer()
    torch.testing.assert_close(
        model(images(), MARKED._replace(lengths=lengths), mode='loss'),
        model(images(), MARKED, mode='loss'),
    )


@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('name', ['CLIP', 'SPARC', 'FILIP'])
def test_a_whole_model_in_half_precision(name, kind):
    """As users of Hugging Face's models cast theirs."""
    cfg = model_cfg(objective=objective_cfg(name))
    model = build(cfg).to(kind).eval()
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    found = model.encode_image(pixels)
    ready = model.data_preprocessor.normalise(pixels).float()
    again = model.encode_image(ready)
    for part in ('patches', 'dense', 'image'):
        assert getattr(found, part).dtype == kind
        assert torch.equal(getattr(found, part), getattr(again, part))
    losses = model(pixels, captions([4, 1, 7]), mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    for weights in model.parameters():
        assert weights.grad is None or weights.grad.isfinite().all()


def test_a_model_that_moves_inside_of_another(tokenizer_cfg):
    """mmengine's preprocessor is not told, and need not be asked."""
    model = build(model_cfg(tokenizer=tokenizer_cfg))
    nn.ModuleDict(dict(inner=model)).to('meta')
    assert model.device.type == 'meta'
    assert model.data_preprocessor.device.type == 'cpu'

    class Seen(Exception):  # noqa: N818
        pass

    def look(module, given):
        raise Seen(*given)  # there are no values to go on with

    model.text.register_forward_pre_hook(look)
    with pytest.raises(Seen) as caught:
        model.encode_text(['a red circle'])
    (tokens,) = caught.value.args
    assert tokens.ids.device.type == 'meta'
    assert tokens.lengths.device.type == 'cpu'
