"""What each detector of a study finds on the same picture, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from sparc_vlm.visualization.boxes import draw_boxes

THRESHOLD = 0.3
INCHES = 6.0


def found_figure(
    models: Mapping[str, Any],
    image: Image.Image,
    words: list[str] | None,
    threshold: float,
) -> Figure:
    """A panel a detector, with all that it is sure enough of.

    Args:
        models: Have `detect`, by the name of their arm.
        image: RGB.
        words: What detectors by words look for; None leaves it to them.
        threshold: Scores from which on something is shown.

    Raises:
        ValueError: A detector by words has nothing to look for.
    """
    high = INCHES * image.height / image.width + 0.3
    figure = Figure(figsize=(INCHES * len(models), high), layout='tight')
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for panel, (name, model) in zip(panels, models.items(), strict=True):
        own = words if model.takes_words else None
        (found,) = model.detect([image], own)
        panel.imshow(
            draw_boxes(image, found.above(threshold), model.names(own))
        )
        panel.set_title(name, fontsize=12)
        panel.axis('off')
    return figure
