"""Where a training step or inference spends its time, its FLOPs and its memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakSet, finalize

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

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
    """Mean seconds of each of PARTS and of "other" in a call of `step`, from the `record_function` marks in the library.

    A moment belongs to the innermost mark. The device is waited for at each, so on a GPU they add up to more than a step takes
    that nobody watches.
    """
    spent = dict.fromkeys((*PARTS, "other"), 0.0)
    with _clock(spent):
        for _ in range(repeats):
            step()
    return {part: total / repeats for part, total in spent.items()}


@contextmanager
def _clock(spent: dict[str, float]) -> Iterator[None]:
    """Meanwhile every mark's wall time is added to its part."""
    inside, since = ["other"], time.perf_counter()
    enter, leave = record_function.__enter__, record_function.__exit__

    def settle() -> None:
        nonlocal since
        _synchronise()
        now = time.perf_counter()
        spent[inside[-1]] += now - since
        since = now

    def entered(mark):
        settle()
        inside.append(mark.name if mark.name in spent else inside[-1])
        return enter(mark)

    def left(mark, *error):
        settle()
        inside.pop()
        return leave(mark, *error)

    record_function.__enter__, record_function.__exit__ = entered, left
    try:
        yield
        settle()
    finally:
        record_function.__enter__, record_function.__exit__ = enter, leave


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
