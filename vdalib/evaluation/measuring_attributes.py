"""What a run's attribute components separate: colours, scenes, poses or parts, beside baselines of as many components."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vdalib.attributes.assembly import predicted_masks
from vdalib.data.partworld import CLASSES, PARTS, PartWorld
from vdalib.evaluation.attributes import Agreement, Pointing, agreement, correlation_inside, pointing_game, weighted_mean
from vdalib.evaluation.run import Run, whole_images

INSTANCE_FACTORS = ("kind", "main colour", "second colour", "scene", "size", "pose", "parts present")
MIXTURE, LATENT, KMEANS, GMM, RANDOM = "INN mixture", "k-means on latents", "k-means on CLIP", "GMM without INN", "random"
METHODS = (MIXTURE, LATENT, KMEANS, GMM, RANDOM)
TOLD = "told the parts"
COVERED = 0.25  # share of a patch's pixels that must show one class for the patch to belong to it [R]
_CLASS_OF_PART = np.array([CLASSES.index(name) for name, _ in PARTS])


@dataclass
class Seen:
    """What a run sees in PartWorld images, and what is there.

    patches:    (I, D, N) unit CLIP features, row by row; zero beyond an image's own h * w, N is that of the largest.
    grids:      (h, w) of each image.
    predicted:  (I, K, N) bool, masks of the classes whose prototype is reliable.
    prototypes: (n, D) of the reliable instances; classes, images: (n,) theirs.
    parts:      int (I, N), the part that a patch shows, index in PARTS + 1; 0 for background. From true part masks.
    factors:    name in INSTANCE_FACTORS -> int (n,), numbers within the class; -1 where an image has the class twice.
    """

    patches: Tensor
    grids: list[tuple[int, int]]
    predicted: Tensor
    prototypes: Tensor
    classes: Tensor
    images: Tensor
    parts: np.ndarray
    factors: dict[str, np.ndarray]

    def predicted_patches(self) -> Items:
        """The patches inside the reliable predicted masks."""
        image, classes, place = self.predicted.nonzero(as_tuple=True)
        return Items(self.patches[image, :, place], classes)

    def true_patches(self) -> tuple[Items, np.ndarray, np.ndarray]:
        """The patches of objects by their true masks, the part of each, and the number of its (image, class)."""
        image, place = np.nonzero(self.parts)
        parts = self.parts[image, place]
        classes = _CLASS_OF_PART[parts - 1]
        objects = image * len(CLASSES) + classes
        return Items(self.patches[image, :, place], torch.from_numpy(classes)), parts, objects


@dataclass
class Items:
    """Vectors (n, D) of classes (n,): instance prototypes or patches."""

    features: Tensor
    classes: Tensor


@dataclass
class Components:
    """Components within each class.

    assign:  vectors (n, D) of one class k -> component (n,), 0..M-1.
    centres: k -> (M, D), what each looks for.
    """

    assign: Callable[[Tensor, int], np.ndarray]
    centres: Mapping[int, Tensor]


def observe(run: Run, dataset: PartWorld, progress=lambda batches: batches) -> Seen:
    """One CLIP pass over all images of a PartWorld; `progress` may wrap the loop over batches, as tqdm does.

    Raises ValueError for a world whose labels are kinds: parts are those of classes.
    """
    if dataset.class_names != CLASSES:
        raise ValueError("data.granularity: parts belong to classes; measure attributes with class")
    instances, rows = [], {}
    for batch in progress(whole_images(dataset)):
        evidence = run.evidence(batch.images, batch.labels)
        found, patches = evidence.found, evidence.features.patches.float()
        predicted = predicted_masks(evidence.logits, evidence.labels) & found.reliable[:, :, None, None]
        image, classes = found.reliable.nonzero(as_tuple=True)
        indices = torch.tensor(batch.indices)[image.cpu()]
        instances.append((found.prototypes[image, classes].float().cpu(), classes.cpu(), indices))
        for place, index in enumerate(batch.indices):
            parts = torch.from_numpy(patch_parts(dataset.part_mask(index), patches.shape[-2:]))
            flat = patches[place].flatten(1).T.cpu(), predicted[place].flatten(1).T.cpu(), parts  # (N, D), (N, K), (N,)
            rows[index] = *flat, evidence.features.grid, dataset.factors(index)
    prototypes, classes, images = (torch.cat(column) for column in zip(*instances))
    *flat, grids, factors = zip(*(rows[index] for index in range(len(dataset))))
    patches, predicted, parts = (pad_sequence(column, batch_first=True) for column in flat)
    named = _instance_factors([factors[i] for i in images], classes.numpy())
    return Seen(patches.mT, [*grids], predicted.mT, prototypes, classes, images, parts.numpy(), named)


def patch_parts(part_mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The part (N,) that most pixels of a patch show, among those of its commonest class if they are COVERED of it; else 0."""
    h, w = grid
    pixels = part_mask.reshape(h, part_mask.shape[0] // h, w, -1).swapaxes(1, 2).reshape(h * w, -1)
    counts = (pixels[:, :, None] == np.arange(1, len(PARTS) + 1)).sum(1)  # (N, parts)
    of_class = counts @ (_CLASS_OF_PART[:, None] == np.arange(len(CLASSES)))  # (N, K)
    own = _CLASS_OF_PART == of_class.argmax(1)[:, None]
    return np.where(of_class.max(1) >= COVERED * pixels.shape[1], (counts * own).argmax(1) + 1, 0)


def mixture_components(run: Run) -> Components:
    """The strongest response among the attributes of the run's own mixture, through its INN."""
    assembler = run.assembler

    def assign(features, k):
        latent = assembler.latent(features.to(run.device))
        return assembler.responses(latent, torch.full((len(latent),), k, device=run.device)).argmax(1).cpu().numpy()

    return Components(assign, dict(enumerate(assembler.attributes().cpu())))


def fitted_components(name: str, items: Items, count: int, seed: int = 0, run: Run | None = None) -> Components:
    """A baseline: `count` components fitted to the items of each class that has as many.

    KMEANS and LATENT (in the latent space of the run's INN; its centres are brought back by the inverse), GMM
    (spherical, widths free), or RANDOM, where a centre is the mean of the items given to the component.
    """
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    models, centres = {}, {}
    for k, own in _by_class(items).items():
        if len(own) < count:
            continue
        if name == LATENT:
            own = run.assembler.latent(own.to(run.device)).cpu()
        if name == GMM:
            models[k] = GaussianMixture(count, covariance_type="spherical", random_state=seed).fit(own.numpy())
            centres[k] = torch.from_numpy(models[k].means_).float()
        elif name == RANDOM:
            centres[k] = torch.stack([own[i::count].mean(0) for i in range(count)])
        else:
            models[k] = KMeans(count, n_init=4, random_state=seed).fit(own.numpy())
            centres[k] = torch.from_numpy(models[k].cluster_centers_).float()
    if name == RANDOM:
        dice = np.random.default_rng(seed)
        return Components(lambda features, k: dice.integers(count, size=len(features)), centres)
    if name == LATENT:
        latent, inverse = run.assembler.latent, run.mixture.flow.inverse
        back = {k: inverse(own.to(run.device)).cpu() for k, own in centres.items()}
        return Components(lambda features, k: models[k].predict(latent(features.to(run.device)).cpu().numpy()), back)
    return Components(lambda features, k: models[k].predict(features.numpy()), centres)


def told_components(seen: Seen) -> Components:
    """The mean of the patches of every true part, nearest mean: not a rival but a bar, since it is told part masks."""
    items, parts, _ = seen.true_patches()
    means = {
        k: torch.stack([items.features[torch.from_numpy(parts == part)].mean(0) for part in np.unique(parts[items.classes == k])])
        for k in _by_class(items)
    }
    return Components(lambda features, k: torch.cdist(features, means[k]).argmin(1).numpy(), means)


def component_map(seen: Seen, image: int, k: int, components: Components) -> np.ndarray:
    """int (h, w): the component of every patch that shows class k by its true mask; -1 elsewhere."""
    inside = np.isin(seen.parts[image], parts_of(k))
    result = np.full(len(inside), -1)
    result[inside] = components.assign(seen.patches[image][:, inside].T, k)
    h, w = seen.grids[image]
    return result[: h * w].reshape(h, w)


def _by_class(items: Items) -> dict[int, Tensor]:
    return {k: items.features[items.classes == k] for k in items.classes.unique().tolist()}


def part_table(seen: Seen, k: int, components: Components, count: int) -> np.ndarray:
    """How many true patches of class k each of `count` components takes of each part: (count, parts of the class)."""
    items, parts, _ = seen.true_patches()
    own = items.classes.numpy() == k
    table = np.zeros((count, len(PARTS) + 1), int)
    np.add.at(table, (components.assign(items.features[own], k), parts[own]), 1)
    return table[:, parts_of(k)]


def parts_of(k: int) -> np.ndarray:
    """The numbers that the parts of class k have in part masks."""
    return np.flatnonzero(_CLASS_OF_PART == k) + 1


def attribute_report(run: Run, train: Seen, val: Seen, permutations: int = 200, seed: int = 0) -> dict:
    """Every measure of the run's mixture and of the baselines at equal M, of reliable instances and of true patches.

    Baselines are fitted on `train`: to the prototypes the INN is given, and to the patches in reliable predicted
    masks. All is measured on `val`. Left out are classes with fewer than M of either in train and
    those that the mixture never met.

    -> {"instances": {method: {factor: numbers}}} and what `component_report` adds, where numbers hold the class-weighted
    mean of each measure and, under "classes", those of every class. Raises ValueError where no class is left.
    """
    count, num_classes = run.config.mixture.attributes, len(run.class_names)
    fitted = {"instances": Items(train.prototypes, train.classes), "patches": train.predicted_patches()}
    least = [(items.classes, count) for items in fitted.values()] + [(val.classes, 1), (val.true_patches()[0].classes, 1)]
    classes = np.flatnonzero(np.all([np.bincount(own, minlength=num_classes) >= n for own, n in least], axis=0)).tolist()
    classes = [k for k in classes if run.describes(k)]
    if not classes:
        raise ValueError(
            f"train, val: no class that the mixture met has {count} reliable prototypes for {count} components; show more"
        )

    def components(unit: str) -> dict[str, Components]:
        rivals = {name: fitted_components(name, fitted[unit], count, seed, run) for name in METHODS if name != MIXTURE}
        return {MIXTURE: mixture_components(run)} | rivals

    instances = Items(val.prototypes, val.classes)
    report = {
        name: {
            factor: _agreements(instances, own, labels, None, classes, permutations, seed)
            for factor, labels in val.factors.items()
        }
        for name, own in components("instances").items()
    }
    of_patches = components("patches") | {TOLD: told_components(train)}
    return {"instances": report} | component_report(of_patches, val, classes, permutations, seed)


def component_report(
    rows: Mapping[str, Components], val: Seen, classes: Sequence[int], permutations: int = 200, seed: int = 0
) -> dict:
    """What components of some classes see of the true patches of `val`.

    -> {"patches": {row: numbers}, "pointing": {row: numbers}, "inside": {row: numbers}}: agreement with parts, the pointing
    game, and the mean correlation of two components' CAMs inside an object.
    """
    items, parts, objects = val.true_patches()
    report = {"patches": {}, "pointing": {}, "inside": {}}
    for name, own in rows.items():
        report["patches"][name] = _agreements(items, own, parts, objects, classes, permutations, seed)
        games = {k: pointing_game(cam_peaks(val, own.centres[k], k), permutations, seed) for k in classes}
        report["pointing"][name] = _summary(games)
        report["inside"][name] = _correlations(items, own, objects, classes)
    return report


def _agreements(items: Items, components: Components, labels, groups, classes, permutations: int, seed: int) -> dict:
    agreements = {}
    for k in classes:
        own = (items.classes.numpy() == k) & (labels >= 0)
        if own.any():
            chosen = components.assign(items.features[own], k)
            agreements[k] = agreement(chosen, labels[own], None if groups is None else groups[own], permutations, seed)
    return _summary(agreements)


def _correlations(items: Items, components: Components, objects: np.ndarray, classes) -> dict:
    found = {}
    for k in classes:
        own = items.classes.numpy() == k
        cams = items.features[own] @ F.normalize(components.centres[k], dim=1).T
        found[k] = correlation_inside(cams.numpy(), objects[own])
    values = np.concatenate([*found.values()])

    def numbers(of_objects: np.ndarray) -> dict:
        return {"correlation": round(float(of_objects.mean()), 4) if len(of_objects) else None, "n": len(of_objects)}

    return numbers(values) | {"classes": {CLASSES[k]: numbers(own) for k, own in found.items()}}


def cam_peaks(seen: Seen, centres: Tensor, k: int) -> np.ndarray:
    """(n, M): the part where the CAM of each centre (M, D) peaks in each image that shows class k; 0 outside the class.

    The CAM is minmax(cos(V, centre)) [A] sec. 4, whose peak is that of the cosine.
    """
    parts = np.where(np.isin(seen.parts, parts_of(k)), seen.parts, 0)  # (I, N)
    images = np.flatnonzero(parts.any(1))
    patches = seen.patches[images]
    cosine = torch.einsum("idn,md->imn", patches, F.normalize(centres, dim=-1))
    cosine = cosine.masked_fill(~patches.any(1, keepdim=True), -2.0)  # beyond the image
    return parts[images[:, None], cosine.argmax(-1).numpy()]


def _summary(measured: Mapping[int, Agreement | Pointing]) -> dict:
    """Rounded numbers of the weighted mean over classes, and of each class."""

    def numbers(one: Agreement | Pointing) -> dict:
        return {name: round(float(value), 4) for name, value in one.numbers().items()} | {"n": one.n}

    classes = {CLASSES[k]: numbers(one) for k, one in measured.items()}
    return numbers(weighted_mean([*measured.values()])) | {"classes": classes}


def _instance_factors(factors, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Integer labels of each instance, -1 where its image shows the class more than once."""
    objects = [[o for o in f.objects if o.class_name == CLASSES[k]] for f, k in zip(factors, classes)]
    known = np.array([len(own) == 1 for own in objects])
    raw = {
        "kind": [own[0].kind for own in objects],
        "main colour": [own[0].main_colour for own in objects],
        "second colour": [own[0].second_colour for own in objects],
        "scene": [f.scene for f in factors],
        "pose": [own[0].pose for own in objects],
        "parts present": [" ".join(sorted(own[0].parts)) for own in objects],
    }
    numbers = {name: np.unique(values, return_inverse=True)[1] for name, values in raw.items()}
    size, numbers["size"] = np.array([own[0].size for own in objects]), np.zeros(len(classes), int)
    for k in np.unique(classes):
        own = classes == k
        numbers["size"][own] = np.searchsorted(np.quantile(size[own], (1 / 3, 2 / 3)), size[own])
    return {name: np.where(known, numbers[name], -1) for name in INSTANCE_FACTORS}
