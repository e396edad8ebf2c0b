"""A page in the browser on which a model is tried on one's own pictures.

What it asks and shows goes by the model: where each word of a sentence looks,
what a captioner writes, or the boxes that a detector finds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from sparc_vlm.devices import best_device
from sparc_vlm.errors import (
    MissingPackageError,
    UsageError,
    UserError,
    sentence,
)
from sparc_vlm.evaluation.encoding import has_words
from sparc_vlm.study.models import is_captioner, is_detector, open_model
from sparc_vlm.visualization.boxes import draw_boxes
from sparc_vlm.visualization.maps import as_array, draw_word_maps, word_maps

LIMIT = 20
"""Boxes that are shown at most, the best."""
COLUMNS = 6
"""Maps of words in a row, which is as wide as a page."""
NAME = 'look'
"""Of the only function of a page, for programs that use it."""


def build_page(
    name: str, device: str | None = None, language: str | None = None
) -> Any:
    """The page of a model, which `launch` opens.

    Args:
        name: The model, as `open_model` takes it.
        device: Where to compute; a GPU if there is one.
        language: Where a captioner's language model is on this machine, if
            not where it was in training.

    Returns:
        A `gradio.Interface`.

    Raises:
        MissingPackageError: gradio is not installed.
        UserError: The model cannot be loaded.
    """
    gradio = _gradio()
    device = device or best_device()
    if is_captioner(name):
        from sparc_vlm import captioning

        parts = _captioner(gradio, captioning.load(name, device, language))
    elif language is not None:
        raise UsageError(f'{name} is no captioner: leave out the language')
    else:
        model = open_model(name, device)
        build = _detector if is_detector(name) else _encoders
        parts = build(gradio, model)
    look, inputs, outputs, title = parts
    return gradio.Interface(
        _told(gradio, look),
        [gradio.Image(type='pil', label='picture'), *inputs],
        outputs,
        title=title,
        description=f'`{name}`',
        flagging_mode='never',
        api_name=NAME,
    )


def look_at_words(
    model: Any, picture: Image.Image, text: str
) -> np.ndarray | None:
    """A panel for each word of a text with what it looks at.

    Args:
        model: Has `encode_image`, `encode_text` and `tokenizer`.
        picture: Where they look.
        text: The words.

    Returns:
        (H, W, 3) uint8; None for a text without words.
    """
    if not has_words(model, text):
        return None
    maps = word_maps(model, picture, text)
    return as_array(draw_word_maps(maps, columns=COLUMNS))


def _encoders(gradio: Any, model: Any) -> tuple[Any, ...]:
    def look(picture: Image.Image, text: str) -> np.ndarray:
        drawn = look_at_words(model, picture, text)
        if drawn is None:
            raise UsageError('write a sentence about the picture')
        return drawn

    return (
        look,
        [gradio.Textbox(label='sentence', placeholder='a dog on a sofa')],
        [gradio.Image(show_label=False, format='png')],
        'Where each word looks',
    )


def _captioner(gradio: Any, captioner: Any) -> tuple[Any, ...]:
    eyes = captioner.eyes_model

    def look(picture: Image.Image, prompt: str) -> Any:
        ((caption,),) = captioner.caption([picture], prompt or None)
        if eyes is None:
            return caption
        return caption, look_at_words(eyes, picture, caption)

    maps = [gradio.Image(show_label=False, format='png')]
    return (
        look,
        [
            gradio.Textbox(
                label='question', placeholder='empty: a caption is written'
            )
        ],
        [gradio.Textbox(label='what it writes'), *(maps if eyes else [])],
        'What the captioner writes',
    )


def _detector(gradio: Any, detector: Any) -> tuple[Any, ...]:
    # MMDetection takes seconds to import, and is by now.
    from sparc_vlm.detection.words.vocabulary import listed_words

    def look(
        picture: Image.Image, threshold: float, words: str = ''
    ) -> Image.Image:
        told = listed_words(words) if detector.takes_words else None
        names = detector.names(told)
        (found,) = detector.detect([picture], told, LIMIT)
        return draw_boxes(picture, found.above(threshold), names)

    inputs = [gradio.Slider(0, 1, 0.3, label='least score')]
    if detector.takes_words:
        words = gradio.Textbox(label='words', placeholder='red ball, dog')
        inputs.append(words)
    return (
        look,
        inputs,
        [gradio.Image(show_label=False, format='png')],
        'What the detector finds',
    )


def _told(gradio: Any, look: Callable[..., Any]) -> Callable[..., Any]:
    """The same with a picture needed, and a user's mistakes on the page."""

    def told(picture: Image.Image | None, *inputs: Any) -> Any:
        try:
            if picture is None:
                raise UsageError('give a picture first')
            return look(picture.convert('RGB'), *inputs)
        except UserError as error:
            said = sentence(error)
            raise gradio.Error(said, print_exception=False) from error

    return told


def _gradio() -> Any:
    """The package, told to send nothing anywhere.

    Raises:
        MissingPackageError: It is not installed.
    """
    os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
    try:
        import gradio
    except ImportError as error:
        raise MissingPackageError(
            "the demo takes gradio: pip install 'sparc_vlm[demo]'"
        ) from error
    return gradio


def launch(page: Any, host: str = '127.0.0.1', port: int | None = None) -> str:
    """Serves a page, for this machine alone unless told otherwise.

    Args:
        page: From `build_page`.
        host: Where to listen; '0.0.0.0' for other machines, too.
        port: At which; the first free one from 7860 on if left out.

    Returns:
        Its address. `page.block_thread()` waits until it is stopped.

    Raises:
        UsageError: Nothing can listen there.
    """
    gradio = _gradio()
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            # Fonts of the machine: the default ones come from elsewhere.
            theme=gradio.themes.Default(
                font=['system-ui', 'sans-serif'], font_mono=['monospace']
            ),
        )
    except OSError as error:
        raise UsageError(
            f'nothing can listen at {host}, port {port or "7860 to 7959"}: '
            'name another with --port'
        ) from error
    return address
