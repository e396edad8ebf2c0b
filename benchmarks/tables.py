"""The benchmarks' JSON as tables, for the terminal and for the docs.

python benchmarks/tables.py benchmarks/results/train_step.json
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.downstream_tables import (  # noqa: E402
    detector_table,
    prompting_table,
    update_table,
    writing_table,
)
from benchmarks.markdown import Report, markdown, spread  # noqa: E402


def step_table(report: Report) -> str:
    """Pairs a second of each side, from `train_step`.

    Args:
        report: What it wrote.
    """
    rows = []
    for size, found in report['sizes'].items():
        for name, side in found['sides'].items():
            rows.append(
                (
                    f'{size}, {found["batch_size"]} pairs',
                    name,
                    f'{side["pairs_per_second"]:.1f}',
                    spread(side['seconds'], 3),
                    f'{statistics.median(side["update_seconds"]):.3f}',
                    f'{side["share_of_matrix_rate"]:.0%}',
                )
            )
    head = 'model', 'side', 'pairs/s', 'seconds a step', 'of it update'
    return markdown((*head, 'of the matrix rate'), rows)


def ratio_table(report: Report) -> str:
    """How many times another side's pairs a second, from `train_step`.

    Args:
        report: What it wrote.
    """
    sizes = report['sizes']
    pairs = list(
        dict.fromkeys(pair for f in sizes.values() for pair in f['ratios'])
    )
    rows = [
        (size, *(spread(found['ratios'].get(pair, []), 2) for pair in pairs))
        for size, found in sizes.items()
    ]
    return markdown(('model', *pairs), rows)


def parts_table(report: Report) -> str:
    """How much longer a step takes with what a part replaced.

    As `step_parts` measured it.

    Args:
        report: What it wrote.
    """
    sizes = report['sizes']
    parts = next(iter(sizes.values()))['slowdowns']
    rows = [
        (part, *(spread(f['slowdowns'][part], 2) for f in sizes.values()))
        for part in parts
    ]
    return markdown(('with', *sizes), rows)


def profile_table(reports: Sequence[Report], most: int = 12) -> str:
    """Shares of a step's time by operation, from `step_profile`.

    Args:
        reports: What it wrote, a column each.
        most: Operations to show, the largest of any column first.
    """
    largest: dict[str, float] = {}
    for report in reports:
        for name, share in report['shares'].items():
            largest[name] = max(share, largest.get(name, 0))
    shown = sorted(largest, key=lambda name: -largest[name])[:most]
    rows = [
        (
            'outside products',
            *(f'{r["outside_products"]:.1%}' for r in reports),
        )
    ]
    rows += [
        (
            f'`{name.removeprefix("aten::")}`',
            *(f'{r["shares"].get(name, 0):.1%}' for r in reports),
        )
        for name in shown
    ]
    head = (f'{r["size"]}, {r["side"]}' for r in reports)
    return markdown(('share of the time', *head), rows)


def loss_table(report: Report, field: str) -> str:
    """One figure of each objective and side, from `losses`.

    Args:
        report: What it wrote.
        field: 'seconds', or 'peak_bytes', which is shown in GiB.
    """

    def cell(side: Report | None) -> str:
        if side is None:
            return ''
        if 'left_out' in side:
            return side['left_out']
        if field == 'seconds':
            return spread(side['seconds'], 3)
        return f'{side[field] / 2**30:.3f}'

    rows = []
    for objective, batches in report['objectives'].items():
        for side in next(iter(batches.values())):
            cells = (cell(found.get(side)) for found in batches.values())
            rows.append((objective, side, *cells))
    unit = 'seconds' if field == 'seconds' else 'GiB'
    return markdown(('loss', unit, *_batches(report)), rows)


def loss_ratio_table(report: Report) -> str:
    """How many times faster and smaller than each peer, from `losses`.

    Args:
        report: What it wrote.
    """

    def cell(ours: Report, peer: Report) -> str:
        if 'left_out' in ours or 'left_out' in peer:
            return ''
        # Slow sides may have had fewer rounds than the other.
        rounds = zip(ours['seconds'], peer['seconds'], strict=False)
        faster = spread([theirs / own for own, theirs in rounds], 1)
        smaller = peer['peak_bytes'] / max(1, ours['peak_bytes'])
        return f'{faster}; {smaller:.1f}'

    rows = []
    for objective, batches in report['objectives'].items():
        ours, *peers = next(iter(batches.values()))
        for peer in peers:
            cells = (cell(f[ours], f[peer]) for f in batches.values())
            rows.append((objective, peer, *cells))
    head = 'loss', 'times faster; smaller than'
    return markdown((*head, *_batches(report)), rows)


def _batches(report: Report) -> list[str]:
    return list(next(iter(report['objectives'].values())))


def data_table(report: Report) -> str:
    """Pairs a second of a data worker, from `data_rate`.

    Args:
        report: What it wrote.
    """
    training = report['training']
    rows = []
    for name, layout in report['layouts'].items():
        rates = layout['pairs_per_second']
        worker = statistics.median(rates)
        needed = (f'{taken / worker:.2f}' for taken in training.values())
        rows.append((name, spread(rates, 0), *needed))
    head = (
        f'workers for {name}, {taken:.0f} pairs/s'
        for name, taken in training.items()
    )
    return markdown(('read from', 'pairs/s of a worker', *head), rows)


def index_table(report: Report) -> str:
    """What a loader of many shards takes before it reads, from `data_rate`.

    Args:
        report: What it wrote.
    """
    index = report['index']
    fields = 'held_bytes', 'traced_peak_bytes', 'resident_bytes'
    row = (
        str(index['shards']),
        f'{index["seconds"]:.2f}',
        *(f'{index[field] / 2**20:.2f}' for field in fields),
    )
    head = 'shards', 'seconds', 'MiB held', 'MiB at its peak'
    return markdown((*head, 'MiB the process grew by'), [row])


def large_table(reports: Sequence[Report]) -> str:
    """Memory and time of losses at one large batch, from `loss_memory`.

    Args:
        reports: What it wrote, a row each.
    """
    rows = []
    for report in reports:
        fields = 'peak_bytes', 'inputs_bytes', 'gradients_bytes'
        memory = (f'{report[field] / 2**30:.2f}' for field in fields)
        device = {'cpu': 'CPU', 'cuda': 'GPU'}[report['device']]
        if device == 'CPU':
            count = report['threads']
            device += f', {count} thread{"s" * (count > 1)}'
        minutes = f'{report["seconds"] / 60:.1f}'
        batch = str(report['batch'])
        rows.append((report['objective'], device, batch, *memory, minutes))
    head = 'loss', 'on', 'batch', 'GiB at its peak', 'of it embeddings'
    return markdown((*head, 'their gradients', 'minutes'), rows)


def retrieval_table(report: Report) -> str:
    """Seconds and memory of each way to rank, from `retrieval_memory`.

    Args:
        report: What it wrote.
    """
    rows = [
        (
            name,
            spread(side['seconds'], 2),
            spread([peak / 2**20 for peak in side['peak_bytes']], 0),
        )
        for name, side in report['retrieval'].items()
    ]
    captions = report['pictures'] * report['captions_per_picture']
    what = f'{report["pictures"]} pictures, {captions} captions'
    return markdown((what, 'seconds', 'MiB at its peak'), rows)


def tables(report: Report) -> Iterator[str]:
    """Whatever tables a report has.

    Args:
        report: The JSON of one of the scripts.
    """
    if 'shares' in report:
        yield profile_table([report])
        return
    if 'peak_bytes' in report:
        yield large_table([report])
        return
    if 'writing' in report:
        yield update_table(report)
        yield writing_table(report)
        yield prompting_table(report)
        return
    if 'inference' in report:
        yield detector_table(report)
        return
    if 'retrieval' in report:
        yield retrieval_table(report)
        return
    if 'objectives' in report:
        yield loss_table(report, 'seconds')
        yield loss_table(report, 'peak_bytes')
        yield loss_ratio_table(report)
        return
    if 'layouts' in report:
        yield data_table(report)
        yield index_table(report)
        return
    first = next(iter(report['sizes'].values()))
    if 'slowdowns' in first:
        yield parts_table(report)
    else:
        yield step_table(report)
        yield ratio_table(report)


if __name__ == '__main__':
    for path in sys.argv[1:]:
        for shown in tables(json.loads(Path(path).read_text())):
            print(shown, end='\n\n')
