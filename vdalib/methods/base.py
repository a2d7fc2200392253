"""What a method is: all that trainer, inference, evaluation, notebooks and browser ask of one."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdalib.config import Config, NoOptions
from vdalib.data.loader import Views
from vdalib.training.step import Step


class Evidence:
    """What a method sees in a batch of labelled images; each thing is computed when it is first asked for.

    images: (B, 3, H, W) in 0..1. labels: (B, K) bool. logits: (B, K+1, h, w), background first.
    A method's own evidence adds `seeds` and `refined_seeds` (B, K, h, w) in 0..1, zero for absent classes, and `pseudo_label`
    (B, H, W) of 0..K or 255.
    """

    def __init__(self, images: Tensor, labels: Tensor, logits: Tensor):
        self.images, self.labels, self.logits = images, labels, logits

    @cached_property
    def prediction(self) -> Tensor:
        """(B, H, W): what the network says, without being told the labels."""
        return self.prediction_at(self.images.shape[-2:])

    def prediction_at(self, size: tuple[int, int]) -> Tensor:
        """(B, *size): the network's answer at another size."""
        return F.interpolate(self.logits, size, mode="bilinear", align_corners=False).max(1).indices


class Method:
    """Base of all methods: one that a user writes is named `method: package.module:Class` and may lie anywhere.

    Options:    the dataclass of its own settings (`config.options`), a `vdalib.config.Section` whose name ends in "Options".
    stages:     names of the stages of its training; `stage_ends` are the steps at which they are over.
    network:    images (B, 3, H, W) in 0..1 to logits (B, K+1, h, w). Has `patch_size` and `trained`, the part that a run keeps.
    model:      what the loss trains; several processes wrap it, so a step calls it as `step.model`.
    memory:     what is kept from step to step beside the model: a mixture, a teacher, a queue, prototypes. Parameters and buffers
                of fixed size, the same in all processes, saved with every checkpoint.
    optimizers: the method's own, beside the trainer's, saved likewise; it steps them in `after_step`.
    remembers:  False where a run was opened without its memory; evidence then does without.
    loss_weights: of the terms that do not count once.
    views:      further views of an image for the batch, made where images are loaded; can be pickled, as a module's function can.
    """

    Options = NoOptions
    stages: tuple[str, ...] = ("training",)
    views: Views | None = None

    def __init__(self, config: Config, class_names: tuple[str, ...], device: torch.device):
        self.config, self.class_names, self.device = config, class_names, device
        self.network = self.build_network(config, class_names).to(device)
        self.model: nn.Module = self.network.trained
        self.memory: nn.Module = nn.Module()
        self.optimizers: list[torch.optim.Optimizer] = []
        self.loss_weights: dict[str, float] = {}
        self.remembers = True

    @classmethod
    def build_network(cls, config: Config, class_names: tuple[str, ...]) -> nn.Module:
        """The network as before training: with the weights of `trained` loaded, it is all that inference needs."""
        raise NotImplementedError

    @property
    def stage_ends(self) -> tuple[int, ...]:
        return (self.config.schedule.total_steps,)

    def stage(self, step: int) -> int:
        """Which of `stages` the step with this number belongs to."""
        return sum(step >= end for end in self.stage_ends[:-1])

    def share(self, index: int, count: int) -> None:
        """Told before training: this is process `index` of `count`, which has that part of every batch."""

    def parameter_groups(self) -> list[dict]:
        """Groups of `model`'s parameters for AdamW; `base_lr` where it is not `schedule.learning_rate`."""
        return [{"params": [*self.model.parameters()]}]

    def loss_terms(self, batch: dict[str, Tensor], step: Step) -> tuple[dict[str, Tensor], object]:
        """Loss terms by the name under which they are logged, and whatever `after_step` wants to see of the step.

        batch: of `vdalib.data.loader.training_batches`. Torch's random state is that of (seed, step), in all processes alike.
        """
        raise NotImplementedError

    def after_step(self, seen: object, step: Step) -> dict[str, Tensor]:
        """What happens after the optimiser's step; returns further values to log, alike in all processes."""
        return {}

    def evidence(self, images: Tensor, labels: Tensor, step: int) -> Evidence:
        """Of images in whole patches with labels (B, K), as the weights after `step` steps see them."""
        raise NotImplementedError
