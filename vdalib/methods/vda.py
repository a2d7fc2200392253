"""Visual Description Assembly: class and attribute mixtures behind an invertible network, read back as visual queries."""

from __future__ import annotations

import warnings

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
        self.gmm = HierarchicalGMM(num_classes, settings.attributes, dim, settings.offset_scale)

    def loss(self, vectors: Tensor, classes: Tensor, config: Config, intra: bool, fresh: bool = True) -> dict[str, Tensor]:
        """The INN's loss terms for reliable prototypes of classes (n,) ([A] sec. 3, [N]).

        vectors: (n, 1+P, D), each prototype followed by its P = `mixture.patch_attributes` patches, which only L_intra sees
        ([R]). fresh: the prototypes were not seen before, so that class centres may start from them.
        """
        z, log_det = self.flow(vectors[:, 0])
        if fresh:
            self.gmm.initialise(z, classes)
        scale = z.shape[1] if config.mixture.nll_scale == "per_dimension" else 1
        energy = self.gmm.class_energy(z)
        terms = {
            "inter": losses.inter_class_nll(energy, self.gmm.log_class_weights, log_det, scale),
            "discriminative": losses.discriminative(energy, self.gmm.log_class_weights, classes),
        }
        if intra:
            members = classes.repeat_interleave(vectors.shape[1])
            if vectors.shape[1] > 1:
                z, log_det = self.flow(vectors.flatten(0, 1))
            weights = self.gmm.log_attribute_weights[members]
            terms["intra"] = losses.intra_class_nll(self.gmm.attribute_energy(z, members), weights, log_det, scale)
        return terms


class Waiting(nn.Module):
    """Prototypes (n, 1+P, D) and classes that wait for a full batch; room for `capacity` of them."""

    def __init__(self, capacity: int, *shape: int):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(capacity, *shape))
        self.register_buffer("classes", torch.zeros(capacity, dtype=torch.long))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def take(self) -> tuple[Tensor, Tensor]:
        return self.vectors[: self.count], self.classes[: self.count]

    def put(self, vectors: Tensor, classes: Tensor) -> None:
        self.count.fill_(len(classes))
        self.vectors[: len(classes)], self.classes[: len(classes)] = vectors, classes


class Recent(Waiting):
    """The last `capacity` prototypes, a ring."""

    def take(self) -> tuple[Tensor, Tensor]:
        filled = int(self.count.clamp_max(len(self.classes)))
        return self.vectors[:filled], self.classes[:filled]

    def put(self, vectors: Tensor, classes: Tensor) -> None:
        new = torch.arange(len(classes), device=classes.device)[-len(self.classes) :]
        places = (self.count + new) % len(self.classes)
        self.vectors[places], self.classes[places] = vectors[new], classes[new]
        self.count += len(classes)

    def draw(self, count: int, balanced: bool) -> tuple[Tensor, Tensor]:
        """`count` of them with replacement; balanced: every class that is there is as likely as any other."""
        vectors, classes = self.take()
        weights = 1 / classes.bincount()[classes] if balanced else torch.ones_like(classes, dtype=torch.float)
        drawn = torch.multinomial(weights, count, replacement=True)
        return vectors[drawn], classes[drawn]


class VDA(VisualQueryMethod):
    """[A] and [N], docs/equations.md. The INN and the segmenter exchange no gradients."""

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        settings, dim = config.mixture, self.clip.dim
        self.mixture = VisualMixture(config, len(class_names), dim).to(device)
        every = 1 + settings.patch_attributes
        self.waiting = Waiting(settings.batch_size - 1, every, dim)
        self.memory = nn.ModuleDict({"mixture": self.mixture, "waiting": self.waiting})
        if settings.replay or settings.start == "kmeans":
            self.memory["recent"] = Recent(settings.recent, every, dim)
        self.memory.to(device)
        centres = {"params": self.mixture.gmm.parameters(), "lr": settings.learning_rate * settings.centre_lr_factor}
        groups = [{"params": self.mixture.flow.parameters()}, centres]
        self.optimizers = [torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)]
        self.assembler = VisualDescriptionAssembler(
            self.mixture.flow,
            self.mixture.gmm,
            config.assembly.density,
            config.assembly.static_density,
            config.assembly.response,
        )

    def fused(self, prototypes: Tensor, classes: Tensor) -> Tensor:
        """A class that no INN step has met has a random centre; it keeps its text [R]."""
        text, met = self.labeller.class_text, self.mixture.gmm.met[classes] > 0
        return torch.where(met[:, None], self.assembler.query(prototypes, classes, text).query, text[classes])

    def anchors(self) -> Tensor:
        met = self.mixture.gmm.met > 0
        return torch.where(met[:, None], self.assembler.anchors(), self.labeller.class_text)

    def learn(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        """Every process makes the same INN steps on the gathered prototypes, so the INN needs no gradient exchange."""
        vectors = step.gather(seen.found.prototypes[:, :, None].float())
        if count := self.config.mixture.patch_attributes:
            masks = step.gather(predicted_masks(seen.logits.detach(), seen.labels))
            vectors = torch.cat([vectors, drawn_patches(step.gather(seen.features.patches), masks, count).float()], dim=2)
        return self._mixture_steps(vectors, step.gather(seen.found.reliable), step)

    def _mixture_steps(self, vectors: Tensor, reliable: Tensor, step: Step) -> dict[str, Tensor]:
        """Collect reliable prototypes; one INN step for every full batch [N], then `mixture.replay` more on recent ones [R].

        vectors: (B, K, 1+P, D) of all processes; reliable: (B, K).
        """
        settings, intra = self.config.mixture, step.stage == 2
        if settings.start == "kmeans" and step.number == self.stage_ends[1]:
            self._start_attributes()
        image, of_class = reliable.nonzero(as_tuple=True)
        earlier, classes = self.waiting.take()
        vectors, classes, terms = torch.cat([earlier, vectors[image, of_class]]), torch.cat([classes, of_class]), {}
        size = settings.batch_size
        while len(classes) >= size:
            terms = self.mixture_step(vectors[:size], classes[:size], intra)
            if "recent" in self.memory:
                self.memory["recent"].put(vectors[:size], classes[:size])
            for _ in range(settings.replay):
                self.mixture_step(*self.memory["recent"].draw(size, settings.replay_balanced), intra, fresh=False)
            vectors, classes = vectors[size:], classes[size:]
        self.waiting.put(vectors, classes)
        return terms

    def mixture_step(self, vectors: Tensor, classes: Tensor, intra: bool, fresh: bool = True) -> dict[str, Tensor]:
        """One optimiser step of INN and mixture; its arguments and what it returns are those of `VisualMixture.loss`."""
        self.mixture.train()
        terms = self.mixture.loss(vectors, classes, self.config, intra, fresh)
        loss = terms["inter"] + self.config.mixture.discriminative_weight * terms["discriminative"] + terms.get("intra", 0)
        (optimizer,) = self.optimizers
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        self.mixture.eval()
        return terms

    @torch.no_grad()
    def _start_attributes(self) -> None:
        vectors, classes = self.memory["recent"].take()
        if not len(classes):
            warnings.warn("mixture.start: kmeans found no reliable prototype yet, so attributes start at random", stacklevel=2)
            return
        z, _ = self.mixture.flow(vectors.flatten(0, 1))
        self.mixture.gmm.initialise_attributes(z, classes.repeat_interleave(vectors.shape[1]))
