"""Whether what is left of a study can be done, told before any long work.

What is done already is not asked about: the weights that it started from, and
its own, may be gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sparc_vlm.engine import check_config, load_config
from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.errors import UserError
from sparc_vlm.recipe import use_data
from sparc_vlm.study.kept import finished
from sparc_vlm.study.models import check_model
from sparc_vlm.study.plan import Study, StudyArm, Unit, filled


def check_units(
    study: Study, units: Iterable[Unit], work_dir: Path, root: Path
) -> None:
    """Checks recipes that are to be trained, and models to be measured.

    Args:
        study: Whose arms.
        units: What is to be done.
        work_dir: Of the study.
        root: Holds `tools/train.py`.

    Raises:
        UserError: A recipe, its data or what it starts from does not fit, or
            there is no such model.
    """
    checked = set()
    for arm, seed in units:
        is_trained = arm.checkpoint is None and (
            arm.run(seed, work_dir, root).seconds() is not None
        )
        # Last, as it reads what was measured of each sample.
        if is_trained or len(
            finished(study, arm, seed, work_dir, root)
        ) == len(study.tasks_of(arm)):
            continue
        if arm.checkpoint is not None:
            check_model(arm.checkpoint)
            continue
        # But for the seed itself most recipes are the same at every seed.
        differ = any(filled(v, seed) != v for v in arm.options.values())
        case = (arm.name, seed if differ else None)
        if case not in checked:
            checked.add(case)
            _check_recipe(arm, seed)


def _check_recipe(arm: StudyArm, seed: int) -> None:
    """Whether a recipe, with the arm's changes and data, can be trained."""
    try:
        cfg = load_config(arm.config, arm.options_at(seed))
        if arm.flags:
            use_data(cfg, arm.data, arm.val_data)
        check_config(cfg)
    except UserError as error:
        raise ConfigError(f'arm {arm.name}: {error}') from error
