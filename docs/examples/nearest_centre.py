"""A method of one's own: queries are the mean of text and of the nearest k-means centre of the class's prototypes."""

from dataclasses import dataclass

import torch

from vdalib.config import Count, NonNegative, Section
from vdalib.methods.frozen_clip import FrozenClipMethod


@dataclass(frozen=True)
class NearestCentreOptions(Section):
    centres: Count = 4  # of each class
    entropy_weight: NonNegative = 0.1


class NearestCentre(FrozenClipMethod):
    Options = NearestCentreOptions

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        shape = (len(class_names), config.options.centres)
        self.memory.register_buffer("centres", torch.zeros(*shape, self.clip.dim, device=device))
        self.memory.register_buffer("counts", torch.zeros(shape, device=device))
        self.loss_weights["entropy"] = config.options.entropy_weight

    def queries(self, seen):  # (B, K, D); a centre that has not met a prototype is zero and changes no direction
        nearest = torch.einsum("bkd,kmd->bkm", seen.found.prototypes, self.memory.centres).argmax(-1)  # (B, K)
        centres = self.memory.centres[torch.arange(nearest.shape[1]), nearest]  # (B, K, D)
        return (seen.text_queries + centres * seen.found.reliable[..., None]) / 2

    def terms(self, seen, step):
        entropy = torch.special.entr(seen.logits.softmax(1)).sum(1)  # (B, h, w)
        return super().terms(seen, step) | {"entropy": entropy.sum() / step.total(torch.tensor(entropy.numel()))}

    def after_step(self, seen, step):  # online k-means: a centre is the mean of all that it won
        prototypes, (centres, counts) = step.gather(seen.found.prototypes.float()), self.memory.buffers()
        for image, k in step.gather(seen.found.reliable).nonzero().tolist():
            m = (centres[k] @ prototypes[image, k]).masked_fill(counts[k] == 0, 2.0).argmax()  # the empty ones first
            counts[k, m] += 1
            centres[k, m] += (prototypes[image, k] - centres[k, m]) / counts[k, m]
        return super().after_step(seen, step)
