"""The running class mean as visual description, no INN and no mixture: what would a plain mean do? A control for VDA [R]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdalib.config.methods import ClassMeanOptions
from vdalib.methods.visual_query import VisualQueryMethod


class RunningMean(nn.Module):
    """The mean of all vectors (n, D) that each of K classes has met; zero before the first."""

    def __init__(self, num_classes: int, dim: int):
        super().__init__()
        self.register_buffer("sums", torch.zeros(num_classes, dim))
        self.register_buffer("counts", torch.zeros(num_classes))

    def update(self, vectors: Tensor, classes: Tensor) -> None:
        self.sums.index_add_(0, classes, vectors.to(self.sums.dtype))
        self.counts.index_add_(0, classes, torch.ones_like(classes, dtype=self.counts.dtype))

    def means(self) -> Tensor:
        """(K, D)."""
        return self.sums / self.counts.clamp_min(1)[:, None]


class ClassMean(VisualQueryMethod):
    """VDA with A_k = the mean of the class's reliable prototypes so far: one fixed vector a class instead of an assembly.

    The same stages, filter and DSE; the weight in the query is fixed (`options.weight`). A class never met keeps its text.
    """

    Options = ClassMeanOptions

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        self.memory = RunningMean(len(class_names), self.clip.dim).to(device)

    @torch.no_grad()
    def learn(self, seen, step) -> dict[str, Tensor]:
        prototypes, reliable = step.gather(seen.found.prototypes.float()), step.gather(seen.found.reliable)
        image, classes = reliable.nonzero(as_tuple=True)
        self.memory.update(prototypes[image, classes], classes)
        return {}

    def fused(self, prototypes: Tensor, classes: Tensor) -> Tensor:
        text = self.labeller.class_text[classes]
        mean = F.normalize(self.memory.means()[classes], dim=-1)
        weight = self.config.options.weight * (self.memory.counts[classes] > 0)
        return torch.lerp(text, mean, weight[:, None].to(text.dtype))

    def anchors(self) -> Tensor:
        means = self.memory.means()
        return torch.where(self.memory.counts[:, None] > 0, means, self.labeller.class_text)
