"""The project's registries, scope `sparc_vlm`, children of mmengine's.

Anything registered here is found from any OpenMMLab config as
`type='sparc_vlm.Name'`, and a name that is not here is looked up in the
parent. `LOADERS`, `TASKS` and `TOKENIZERS` are kinds that mmengine does not
know. Kinds of which we have none get an empty child: mmengine warns of each
that the default scope lacks.
"""

from mmengine import registry as parents
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=parents.MODELS,
    scope='sparc_vlm',
    locations=['sparc_vlm.models'],
)
DATASETS = Registry(
    'dataset',
    parent=parents.DATASETS,
    scope='sparc_vlm',
    locations=['sparc_vlm.datasets'],
)
TRANSFORMS = Registry(
    'transform',
    parent=parents.TRANSFORMS,
    scope='sparc_vlm',
    locations=['sparc_vlm.datasets'],
)
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=parents.DATA_SAMPLERS,
    scope='sparc_vlm',
    locations=['sparc_vlm.datasets'],
)
RUNNERS = Registry(
    'runner',
    parent=parents.RUNNERS,
    scope='sparc_vlm',
    locations=['sparc_vlm.engine'],
)
LOOPS = Registry(
    'loop',
    parent=parents.LOOPS,
    scope='sparc_vlm',
    locations=['sparc_vlm.engine'],
)
HOOKS = Registry(
    'hook',
    parent=parents.HOOKS,
    scope='sparc_vlm',
    locations=[
        'sparc_vlm.engine',
        'sparc_vlm.features',
        'sparc_vlm.hub',
        'sparc_vlm.visualization',
    ],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=parents.OPTIM_WRAPPERS,
    scope='sparc_vlm',
    locations=['sparc_vlm.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=parents.OPTIM_WRAPPER_CONSTRUCTORS,
    scope='sparc_vlm',
    locations=['sparc_vlm.engine'],
)
TASKS = Registry(
    'zero-shot task',
    scope='sparc_vlm',
    locations=['sparc_vlm.evaluation'],
)
TOKENIZERS = Registry(
    'tokenizer',
    scope='sparc_vlm',
    locations=['sparc_vlm.datasets'],
)
LOADERS = Registry(
    'data loader',
    scope='sparc_vlm',
    locations=['sparc_vlm.datasets'],
)

METRICS = Registry('metric', parent=parents.METRICS, scope='sparc_vlm')

for _parent in (
    parents.FUNCTIONS,
    parents.LOG_PROCESSORS,
    parents.MODEL_WRAPPERS,
    parents.OPTIMIZERS,
    parents.PARAM_SCHEDULERS,
    parents.VISBACKENDS,
    parents.VISUALIZERS,
    parents.WEIGHT_INITIALIZERS,
):
    Registry(_parent.name, parent=_parent, scope='sparc_vlm')
