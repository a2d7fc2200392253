"""Devices, processes and precision: all that we ask of accelerate."""

from __future__ import annotations

import atexit
import os
import warnings
from contextlib import AbstractContextManager
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

if TYPE_CHECKING:
    from accelerate import Accelerator

Part = TypeVar("Part")

_AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which a run of this precision ("no", "bf16" or "fp16") computes."""
    dtype = _AUTOCAST[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def accelerator_for(precision: str, tracker: str | None = None, folder: str | Path | None = None) -> Accelerator:
    """An Accelerator of this precision, whatever other ones in this Python process have.

    tracker: "tensorboard" (into `folder`), "wandb" or "mlflow" (where they are set to). Raises ValueError where its package is
    missing.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState, SharedDict
    from accelerate.tracking import get_available_trackers

    if tracker and tracker not in map(str, get_available_trackers()):
        raise ValueError(f"tracker: {tracker} is not installed; `pip install {tracker}`, or tracker=null for metrics.jsonl alone")
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._shared_state = SharedDict()  # those that exist keep theirs; Accelerator() refuses a second precision
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=handlers, log_with=tracker, project_dir=folder)
    if accelerator.num_processes == 1 and {"MASTER_ADDR", "KMP_AFFINITY"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ:
        cure = "ACCELERATE_USE_CPU=true torchrun --nproc_per_node N -m vdalib ..."
        warnings.warn(f"`accelerate launch --cpu` started one process, whatever --num_processes says; use `{cure}`", stacklevel=2)
    atexit.register(_leave_the_others)
    return accelerator


def _leave_the_others() -> None:
    """Python that ends while gloo's threads still run aborts at times, after all work is done (exit status 134)."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def own_share(length: int) -> range:
    """Which of 0 .. length - 1 this process sees to: over all processes each is there exactly once, whatever divides."""
    from accelerate import PartialState

    state = PartialState()
    return range(state.process_index, length, state.num_processes)


def merged(part: Part) -> Part:
    """The sum, in every process, of what each has."""
    from accelerate.utils import gather_object

    return reduce(add, gather_object([part]))
