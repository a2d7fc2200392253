"""Where a training step or inference spends its time, its FLOPs and its memory."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet, finalize

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler writes notes of its own to stderr

PARTS = ("clip", "adapter", "decoder", "cam and affinity", "par", "losses", "segmenter backward", "optimiser", "inn and assembly")


def timings(function: Callable[[], object], repeats: int = 3, warmup: int = 1) -> list[float]:
    """Wall times of calls in seconds, in order."""
    times = []
    for _ in range(warmup + repeats):
        _synchronise()
        start = time.perf_counter()
        function()
        _synchronise()
        times.append(time.perf_counter() - start)
    return times[warmup:]


def seconds(function: Callable[[], object], repeats: int = 3, warmup: int = 1) -> float:
    """Median wall time of a call in seconds."""
    return statistics.median(timings(function, repeats, warmup))


def part_seconds(step: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """Mean seconds of each of PARTS in a call of `step`, from the `record_function` marks in the library.

    On a GPU the marks count kernel time, on a CPU wall time. What no mark covers is under "other".
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities) as profiler:
        total = sum(timings(step, repeats, warmup=0)) / repeats
    spent = dict.fromkeys(PARTS, 0.0)
    for event in profiler.key_averages():
        if event.key in spent:
            spent[event.key] += max(event.cpu_time_total, event.device_time_total) / 1e6 / repeats
    spent["cam and affinity"] -= min(spent["par"], spent["cam and affinity"])  # the one in the other, in methods on CLIP
    spent["other"] = max(total - sum(spent.values()), 0.0)
    return spent


@dataclass
class Work:
    """flops: of products and convolutions, two for a multiply-add, as `FlopCounterMode` counts them.

    peak_bytes: the most that tensors made since the step began took while the part ran.
    """

    flops: float = 0.0
    peak_bytes: int = 0


def part_work(step: Callable[[], object], repeats: int = 1) -> dict[str, Work]:
    """FLOPs of each of PARTS and of "other" in a call of `step`, mean over calls, and peak memory over calls.

    Attention is written out for the count: fused kernels would not be counted. Time under this means nothing.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, _Watch(counter.get_total_flops) as watch:
            for _ in range(repeats):
                step()
        watch.settle("other")
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    return {part: Work(work.flops / repeats, work.peak_bytes) for part, work in watch.parts.items()}


class _Watch(TorchDispatchMode):
    """Every operation passes here, and so do the marks: they say to which part FLOPs and live bytes belong."""

    def __init__(self, total_flops: Callable[[], float]):
        super().__init__()
        self.parts = {part: Work() for part in (*PARTS, "other")}
        self.inside, self.total_flops, self.seen = ["other"], total_flops, 0.0
        self.live, self.storages = 0, WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        if name == "profiler::_record_function_enter_new":
            self.settle(self.inside[-1])
            self.inside.append(args[0] if args[0] in self.parts else self.inside[-1])
        self._unknown((args, kwargs))  # what a step is given, and a view of it, was there before: it is not counted
        result = func(*args, **(kwargs or {}))
        if name.startswith("profiler::_record_function_exit"):
            self.settle(self.inside.pop())
        for storage in self._unknown(result):
            self.live += storage.nbytes()
            finalize(storage, self._release, storage.nbytes())
        work = self.parts[self.inside[-1]]
        work.peak_bytes = max(work.peak_bytes, self.live)
        return result

    def _unknown(self, values: object) -> list[torch.UntypedStorage]:
        """Storages of tensors that no operation has met yet; from now on they are known."""
        all_of_them = {value.untyped_storage() for value in tree_leaves(values) if isinstance(value, torch.Tensor)}
        found = [storage for storage in all_of_them if storage not in self.storages]
        self.storages.update(found)
        return found

    def settle(self, part: str) -> None:
        """FLOPs since the last mark belong to the part."""
        total = self.total_flops()
        self.parts[part].flops += total - self.seen
        self.seen = total

    def _release(self, size: int) -> None:
        self.live -= size


def device_name() -> str:
    """What the work runs on: the GPU's name where there is one, else "CPU"."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def peak_memory_gib() -> float:
    """Highest memory so far: allocated on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
