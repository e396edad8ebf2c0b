"""SPARC: sparse fine-grained contrastive alignment, for OpenMMLab.

Importing the package registers everything under the scope `sparc_vlm`.
`load` gives a trained model back from the folder that training wrote.
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
from sparc_vlm.hub import load  # noqa: E402

__version__ = '0.1.0'

__all__ = [
    'datasets',
    'engine',
    'evaluation',
    'load',
    'models',
    'visualization',
]
