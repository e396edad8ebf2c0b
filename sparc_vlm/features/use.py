"""An encoder that looks pictures up before it runs its trunk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from sparc_vlm.errors import RunError
from sparc_vlm.feature_maps import (
    SUFFIX,
    FeatureMaps,
    KnownMaps,
    fingerprint,
    read_header,
)
from sparc_vlm.models import TrunkWithLayers
from sparc_vlm.registry import HOOKS
from sparc_vlm.weights import select_prefix

TRUNK = 'vision.trunk.'
"""Beginning of the keys of a trunk in a pretrainer."""


def use_kept_features(vision: TrunkWithLayers, folder: str | Path) -> int:
    """Has an image encoder look pictures up before it runs its trunk.

    A picture is found by its pixels, so that what is not known, a crop for
    example, is computed as before.

    Args:
        vision: Its trunk is frozen.
        folder: Where files of maps are; those of other trunks are left out.

    Returns:
        How many pictures it now knows.
    """
    wanted = trunk_fingerprint(vision)
    files = [
        FeatureMaps(path)
        for path in sorted(Path(folder).glob(f'*{SUFFIX}'))
        if (header := read_header(path)) and header.encoder == wanted
    ]
    vision.known = KnownMaps(files)
    return len(vision.known)


def use_recipes_features(
    model: Any, cfg: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Has a model look pictures up where its recipe keeps their features.

    Nothing is done where the recipe keeps none, or the model has no frozen
    trunk.

    Args:
        model: To measure; any.
        cfg: The recipe that it was trained by.
        say: Told how many pictures it knows.

    Raises:
        UsageError: A file of maps is damaged.
    """
    folder, vision = cfg.get('keep_features'), getattr(model, 'vision', None)
    if folder is None or not isinstance(vision, TrunkWithLayers):
        return
    if vision.frozen:
        known = use_kept_features(vision, folder)
        say(f'features: {known} pictures of this trunk are kept in {folder}')


def trunk_fingerprint(
    vision: TrunkWithLayers, state: Mapping[str, Tensor] | None = None
) -> str:
    """A name for a trunk: its kind and its weights.

    Args:
        vision: The encoder that it is part of.
        state: The trunk's weights, in place of those that it has.
    """
    return fingerprint(
        plain(vision.portable_cfg()['trunk']),
        vision.trunk.state_dict() if state is None else state,
    )


def plain(cfg: Mapping) -> dict:
    """A config as JSON would give it back."""
    return json.loads(json.dumps(cfg, default=str))


@HOOKS.register_module()
class KeptFeaturesHook(Hook):
    """Makes sure that maps are of the model's trunk, and validates on them.

    Args:
        folder: Where files of maps are.
        encoder: Fingerprint of the trunk that made those to train on.
    """

    def __init__(self, folder: str, encoder: str) -> None:
        self.folder = folder
        self.encoder = encoder

    def before_train(self, runner: Runner) -> None:
        """Compares the trunks, once weights are loaded.

        Args:
            runner: A `SparcRunner`.

        Raises:
            RunError: The model has another trunk.
        """
        # For all processes to call: each may hold a part of the weights.
        weights = runner.weights()
        if not weights:
            return
        vision = runner.bare_model.vision
        trunk = select_prefix(weights, TRUNK)
        if trunk_fingerprint(vision, trunk) != self.encoder:
            raise RunError(
                'the features that were kept are of a trunk with other '
                "weights than the model's: have its weights read (init_cfg "
                'of its backbone, or load_from), or set keep_features=None'
            )
        use_kept_features(vision, self.folder)
