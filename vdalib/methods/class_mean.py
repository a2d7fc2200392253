"""The running class mean, or the nearest of k-means centres, as visual description: no INN, no mixture. A control for VDA [R]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdalib.config.methods import ClassMeanOptions
from vdalib.methods.visual_query import VisualQueryMethod


class RunningMeans(nn.Module):
    """Online k-means of M centres in each of K classes: a centre is the mean of all vectors (n, D) that it won.

    A centre without vectors is the next one's; so with M = 1 this is the mean of all that the class has met.
    """

    def __init__(self, num_classes: int, centres: int, dim: int):
        super().__init__()
        self.register_buffer("sums", torch.zeros(num_classes, centres, dim))
        self.register_buffer("counts", torch.zeros(num_classes, centres))

    def update(self, vectors: Tensor, classes: Tensor) -> None:
        for vector, k in zip(vectors, classes):
            distances = (self.centres()[k] - vector).square().sum(-1).masked_fill(self.counts[k] == 0, -1)
            m = distances.argmin()
            self.sums[k, m] += vector
            self.counts[k, m] += 1

    def centres(self) -> Tensor:
        """(K, M, D); zero before the first vector."""
        return self.sums / self.counts.clamp_min(1)[..., None]

    def nearest(self, vectors: Tensor, classes: Tensor) -> Tensor:
        """(n, D), the centre nearest to each vector (n, D) in its class (n,)."""
        centres = self.centres()[classes]  # (n, M, D)
        distances = (centres - vectors[:, None]).square().sum(-1).masked_fill(self.counts[classes] == 0, torch.inf)
        return centres[torch.arange(len(classes), device=classes.device), distances.argmin(1)]

    def means(self) -> Tensor:
        """(K, D), of all vectors of a class."""
        return self.sums.sum(1) / self.met.clamp_min(1)[:, None]

    @property
    def met(self) -> Tensor:
        """(K,), how many vectors each class has met."""
        return self.counts.sum(1)


class ClassMean(VisualQueryMethod):
    """VDA with A_k = the mean of the class's reliable prototypes so far: one fixed vector a class instead of an assembly.

    With `options.centres` above 1 it is the k-means centre nearest to the image's own prototype. The same stages, filter and DSE;
    the weight in the query is fixed (`options.weight`). A class never met keeps its text.
    """

    Options = ClassMeanOptions

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        self.memory = RunningMeans(len(class_names), config.options.centres, self.clip.dim).to(device)

    @torch.no_grad()
    def learn(self, seen, step) -> dict[str, Tensor]:
        prototypes, reliable = step.gather(seen.found.prototypes.float()), step.gather(seen.found.reliable)
        image, classes = reliable.nonzero(as_tuple=True)
        self.memory.update(prototypes[image, classes], classes)
        return {}

    def fused(self, prototypes: Tensor, classes: Tensor) -> Tensor:
        text = self.labeller.class_text[classes]
        visual = F.normalize(self.memory.nearest(prototypes.float(), classes), dim=-1)
        weight = self.config.options.weight * (self.memory.met[classes] > 0)
        return torch.lerp(text, visual.to(text.dtype), weight[:, None].to(text.dtype))

    def anchors(self) -> Tensor:
        return torch.where(self.memory.met[:, None] > 0, self.memory.means(), self.labeller.class_text)
