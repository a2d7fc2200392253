"""Visual Description Assembly: class and attribute mixtures behind an invertible network, read back as visual queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vdalib.attributes import losses
from vdalib.attributes.assembly import VisualDescriptionAssembler, drawn_patches, predicted_masks
from vdalib.attributes.flow import InvertibleNetwork
from vdalib.attributes.mixture import HierarchicalGMM
from vdalib.config import Config
from vdalib.methods.frozen_clip import ClipEvidence
from vdalib.methods.visual_query import VisualQueryMethod
from vdalib.training.step import Step


class VisualMixture(nn.Module):
    """The INN and the hierarchical mixture in its latent space: all that inference leaves out."""

    def __init__(self, config: Config, num_classes: int, dim: int):
        super().__init__()
        self.flow = InvertibleNetwork(dim, **vars(config.flow), seed=config.seed)
        settings = config.mixture
        self.gmm = HierarchicalGMM(
            num_classes, settings.attributes, dim, settings.offset_scale, fit_attributes=settings.patch_attributes > 0
        )

    def loss(self, vectors: Tensor, members: Tensor, config: Config, intra: bool) -> dict[str, Tensor]:
        """The INN's loss terms for vectors (n (1+P), D) of classes (n (1+P),) ([A] sec. 3, [N]).

        Each of n reliable prototypes is followed by its P = `mixture.patch_attributes` patches, which only L_intra sees ([R]).
        """
        every = 1 + config.mixture.patch_attributes
        classes = members[::every]
        z, log_det = self.flow(vectors[::every])
        self.gmm.initialise(z, classes)
        scale = z.shape[1] if config.mixture.nll_scale == "per_dimension" else 1
        energy = self.gmm.class_energy(z)
        terms = {
            "inter": losses.inter_class_nll(energy, self.gmm.log_class_weights, log_det, scale),
            "discriminative": losses.discriminative(energy, self.gmm.log_class_weights, classes),
        }
        if intra:
            if every > 1:
                z, log_det = self.flow(vectors)
                self.gmm.initialise_attributes(z, members)
            weights = self.gmm.log_attribute_weights[members]
            terms["intra"] = losses.intra_class_nll(self.gmm.attribute_energy(z, members), weights, log_det, scale)
        return terms


class Waiting(nn.Module):
    """Vectors (.., D) with their classes that wait for a full batch; room for `capacity` of them."""

    def __init__(self, capacity: int, dim: int):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(capacity, dim))
        self.register_buffer("classes", torch.zeros(capacity, dtype=torch.long))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def take(self) -> tuple[Tensor, Tensor]:
        return self.vectors[: self.count], self.classes[: self.count]

    def put(self, vectors: Tensor, classes: Tensor) -> None:
        self.count.fill_(len(classes))
        self.vectors[: len(classes)], self.classes[: len(classes)] = vectors, classes


class VDA(VisualQueryMethod):
    """[A] and [N], method.md sec. 5 to 8. The INN and the segmenter exchange no gradients."""

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        settings, dim = config.mixture, self.clip.dim
        self.mixture = VisualMixture(config, len(class_names), dim).to(device)
        every = 1 + settings.patch_attributes
        self.waiting = Waiting((settings.batch_size - 1) * every, dim).to(device)
        self.memory = nn.ModuleDict({"mixture": self.mixture, "waiting": self.waiting})
        centres = {"params": self.mixture.gmm.parameters(), "lr": settings.learning_rate * settings.centre_lr_factor}
        groups = [{"params": self.mixture.flow.parameters()}, centres]
        self.optimizers = [torch.optim.Adam(groups, lr=settings.learning_rate)]
        self.assembler = VisualDescriptionAssembler(
            self.mixture.flow,
            self.mixture.gmm,
            config.assembly.density,
            config.assembly.static_density,
            config.assembly.response,
        )

    def fused(self, prototypes: Tensor, classes: Tensor) -> Tensor:
        return self.assembler.query(prototypes, classes, self.labeller.class_text).query

    def anchors(self) -> Tensor:
        return self.assembler.anchors()

    def learn(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        """Every process makes the same INN steps on the gathered prototypes, so the INN needs no gradient exchange."""
        vectors = step.gather(seen.found.prototypes[:, :, None].float())
        if count := self.config.mixture.patch_attributes:
            masks = step.gather(predicted_masks(seen.logits.detach(), seen.labels))
            vectors = torch.cat([vectors, drawn_patches(step.gather(seen.features.patches), masks, count).float()], dim=2)
        return self._mixture_steps(vectors, step.gather(seen.found.reliable), intra=step.stage == 2)

    def _mixture_steps(self, vectors: Tensor, reliable: Tensor, intra: bool) -> dict[str, Tensor]:
        """Collect reliable prototypes; one INN step for every full batch of them [N].

        vectors: (B, K, 1+P, D) of all processes, each prototype followed by its patches; reliable: (B, K).
        """
        image, classes = reliable.nonzero(as_tuple=True)
        (earlier, of_class), every, terms = self.waiting.take(), vectors.shape[2], {}
        vectors = torch.cat([earlier, vectors[image, classes].flatten(0, 1)])
        classes = torch.cat([of_class, classes.repeat_interleave(every)])
        size, (optimizer,) = self.config.mixture.batch_size * every, self.optimizers
        while len(classes) >= size:
            self.mixture.train()
            terms = self.mixture.loss(vectors[:size], classes[:size], self.config, intra)
            loss = terms["inter"] + self.config.mixture.discriminative_weight * terms["discriminative"] + terms.get("intra", 0)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            self.mixture.eval()
            vectors, classes = vectors[size:], classes[size:]
        self.waiting.put(vectors, classes)
        return terms
