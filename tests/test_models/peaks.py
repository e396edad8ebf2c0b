"""Peak memory of a function, from PyTorch's own record of allocations."""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile


def peak_bytes(function):
    """Most bytes of tensors alive at a time, above those at the start."""
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    alive = highest = 0
    changes = [e for e in events if e.name() == '[memory]']
    for event in sorted(changes, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        highest = max(highest, alive)
    return highest
