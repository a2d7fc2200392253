"""What a trained run sees in one image by any query of one class: the numbers behind the attribute browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.evaluation.measuring import Prototypes, collect_prototypes
from vdalib.evaluation.run import Run
from vdalib.methods.base import Evidence

TEXT, DESCRIPTION, FUSED = QUERIES = ("text", "visual description", "fused query")
SEED, REFINED, PSEUDO_LABEL, PREDICTION = MAPS = ("seed", "refined CAM", "pseudo label", "prediction")
CACHED_IMAGES = 64


@dataclass
class Responses:
    """How the attributes of a class answer to its prototype in an image.

    weights: (M,), sum to 1. alpha: the density weight in 0..1 that training would take.
    reliable: whether training would fuse at all, or stay with the text.
    """

    weights: np.ndarray
    alpha: float
    reliable: bool

    @property
    def order(self) -> list[int]:
        """Components, strongest first."""
        return np.argsort(-self.weights, kind="stable").tolist()


@dataclass
class View:
    """One image, asked by one query of one class.

    image:      (3, H, W) in 0..1. name, class_name, query, map: what was chosen.
    shown:      a CAM (h, w) in 0..1, or a label map (H, W) of 0..K or 255 where `map` is one.
    responses:  None where the class has no prototype here or the run no mixture; then the query is the text.
    components: those that the visual description is made of; empty for all.
    alpha:      weight of the description in the query: 0 text, 1 description.
    """

    image: Tensor
    name: str
    class_name: str
    query: str
    map: str
    shown: Tensor
    responses: Responses | None
    components: tuple[int, ...]
    alpha: float

    @property
    def is_label_map(self) -> bool:
        return self.map in (PSEUDO_LABEL, PREDICTION)


@dataclass
class Neighbour:
    """A training prototype: its image (3, H, W) uint8, name, and latent distance to a component."""

    image: Tensor
    name: str
    distance: float


class Browser:
    """A run and one of its data splits, asked one image at a time; CLIP sees an image once.

    run: opened by `Run.load`. split: "train" or "val" or another of the data set. gallery: number of training images,
    spread evenly, whose prototypes are searched by `nearest`.
    """

    def __init__(self, run: Run, split: str = "train", gallery: int = 200):
        self.run, self.dataset, self.gallery_size = run, run.dataset(split), gallery
        self.evidence = lru_cache(CACHED_IMAGES)(self._evidence)

    def _evidence(self, index: int) -> Evidence:
        sample = self.dataset[index]
        return self.run.evidence(sample.image.as_subclass(Tensor)[None].float() / 255, sample.labels[None])

    @cached_property
    def _training(self):
        return self.run.dataset("train")

    @cached_property
    def _gallery(self) -> tuple[Prototypes, Tensor]:
        """Reliable prototypes of training images, and their latents (n, D)."""
        count = min(self.gallery_size, len(self._training))
        found = collect_prototypes(self.run, self._training, np.linspace(0, len(self._training) - 1, count).round().astype(int))
        return found, self.run.assembler.latent(found.prototypes.to(self.run.device)).cpu()

    def classes(self, index: int) -> list[int]:
        """The classes of an image-level label."""
        return self.dataset[index].labels.nonzero()[:, 0].tolist()

    def responses(self, index: int, k: int) -> Responses | None:
        """None where the decoder does not find class k in the image or the run has no mixture."""
        found = self.evidence(index).found
        if self.run.assembler is None or not found.present[0, k]:
            return None
        asked = self.run.assembler.query(*self._of_class(found.prototypes[0, k], k))
        return Responses(asked.responses[0].cpu().numpy(), asked.alpha[0].item(), bool(found.reliable[0, k]))

    def query(self, index: int, k: int, components: Sequence[int] = (), kind: str = FUSED, alpha: float | None = None) -> Tensor:
        """(D,): Q = (1 - alpha) T + alpha A, where A assembles the given components only (none given: all) [N] sec. 6.

        kind: TEXT, DESCRIPTION (alpha is 1) or FUSED. alpha: None for the adaptive density. The text alone where there
        are no responses.
        """
        text = F.normalize(self.run.labeller.class_text[k], dim=0)
        responses = self.responses(index, k)
        if kind == TEXT or responses is None:
            return text
        weights = torch.zeros_like(text[: len(responses.weights)])
        chosen = list(components) or responses.order
        weights[chosen] = torch.from_numpy(responses.weights).to(weights)[chosen]
        description = F.normalize(weights @ self._attributes[k], dim=0)
        return torch.lerp(text, description, self._alpha(responses, kind, alpha))

    def view(
        self,
        index: int,
        k: int,
        components: Sequence[int] = (),
        kind: str = FUSED,
        alpha: float | None = None,
        map: str = SEED,
    ) -> View:
        """The image by `query`; other classes keep the run's own queries, which matters to label maps."""
        evidence, responses = self.evidence(index), self.responses(index, k)
        queries = evidence.queries.clone()
        queries[0, k] = self.query(index, k, components, kind, alpha)
        if map == PREDICTION:
            shown = evidence.prediction[0]
        elif map == PSEUDO_LABEL:
            shown = evidence.pseudo_label_of(queries)[0]
        else:
            seeds = evidence.seeds_of(queries)
            shown = (evidence.refined_of(seeds) if map == REFINED else seeds)[0, k]
        return View(
            evidence.images[0],
            self.dataset[index].name,
            self.run.class_names[k],
            kind,
            map,
            shown,
            responses,
            tuple(components),
            0.0 if responses is None else self._alpha(responses, kind, alpha),
        )

    def nearest(self, k: int, component: int, count: int = 5) -> list[Neighbour]:
        """The training prototypes of class k whose latents lie nearest to a component's centre; of the gallery."""
        found, latents = self._gallery
        own = (found.reliable & (found.classes == k)).nonzero()[:, 0]
        centre = self.run.mixture.gmm.attribute_centres()[k, component].cpu()
        distances = (latents[own] - centre).norm(dim=1)
        order = distances.argsort()[:count]
        samples = ((self._training[int(found.images[own[i]])], distances[i].item()) for i in order)
        return [Neighbour(sample.image, sample.name, distance) for sample, distance in samples]

    @cached_property
    def _attributes(self) -> Tensor:
        return self.run.assembler.attributes()

    def _of_class(self, prototype: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        return prototype[None].float(), torch.tensor([k], device=prototype.device), self.run.labeller.class_text

    @staticmethod
    def _alpha(responses: Responses, kind: str, alpha: float | None) -> float:
        fused = responses.alpha if alpha is None else alpha
        return {TEXT: 0.0, DESCRIPTION: 1.0, FUSED: fused}[kind]
