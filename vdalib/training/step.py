"""What a method is told of the step that it is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


def unshared(value: Tensor) -> Tensor:
    """What `Step.total` and `Step.gather` do where one process has the whole batch."""
    return value


@dataclass(frozen=True)
class Step:
    """A step of training, or the moment of a trained run's weights.

    number:      of the step, from 0; total_steps: of the schedule; stage: which of the method's stages it belongs to.
    model:       the method's model, to be called for what the loss trains (several processes wrap it); None after training.
    total:       sums a count over processes: a loss that divides by it is this process's part of the whole batch's loss.
    gather:      the rows of all processes, in their order.
    """

    number: int
    total_steps: int
    stage: int = 0
    model: Callable[..., Any] | None = None
    total: Callable[[Tensor], Tensor] = unshared
    gather: Callable[[Tensor], Tensor] = unshared

    @property
    def share(self) -> float:
        """How much of the schedule is over, 0..1."""
        return self.number / self.total_steps
