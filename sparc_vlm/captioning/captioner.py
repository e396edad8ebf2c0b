"""Captioner: frozen eyes, a projector and a language model, as LLaVA.

Visual instruction tuning (Liu et al., arXiv 2304.08485): the patches of a
picture, projected, stand among the embedded words of a conversation, and the
language model goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from mmengine import dist
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.captioning.chat import IGNORED, IMAGE, ChatBatch
from sparc_vlm.captioning.fingerprints import sampled_fingerprint
from sparc_vlm.captioning.generation import Prompts, Sampling, write_answers
from sparc_vlm.captioning.language import check_trains
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.models.gather import global_sum, mean_over_processes
from sparc_vlm.models.modes import evaluating
from sparc_vlm.registry import MODELS


@MODELS.register_module()
class Captioner(BaseModel):
    """Writes about pictures.

    What trains is the projector, and of the language model its low-rank
    layers, if it has any, or all of it. Its state holds what trains, and
    random eyes, and nothing that can be read from where it came from.

    Args:
        eyes: Config of `SparcEyes` or `HuggingFaceEyes`.
        projector: Config of a projector, without its widths.
        language: Arguments of `Language`.
        prompt: What a picture is captioned with.
        freeze_language: Whether the language model's own weights stay as
            they are.
        data_preprocessor: Config; moves batches, and leaves bytes to the
            eyes, by default.
        init_cfg: `dict(type='Pretrained', checkpoint=...)` starts from the
            folder of another captioner, such as that of LLaVA's first stage:
            its projector and, where both have one, its adapter.

    Raises:
        ValueError: Parts that do not fit, see theirs.

    Attributes:
        image_tokens: T, tokens that a picture becomes.
        frozen_parts: Fingerprints of the parts that stay as they are, and
            whose weights a checkpoint does not hold.
    """

    def __init__(
        self,
        eyes: dict[str, Any],
        projector: dict[str, Any],
        language: dict[str, Any],
        prompt: str = 'Describe the picture.',
        freeze_language: bool = True,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        # Names are ours, also under the scope of another project's runner.
        with DefaultScope.overwrite_default_scope('sparc_vlm'):
            preprocessor = data_preprocessor or dict(
                type='PairPreprocessor', late=True
            )
            # mmengine would look for it in its own registry alone.
            super().__init__(MODELS.build(preprocessor), init_cfg)
            self.eyes = MODELS.build(dict(eyes))
            language = dict(type='Language', frozen=freeze_language) | language
            self.language = MODELS.build(language)
            widths = dict(
                in_dims=self.eyes.embed_dims, out_dims=self.language.embed_dims
            )
            self.projector = MODELS.build(dict(projector) | widths)
        self.prompt = prompt
        self.image_tokens = self.projector.num_tokens(self.eyes.grid)
        self.frozen_parts = {}
        if not self.eyes.is_random:
            self.frozen_parts['image encoder'] = sampled_fingerprint(self.eyes)
        if self.language.is_frozen:
            self.frozen_parts['language model'] = self.language.fingerprint
        self.register_state_dict_post_hook(_keep_trained)
        self.register_load_state_dict_post_hook(_expect_trained)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.projector.parameters()).device

    def forward(
        self,
        images: Tensor,
        chat: ChatBatch,
        mode: Literal['tensor', 'loss', 'predict'] = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[str]:
        """Runs the model on a batch of conversations, one picture each.

        Args:
            images: (B, 3, H, W) uint8, or floating point and normalised.
            chat: B conversations.
            mode: 'tensor' returns (B, N, V) logits; 'loss' a dict of the
                mean loss of the answers' tokens, over the batch and over all
                processes, with the share of them that was ranked first, and
                their number in this process; 'predict' the likeliest
                continuation of each prompt, word by word.

        Raises:
            ValueError: Another mode, or pictures and placeholders that do
                not fit.
            RunError: No process has a token to learn.
        """
        if mode == 'predict':
            return [one for (one,) in self.generate(images, chat)]
        if mode not in ('tensor', 'loss'):
            raise UsageError(
                f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}"
            )
        embeds = self._embed(self.encode(images), chat.ids)
        hidden = self.language.hidden(embeds, chat.mask, chat.shared())
        if mode == 'tensor':
            return self.language.head(hidden)
        return self._loss(*self._answers(hidden, chat.labels))

    def encode(self, images: Tensor) -> Tensor:
        """(B, T, D) tokens of pictures, as the language model takes them.

        Args:
            images: (B, 3, H, W) uint8, or floating point and normalised.
        """
        patches, grid, _ = self.eyes(images)
        return self.projector(patches, grid)

    @torch.no_grad()
    def generate(
        self,
        images: Tensor,
        chat: ChatBatch,
        max_new_tokens: int = 40,
        num_samples: int = 1,
        temperature: float = 0.0,
        seed: int | None = None,
        first: int = 0,
        shown: Sequence[int] | None = None,
    ) -> list[list[str]]:
        """Answers to prompts about pictures.

        Computed once are pictures, prompts of which several samples are
        drawn, and what all prompts begin with, the picture too if it is one.

        Args:
            images: (P, 3, H, W) uint8, or floating point and normalised.
            chat: B prompts, padded on the left.
            max_new_tokens: Tokens of an answer at most.
            num_samples: Answers of each picture.
            temperature: Of the draws; 0 takes the likeliest token each time,
                which makes all samples the same.
            seed: Of the draws; None draws one.
            first: Number of the first picture, where these are a part of
                many: a sample depends on the seed, the number of its picture
                and its own. A picture that several prompts are about has a
                number for each.
            shown: For each prompt the place of its picture in `images`; None
                where there is one picture for each prompt.

        Returns:
            B lists of `num_samples` texts, without marks.

        Raises:
            ValueError: A number that is out of range, or pictures and
                placeholders that do not fit.
        """
        sampling = Sampling(num_samples, temperature, seed, first)
        chat = ChatBatch(*(part.to(self.device) for part in chat))
        with evaluating(self):
            tokens = self._look(images, shown)
            embeds = self._embed(tokens, chat.ids)
            shared = chat.shared(len(images) == 1)
            prompts = Prompts(embeds, chat.mask, shared)
            how = max_new_tokens, sampling
            return write_answers(self.language, prompts, *how)

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Tensor,
        chat: ChatBatch,
        shown: Sequence[int] | None = None,
    ) -> Tensor:
        """(B,) mean log-probability of the tokens of each answer.

        Args:
            images: (P, 3, H, W) uint8, or floating point and normalised.
            chat: B conversations; one without an answer gets 0.
            shown: As in `generate`.
        """
        chat = ChatBatch(*(part.to(self.device) for part in chat))
        with evaluating(self):
            embeds = self._embed(self._look(images, shown), chat.ids)
            shared = chat.shared(len(images) == 1)
            hidden = self.language.hidden(embeds, chat.mask, shared)
        logits, targets = self._answers(hidden, chat.labels)
        losses = F.cross_entropy(logits, targets, reduction='none')
        rows, _ = (chat.labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        sums = losses.new_zeros(len(chat.ids)).index_add(0, rows, -losses)
        return sums / rows.bincount(minlength=len(sums)).clamp(min=1)

    def parse_losses(
        self, losses: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds up the losses; logged values are means over processes."""
        total, log = super().parse_losses(losses)
        return total, mean_over_processes(log)

    def loss_terms(self, batch: dict[str, Any]) -> int:
        """Tokens of answers in a batch, over which its loss is a mean.

        The training loop asks, so that rounds of one update count by them.

        Args:
            batch: Has `chat`, as `forward` takes it.
        """
        return int((batch['chat'].labels[:, 1:] != IGNORED).sum())

    def init_weights(self) -> None:
        """Random eyes, or those and all else of `init_cfg`'s folder.

        Raises:
            ValueError: The language model cannot train as it is.
        """
        check_trains(self.language.source['dtype'], self.language.is_frozen)
        # Not mmengine's: it would draw the language model's weights anew.
        self.eyes.init_weights()
        if self.init_cfg:
            from sparc_vlm.captioning.loading import start_from

            start_from(self, self.init_cfg['checkpoint'])

    def _look(self, images: Tensor, shown: Sequence[int] | None) -> Tensor:
        """(B, T, D) tokens of each prompt's picture, each encoded once."""
        tokens = self.encode(images.to(self.device))
        return tokens if shown is None else tokens[list(shown)]

    def _embed(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """(B, N, D) embeddings of conversations, pictures in their places."""
        places = ids == IMAGE
        counts = places.sum(1)
        if (counts != pictures.shape[1]).any():
            raise UsageError(
                f'a picture is {pictures.shape[1]} tokens here, and a '
                f'conversation holds {counts.tolist()} of them: give the chat '
                'format the image_tokens of this captioner'
            )
        embeds = self.language.embed(ids.masked_fill(places, 0))
        return embeds.masked_scatter(places[..., None], pictures.to(embeds))

    def _answers(
        self, hidden: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(A, V) logits of the A tokens that are learned, and their ids.

        Logits of all others are never computed.
        """
        targets = labels[:, 1:]
        learned = targets != IGNORED
        return self.language.head(hidden[:, :-1][learned]), targets[learned]

    def _loss(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        count = targets.new_tensor(len(targets))
        total = global_sum(count)
        if not total:
            raise RunError(
                'no token of this batch is learned, since the answers were '
                'cut away or are empty: raise max_length, or leave such '
                'conversations out'
            )
        with torch.autocast(logits.device.type, enabled=False):
            loss = F.cross_entropy(logits, targets, reduction='sum')
        right = (logits.detach().argmax(-1) == targets).sum()
        # As the pretrainer's: DDP's mean is the mean of the joined batch.
        processes = dist.get_world_size()
        return dict(
            loss=loss * processes / total,
            token_accuracy=right * processes / total,
            answer_tokens=count.float(),
        )


def _is_kept(captioner: Captioner) -> Callable[[str], bool]:
    """Tells the keys of the state that are read from nowhere else."""
    trained = {
        name
        for name, weights in captioner.named_parameters(remove_duplicate=False)
        if weights.requires_grad
    }
    whole = ['projector.'] + ['eyes.'] * captioner.eyes.is_random
    return lambda key: key in trained or key.startswith(tuple(whole))


def _keep_trained(
    captioner: Captioner, state: dict[str, Tensor], prefix: str, _: Any
) -> None:
    is_kept = _is_kept(captioner)
    for key in [key for key in state if key.startswith(prefix)]:
        if not is_kept(key.removeprefix(prefix)):
            del state[key]


def _expect_trained(captioner: Captioner, result: Any) -> None:
    """Nothing misses the keys that `_keep_trained` leaves out."""
    is_kept = _is_kept(captioner)
    result.missing_keys[:] = [k for k in result.missing_keys if is_kept(k)]
