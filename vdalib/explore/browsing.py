"""What a trained run sees in one image by any query of one class: the numbers behind the attribute browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.clip import FrozenCLIP
from vdalib.evaluation.measuring import Prototypes, collect_prototypes
from vdalib.evaluation.run import Run
from vdalib.explore.album import Album
from vdalib.methods.base import Evidence

TEXT, DESCRIPTION, FUSED = QUERIES = ("text", "visual description", "fused query")
OWN, FREE = "the method's own", "free text"
SEED, REFINED, PSEUDO_LABEL, PREDICTION = MAPS = ("seed", "refined CAM", "pseudo label", "prediction")
TRUTH, PARTS = "ground truth", "parts"
CACHED_IMAGES, CACHED_TEXTS = 64, 64


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
    shown:      a CAM (h, w) in 0..1, or a label map (H, W) where `map` is one: 0..K or 255, of PARTS 0 and part index + 1.
    responses:  None where the class has no prototype here or no mixture has met it; then the query is the text.
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
        return self.map not in (SEED, REFINED)


@dataclass
class Neighbour:
    """A training prototype: its image (3, H, W) uint8, name, and latent distance to a component."""

    image: Tensor
    name: str
    distance: float


@dataclass
class Patch:
    """A training patch: its image (3, H, W) uint8, name, place (left, top, right, bottom) in 0..1, cosine to the one asked."""

    image: Tensor
    name: str
    place: tuple[float, float, float, float]
    cosine: float


@dataclass
class Probe:
    """What a run says of one patch.

    place:         (left, top, right, bottom) in 0..1 of the image.
    probabilities: (K+1,) of the segmenter, background first. seed: of the class in 0..1, by the method's own query.
    cosines:       of the patch to each query that there is; empty without a frozen CLIP.
    distances:     (M,) in the latent space to the components of the class; None where no mixture has met it.
    patches:       the training patches most like it, at most one an image; of the gallery.
    """

    place: tuple[float, float, float, float]
    probabilities: np.ndarray
    seed: float
    cosines: dict[str, float]
    distances: np.ndarray | None
    patches: list[Patch]


@dataclass
class Gallery:
    """Some training images: their prototypes with latents (n, D), and unit patches (N, D), each with image and place (4,)."""

    prototypes: Prototypes
    latents: Tensor | None
    patches: Tensor
    images: Tensor
    places: Tensor


class Browser:
    """A run and one of its data splits, asked one image at a time; CLIP sees an image once.

    run: opened by `Run.load`. split: "train" or "val" or another of the data set. gallery: number of training images,
    spread evenly, that `nearest` and `probe` search. dataset: in place of the run's split, for runs that are compared.
    """

    def __init__(self, run: Run, split: str = "train", gallery: int = 200, dataset=None):
        self.run, self.gallery_size = run, gallery
        self.dataset = run.dataset(split) if dataset is None else dataset
        self.album = Album(self.dataset, run.predictor, gallery)
        self.evidence = lru_cache(CACHED_IMAGES)(self._evidence)
        self.of_text = lru_cache(CACHED_TEXTS)(self._of_text)
        self.gallery = cache(self._gallery)

    @property
    def queries(self) -> tuple[str, ...]:
        """What can be asked: text and visual description where there are any, else what the method itself asks."""
        if self.run.labeller is None:
            return (OWN,)
        return (TEXT, *((OWN,) if self.run.assembler is None else (DESCRIPTION, FUSED)), FREE)

    @property
    def maps(self) -> tuple[str, ...]:
        walks = self.run.labeller is not None and self.run.config.refine.random_walk  # else the refined CAM is the seed
        known = MAPS if walks else (SEED, PSEUDO_LABEL, PREDICTION)
        return known + (TRUTH,) * self.album.has_masks + (PARTS,) * self.album.has_parts

    def _evidence(self, index: int) -> Evidence:
        sample = self.album.sample(index)
        return self.run.evidence(sample.image.as_subclass(Tensor)[None].float() / 255, sample.labels[None])

    @cached_property
    def _training(self):
        return self.run.dataset("train")

    def _gallery(self) -> Gallery:
        patches, images, places = [], [], []

        def watch(batch, evidence):
            found = evidence.features.patches.float()  # (B, D, h, w)
            patches.append(F.normalize(found.flatten(2).transpose(1, 2).flatten(0, 1), dim=1).cpu())
            images.append(torch.tensor(batch.indices).repeat_interleave(found[0, 0].numel()))
            places.append(_places(*found.shape[-2:]).repeat(len(found), 1))

        count = min(self.gallery_size, len(self._training))
        chosen = np.linspace(0, len(self._training) - 1, count).round().astype(int)
        found = collect_prototypes(self.run, self._training, chosen, watch)
        latents = None
        if self.run.assembler is not None:
            latents = self.run.assembler.latent(found.prototypes.to(self.run.device)).cpu()
        return Gallery(found, latents, *map(torch.cat, (patches, images, places)))

    def classes(self, index: int) -> list[int]:
        """The classes of an image-level label."""
        return self.album.sample(index).labels.nonzero()[:, 0].tolist()

    def responses(self, index: int, k: int) -> Responses | None:
        """None where the decoder does not find class k in the image or the run has no mixture that has met it."""
        if not self.run.describes(k):
            return None
        found = self.evidence(index).found
        if not found.present[0, k]:
            return None
        asked = self.run.assembler.query(*self._of_class(found.prototypes[0, k], k))
        return Responses(asked.responses[0].cpu().numpy(), asked.alpha[0].item(), bool(found.reliable[0, k]))

    def query(
        self, index: int, k: int, components: Sequence[int] = (), kind: str = FUSED, alpha: float | None = None, text: str = ""
    ) -> Tensor:
        """(D,): Q = (1 - alpha) T + alpha A, where A assembles the given components only (none given: all) [N] sec. 6.

        kind: TEXT, DESCRIPTION (alpha is 1), FUSED, OWN, or FREE, which asks by `text`. alpha: None for the adaptive density.
        The text alone where there are no responses. ValueError for a free text that is empty or has a word that CLIP lacks.
        """
        if kind == OWN:
            return self.evidence(index).queries[0, k]
        if kind == FREE:
            return self.of_text(text)
        words = F.normalize(self.run.labeller.class_text[k], dim=0)
        responses = self.responses(index, k)
        if kind == TEXT or responses is None:
            return words
        weights = torch.zeros_like(words[: len(responses.weights)])
        chosen = list(components) or responses.order
        alone = torch.from_numpy(responses.weights).to(weights)[chosen].clamp_min(torch.finfo(weights.dtype).tiny)
        weights[chosen] = alone / alone.max()  # a component without a response can be looked at, too
        description = F.normalize(weights @ self._attributes[k], dim=0)
        return torch.lerp(words, description, self._alpha(responses, kind, alpha))

    def view(
        self,
        index: int,
        k: int,
        components: Sequence[int] = (),
        kind: str = FUSED,
        alpha: float | None = None,
        map: str = SEED,
        text: str = "",
    ) -> View:
        """The image by `query`; other classes keep the run's own queries, which matters to label maps."""
        evidence, responses = self.evidence(index), self.responses(index, k)
        shown = self._shown(evidence, index, k, map, kind, lambda: self.query(index, k, components, kind, alpha, text))
        name, own = self.album.sample(index).name, self.run.class_names[k]
        used = 0.0 if responses is None else self._alpha(responses, kind, alpha)
        return View(evidence.images[0], name, own, kind, map, shown, responses, tuple(components), used)

    def _shown(self, evidence: Evidence, index: int, k: int, map: str, kind: str, query) -> Tensor:
        if map == TRUTH:
            return torch.from_numpy(self.dataset.mask(index)).long()
        if map == PARTS:
            return torch.from_numpy(self.dataset.part_mask(index)).long()
        if map == PREDICTION:
            return evidence.prediction[0]
        if kind == OWN:
            maps = {SEED: "seeds", REFINED: "refined_seeds", PSEUDO_LABEL: "pseudo_label"}
            shown = getattr(evidence, maps[map])[0]
            return shown if map == PSEUDO_LABEL else shown[k]
        queries = evidence.queries.clone()
        queries[0, k] = query()
        if map == PSEUDO_LABEL:
            return evidence.pseudo_label_of(queries)[0]
        seeds = evidence.seeds_of(queries)
        return (evidence.refined_of(seeds) if map == REFINED else seeds)[0, k]

    def nearest(self, k: int, component: int, count: int = 5) -> list[Neighbour]:
        """The training prototypes of class k whose latents lie nearest to a component's centre; of the gallery.

        None of a class that the mixture never met.
        """
        if not self.run.describes(k):
            return []
        found = self.gallery().prototypes
        own = (found.reliable & (found.classes == k)).nonzero()[:, 0]
        centre = self.run.mixture.gmm.attribute_centres()[k, component].cpu()
        distances = (self.gallery().latents[own] - centre).norm(dim=1)
        order = distances.argsort()[:count]
        samples = ((self._training[int(found.images[own[i]])], distances[i].item()) for i in order)
        return [Neighbour(sample.image, sample.name, distance) for sample, distance in samples]

    def probe(
        self, index: int, k: int, x: float, y: float, components: Sequence[int] = (), text: str = "", count: int = 6
    ) -> Probe:
        """Of the patch at x and y in 0..1 of the image. components, text: of the visual description and the free text."""
        evidence = self.evidence(index)
        probabilities = evidence.logits[0].softmax(0)
        seeds = evidence.seeds[0, k]
        if self.run.labeller is None:
            place = _cell(x, y, *probabilities.shape[-2:])
            return Probe(place, _at(probabilities, place), _at(seeds, place).item(), {}, None, [])
        patches = evidence.features.patches[0].float()
        place = _cell(x, y, *patches.shape[-2:])
        patch = F.normalize(torch.from_numpy(_at(patches, place)).to(patches.device), dim=0)
        kinds = [kind for kind in self.queries if kind != FREE or text]
        asked = {kind: self.query(index, k, components, kind, text=text) for kind in kinds}
        cosines = {kind: F.cosine_similarity(patch, query.float(), dim=0).item() for kind, query in asked.items()}
        distances = None
        if self.run.describes(k):
            centres = self.run.mixture.gmm.attribute_centres()[k]
            distances = (self.run.assembler.latent(patch[None]) - centres).norm(dim=1).cpu().numpy()
        neighbours = self._most_like(patch.cpu(), count)
        return Probe(place, _at(probabilities, place), _at(seeds, place).item(), cosines, distances, neighbours)

    def _most_like(self, patch: Tensor, count: int) -> list[Patch]:
        gallery, found, taken = self.gallery(), [], set()
        cosines = gallery.patches @ patch
        for i in cosines.argsort(descending=True).tolist():
            if (image := int(gallery.images[i])) not in taken:
                taken.add(image)
                sample = self._training[image]
                found.append(Patch(sample.image, sample.name, tuple(gallery.places[i].tolist()), cosines[i].item()))
            if len(found) == count:
                break
        return found

    def _of_text(self, text: str) -> Tensor:
        if not text.strip():
            raise ValueError("free text: empty, expected words such as 'a red wheel'")
        return self._text_tower.text_prototypes([text.strip()])[0].to(self.run.device)

    @cached_property
    def _text_tower(self) -> FrozenCLIP:
        """The run's CLIP again, which has freed its own text tower."""
        return FrozenCLIP.from_config(self.run.config.clip)

    @cached_property
    def _attributes(self) -> Tensor:
        return self.run.assembler.attributes()

    def _of_class(self, prototype: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        return prototype[None].float(), torch.tensor([k], device=prototype.device), self.run.labeller.class_text

    @staticmethod
    def _alpha(responses: Responses, kind: str, alpha: float | None) -> float:
        fused = responses.alpha if alpha is None else alpha
        return {DESCRIPTION: 1.0, FUSED: fused}.get(kind, 0.0)


def _places(height: int, width: int) -> Tensor:
    """(h * w, 4): left, top, right, bottom of each cell of a grid, in 0..1, row by row."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x / width, y / height, (x + 1) / width, (y + 1) / height], dim=-1).flatten(0, 1)


def _cell(x: float, y: float, height: int, width: int) -> tuple[float, float, float, float]:
    """The cell of a grid that holds a point, as in `_places`."""
    column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
    return column / width, row / height, (column + 1) / width, (row + 1) / height


def _at(maps: Tensor, place: tuple[float, float, float, float]) -> np.ndarray:
    """Maps (..., h, w) at the middle of a place, (...)."""
    left, top, right, bottom = place
    row, column = int((top + bottom) / 2 * maps.shape[-2]), int((left + right) / 2 * maps.shape[-1])
    return maps[..., row, column].float().cpu().numpy()
