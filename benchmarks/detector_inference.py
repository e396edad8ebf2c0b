"""Pictures a second of a detector, by its backbone.

python benchmarks/detector_inference.py vitb16 --repeats 5 \
    --out benchmarks/results/detector_inference.json

Faster R-CNN finds boxes on random pictures: on SparcViT as the recipe has
it, on SparcViT with global attention in every layer, on mmpretrain's own
VisionTransformer of the same sizes under the same pyramid, and on
MMDetection's ResNet-50 with its own. All weights are random and all heads
have the recipe's sizes, so that the rest of the work is alike. The sides
take turns in one run, since machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sparc_vlm.detection  # noqa: E402, F401 (registers, also mmdet's)
from benchmarks.matrix_rate import timed  # noqa: E402
from benchmarks.tables import detector_table  # noqa: E402
from sparc_vlm.engine import load_config  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.models.encoders.architectures import (  # noqa: E402
    architecture,
)
from sparc_vlm.registry import MODELS  # noqa: E402

CONFIGS = ROOT / 'projects' / 'detection' / 'configs'
SIZES = dict(
    vitb16=('faster_rcnn_vitb16_coco', 1024, 1),
    vitsmall=('faster_rcnn_vitsmall_coco2k', 128, 16),
    vitmini=('faster_rcnn_vitmini_scenes', 64, 16),
)
"""Config, side of a picture in pixels, and pictures in a batch."""
OURS = 'SparcViT'
OTHERS = ("mmpretrain's ViT", 'ResNet-50')


def sides(model: ConfigDict) -> dict[str, dict[str, Any]]:
    """What differs between the detectors that are compared.

    Args:
        model: Of a recipe on SparcViT.

    Returns:
        By name the backbone and the neck of each.
    """
    backbone, neck = model.backbone, model.neck
    plain = dict(
        type='mmpretrain.VisionTransformer',
        arch=architecture(backbone.arch),
        img_size=backbone.img_size,
        patch_size=backbone.patch_size,
        out_type='featmap',
        with_cls_token=False,
    )
    resnet = dict(type='ResNet', depth=50, norm_eval=True)
    pyramid = dict(
        type='FPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=neck.out_channels,
        num_outs=5,
    )
    found = {OURS: dict(backbone=backbone, neck=neck)}
    if backbone.window_size:
        everywhere = dict(backbone, window_size=0)
        found[f'{OURS}, no windows'] = dict(backbone=everywhere, neck=neck)
    found[OTHERS[0]] = dict(backbone=plain, neck=neck)
    found[OTHERS[1]] = dict(backbone=resnet, neck=pyramid)
    return found


def build(model: ConfigDict, parts: dict[str, Any]) -> nn.Module:
    """A detector with other parts, in eval mode, weights random."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(dict(model, **parts)).eval()


def pictures(count: int, side: int, seed: int) -> list[Tensor]:
    """Random pictures, (3, side, side) uint8 each."""
    generator = torch.Generator().manual_seed(seed)
    size = (count, 3, side, side)
    drawn = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    return list(drawn)


def find(detector: nn.Module, images: list[Tensor]) -> int:
    """Boxes that a detector finds, all in all."""
    from mmdet.structures import DetDataSample

    shape = images[0].shape[1:]
    known = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    samples = [DetDataSample(metainfo=known) for _ in images]
    with torch.no_grad():
        found = detector.test_step(dict(inputs=images, data_samples=samples))
    return sum(len(sample.pred_instances) for sample in found)


def run(
    config: str, side: int, batch_size: int, repeats: int, seed: int = 0
) -> dict[str, Any]:
    """Measures one size.

    Args:
        config: Name of a recipe.
        side: Of a picture, in pixels.
        batch_size: Pictures at a time.
        repeats: Rounds that are timed, after one that is not.
        seed: Of weights and pictures.
    """
    torch.manual_seed(seed)
    model = load_config(CONFIGS / f'{config}.py').model
    images = pictures(batch_size, side, seed)
    detectors = {
        name: build(model, parts) for name, parts in sides(model).items()
    }
    found: dict[str, dict[str, Any]] = {}
    for name, detector in detectors.items():
        values = sum(p.numel() for p in detector.parameters())
        boxes = find(detector, images)
        found[name] = dict(parameters=values, boxes=boxes, seconds=[])
    for _ in range(repeats):
        for name, detector in detectors.items():
            seconds = timed(lambda one=detector: find(one, images))
            found[name]['seconds'].append(seconds)
    for one in found.values():
        middle = statistics.median(one['seconds'])
        one['pictures_per_second'] = batch_size / middle
    return dict(
        config=config, side=side, batch_size=batch_size, detectors=found
    )


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('sizes', nargs='*', default=list(SIZES))
    parser.add_argument('--side', type=int, help='pixels, for every size')
    parser.add_argument('--batch', type=int, help='pictures, for every size')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    unknown = set(args.sizes) - set(SIZES)
    if unknown:
        parser.error(f'sizes are {", ".join(SIZES)}, got {sorted(unknown)}')
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    if args.threads:
        torch.set_num_threads(args.threads)
    MMLogger.get_instance('mmengine', log_level=logging.ERROR)
    report = dict(
        seed=args.seed,
        threads=torch.get_num_threads(),
        versions=versions(),
        inference={},
    )
    for size in args.sizes:
        config, side, batch = SIZES[size]
        report['inference'][size] = run(
            config,
            args.side or side,
            args.batch or batch,
            args.repeats,
            args.seed,
        )
        if args.out is not None:
            args.out.write_text(json.dumps(report, indent=1) + '\n')
    print(detector_table(report))


if __name__ == '__main__':
    main()
