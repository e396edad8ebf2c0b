"""Tells the data of a captioner what its model is given.

How large a picture is, how many tokens it becomes and how words are put into
tokens is the model's matter, and a config says it there alone.
"""

from __future__ import annotations

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from sparc_vlm.captioning.language import check_trains
from sparc_vlm.captioning.sources import UNKNOWN_LENGTH, longest_text
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS, MODELS


def use_captioner(cfg: Config) -> list[str]:
    """Has all data sets of a captioner make what it takes.

    Args:
        cfg: The config of a captioner; changed in place.

    Returns:
        Lines that say what it takes.

    Raises:
        ValueError: Parts of the model that do not fit, conversations that
            are longer than the language model takes in, or a language model
            that cannot train as it is.
        WeightsError: The eyes' checkpoint is not there, or damaged.
    """
    model = cfg.model
    frozen = model.get('freeze_language', True)
    check_trains(
        model.language.get('dtype', 'float32'),
        model.language.get('frozen', frozen),
    )
    with DefaultScope.overwrite_default_scope('sparc_vlm'):
        eyes = MODELS.build(model.eyes)
        widths = dict(in_dims=eyes.embed_dims, out_dims=1)
        with torch.device('meta'):
            projector = MODELS.build(dict(model.projector) | widths)
    tokens = projector.num_tokens(eyes.grid)
    language = {
        key: model.language[key]
        for key in ('path', 'gguf_file')
        if key in model.language
    }
    limit = longest_text(**language)
    loaders = cfg.train_dataloader
    loaders = loaders if isinstance(loaders, list) else [loaders]
    lines = _share_questions([loader.dataset for loader in loaders])
    for loader in loaders:
        dataset = loader.dataset
        dataset.update(image_size=eyes.image_size, resize=eyes.resize)
        chat = dataset.get('chat') or {}
        given = chat.get('max_length')
        if given is not None and given > limit:
            raise UsageError(
                f'{language["path"]} takes in {limit} tokens at most, and '
                f'chat.max_length of a {dataset.type} is {given}: lower it'
            )
        dataset.chat = dict(
            dict(max_length=min(limit, UNKNOWN_LENGTH)) | chat,
            **language,
            image_tokens=tokens,
        )
    size = eyes.image_size
    return [
        f'captioner: {size} x {size} pixels, {eyes.grid[0]} x {eyes.grid[1]} '
        f'patches, {tokens} tokens of {language["path"]}',
        *lines,
    ]


def _share_questions(datasets: list[ConfigDict]) -> list[str]:
    """Leaves questions to those of several data sets that have any.

    Where none has, all keep theirs, for the data set itself to refuse.
    """
    asking = [one for one in datasets if one.get('questions')]
    silent = [one for one in asking if not _can_ask(one.source)]
    if len(silent) == len(asking):
        return []
    for one in silent:
        one.questions = 0.0
    return [
        f'no questions in {one.source.type} of {one.source.get("annotations")}'
        ': its captions alone are learned'
        for one in silent
    ]


def _can_ask(source: ConfigDict) -> bool:
    """As `has_questions`, of a source that is not read yet."""
    kind = DATASETS.get(source.type)
    boxes = hasattr(kind, 'boxes') and source.get('instances')
    return hasattr(kind, 'questions') or bool(boxes)
