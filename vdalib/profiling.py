"""Where a training step spends its time and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

PARTS = ("clip", "cam and affinity", "par", "segmenter forward", "losses", "segmenter backward", "inn and assembly", "optimiser")


def seconds(function: Callable[[], object], repeats: int = 3, warmup: int = 1) -> float:
    """Median wall time of a call in seconds."""
    times = []
    for _ in range(warmup + repeats):
        _synchronise()
        start = time.perf_counter()
        function()
        _synchronise()
        times.append(time.perf_counter() - start)
    return sorted(times[warmup:])[repeats // 2]


def part_seconds(step: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """Mean seconds of each of PARTS in a call of `step`, from the `record_function` marks of the training step.

    On a GPU the marks count kernel time, on a CPU wall time. What no mark covers is under "other".
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    start = time.perf_counter()
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            step()
        _synchronise()
    total = (time.perf_counter() - start) / repeats
    spent = dict.fromkeys(PARTS, 0.0)
    for event in profiler.key_averages():
        if event.key in spent:
            spent[event.key] += max(event.cpu_time_total, event.device_time_total) / 1e6 / repeats
    spent["cam and affinity"] -= spent["par"]
    spent["other"] = max(total - sum(spent.values()), 0.0)
    return spent


def peak_memory_gib() -> float:
    """Highest memory so far: allocated on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
