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
        self.memory.register_buffer("sums", torch.zeros(len(class_names), config.options.centres, self.clip.dim, device=device))
        self.loss_weights["entropy"] = config.options.entropy_weight

    def queries(self, seen):  # (B, K, D); a centre that has won no prototype is zero and changes no direction
        centres = torch.nn.functional.normalize(self.memory.sums, dim=-1)  # (K, M, D)
        nearest = torch.einsum("bkd,kmd->bkm", seen.found.prototypes, centres).argmax(-1)  # (B, K)
        return (seen.text_queries + centres[torch.arange(nearest.shape[1]), nearest] * seen.found.reliable[..., None]) / 2

    def terms(self, seen, step):
        entropy = torch.special.entr(seen.logits.softmax(1)).sum(1)  # (B, h, w)
        return super().terms(seen, step) | {"entropy": entropy.sum() / step.total(entropy.new_tensor(entropy.numel()))}

    def after_step(self, seen, step):  # k-means on the sphere: a centre is the sum of the prototypes that it won
        prototypes, reliable = step.gather(seen.found.prototypes.float()), step.gather(seen.found.reliable)
        for prototype, k in zip(prototypes[reliable], reliable.nonzero()[:, 1].tolist()):
            likeness = torch.nn.functional.normalize(self.memory.sums[k], dim=-1) @ prototype  # (M,)
            m = likeness.masked_fill(~self.memory.sums[k].any(-1), 2.0).argmax()  # the empty ones first
            self.memory.sums[k, m] += prototype
        return super().after_step(seen, step)
