"""SPARC: sparse fine-grained contrastive alignment, for OpenMMLab.

Importing the package registers everything under the scope `sparc_vlm`.
"""

from sparc_vlm import compat

compat.install()

from sparc_vlm import (  # noqa: E402
    datasets,
    engine,
    evaluation,
    models,
    visualization,
)

__version__ = '0.1.0'

__all__ = [
    'datasets',
    'engine',
    'evaluation',
    'models',
    'visualization',
]
