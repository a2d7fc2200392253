"""How much a visual query can gain in PartWorld, and how much attributes can add: measured before any method is trained.

    python benchmarks/headroom.py

Seeds of `--val` held-out images at their best threshold, by queries that know the true masks of `--train` training images (or of
the image itself): masks are read to judge the world, never a method. Kept in `benchmarks/headroom.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

from vdalib import __version__
from vdalib.attributes.assembly import masked_prototypes
from vdalib.clip import DenseFeatures, FrozenCLIP
from vdalib.clip.loading import SMALL_CLIP, load_small_clip
from vdalib.config.settings import ClipConfig
from vdalib.data.partworld import CLASSES, KIND_NAMES, PARTS, TEMPLATES, PartWorld
from vdalib.evaluation import SeedCurve
from vdalib.evaluation.attributes import agreement, weighted_mean
from vdalib.evaluation.measuring_attributes import KMEANS, Items, fitted_components, patch_parts
from vdalib.explore.tables import markdown_table
from vdalib.io import write_json
from vdalib.segmentation.cam import class_activation, redundancy_free_activation

RESULTS = Path(__file__).with_suffix(".json")
QUERIES = ("text", "class_mean", "kmeans", "own")
VARIANTS = {"static": "static", "redundancy removed": "static", "value": "value"}  # name -> calibration


@dataclass
class Picture:
    """One image as CLIP sees it, and its truth; prototypes (K, D) under its true masks, zero for absent classes."""

    features: DenseFeatures
    labels: Tensor
    mask: Tensor
    prototypes: Tensor
    parts: np.ndarray


def pictures(clip: FrozenCLIP, world: PartWorld) -> Iterator[Picture]:
    classes = torch.arange(1, len(world.class_names) + 1)[:, None, None]
    for i in range(len(world)):
        sample, mask = world[i], torch.as_tensor(world.mask(i)).long()
        features = clip.encode_image(torch.as_tensor(sample.image)[None] / 255, attention=False)
        cover = F.adaptive_avg_pool2d((mask == classes).float(), features.grid)
        prototypes, _ = masked_prototypes(features.patches, cover[None])
        parts = patch_parts(world.part_mask(i), features.grid)
        yield Picture(features, sample.labels[None], mask[None], prototypes[0], parts)


def centres(train: list[Picture], count: int) -> list[Tensor]:
    """For each class the unit centres (M, D) of its instances' prototypes; the mean for M = 1."""
    found = []
    for k in range(train[0].labels.shape[1]):
        own = torch.stack([picture.prototypes[k] for picture in train if picture.labels[0, k]])
        fitted = KMeans(min(count, len(own)), n_init=4, random_state=0).fit(own.numpy())
        found.append(F.normalize(torch.from_numpy(fitted.cluster_centers_).float(), dim=1))
    return found


def queries(train: list[Picture], val: list[Picture], text: Tensor, count: int) -> dict[str, list[Tensor]]:
    """Name -> queries (1, K, D) of every held-out picture."""
    mean, several = torch.cat(centres(train, 1)), centres(train, count)

    def nearest(picture: Picture) -> Tensor:
        return torch.stack([own[(own @ picture.prototypes[k]).argmax()] for k, own in enumerate(several)])

    return {
        "text": [text[None]] * len(val),
        "class_mean": [mean[None]] * len(val),
        "kmeans": [nearest(picture)[None] for picture in val],
        "own": [picture.prototypes[None] for picture in val],
    }


def seed_miou(val: list[Picture], asked: list[Tensor], background: Tensor | None) -> tuple[float, float]:
    """Best threshold and its mIoU in 0..1; redundancy is removed where `background` is given."""
    curve = SeedCurve()
    for picture, query in zip(val, asked):
        if background is None:
            cam = class_activation(picture.features.patches, query, picture.labels)
        else:
            cam = redundancy_free_activation(picture.features, query, background, picture.labels)
        curve.update(cam, picture.labels, picture.mask)
    return curve.best()


def zero_shot(clip: FrozenCLIP, val: list[Picture], text: Tensor, cut: float) -> dict[str, float]:
    """Shares of prototypes under text CAMs above `cut` that their class's prompt wins, and that it wins with more than 0.5."""
    won, sure = [], []
    for picture in val:
        cam = class_activation(picture.features.patches, text[None], picture.labels)
        best, winner = cam.max(1, keepdim=True)
        masks = (winner == torch.arange(len(text))[:, None, None]) & (best > cut)
        prototypes, present = masked_prototypes(picture.features.patches, masks)
        chosen = (present & picture.labels)[0]
        chance = (clip.logit_scale * prototypes[0] @ text.T).softmax(1)[chosen]
        own = chosen.nonzero()[:, 0]
        won.append(chance.argmax(1) == own)
        sure.append(chance.gather(1, own[:, None])[:, 0] > 0.5)
    return {"zero_shot": torch.cat(won).float().mean().item(), "zero_shot_sure": torch.cat(sure).float().mean().item()}


def kinds_named(clip: FrozenCLIP, world: PartWorld) -> float:
    """Share of single-object images whose best kind prompt names the kind."""
    text = clip.text_prototypes(KIND_NAMES, TEMPLATES)
    right = []
    for i in range(len(world)):
        things = world.factors(i).objects
        if len(things) == 1:
            features = clip.encode_image(torch.as_tensor(world[i].image)[None] / 255, attention=False)
            right.append(KIND_NAMES[int((features.cls @ text.T).argmax())] == things[0].kind)
    return float(np.mean(right))


def part_nmi(train: list[Picture], val: list[Picture], class_of_part: np.ndarray, count: int) -> float:
    """NMI of parts and k-means components of patches within each class, weighted by patches."""

    def patches(seen: list[Picture]) -> tuple[Items, np.ndarray]:
        parts = np.concatenate([picture.parts for picture in seen])
        features = torch.cat([picture.features.patches[0].flatten(1).T for picture in seen])
        shown = parts > 0
        return Items(features[shown], torch.from_numpy(class_of_part[parts[shown] - 1])), parts[shown]

    fitted = fitted_components(KMEANS, patches(train)[0], count)
    tested, parts = patches(val)
    measured = []
    for k in fitted.centres:
        own = tested.classes.numpy() == k
        measured.append(agreement(fitted.assign(tested.features[own], k), parts[own], permutations=1))
    return float(weighted_mean(measured).nmi)


@torch.no_grad()
def measure(folder: Path = SMALL_CLIP, train_size: int = 600, val_size: int = 250, count: int = 8) -> dict:
    """All of it, shares in percent but for the NMI."""
    worlds = PartWorld("train", size=train_size), PartWorld("val", size=val_size)
    seen, found = {}, {}
    for name, calibration in VARIANTS.items():
        clip = FrozenCLIP(load_small_clip(folder), calibration=calibration)
        if calibration not in seen:
            seen[calibration] = [list(pictures(clip, world)) for world in worlds]
        train, val = seen[calibration]
        text = clip.text_prototypes(PartWorld.class_names)
        background = clip.text_prototypes(ClipConfig().background_prompts) if name == "redundancy removed" else None
        asked = queries(train, val, text, count)
        curves = {query: seed_miou(val, asked[query], background) for query in QUERIES}
        found[name] = {query: round(100 * miou, 1) for query, (_, miou) in curves.items()}
        if name == "static":
            class_of_part = np.array([PartWorld.class_names.index(of) for of, _ in PARTS])
            judged = {
                **zero_shot(clip, val, text, curves["text"][0]),
                "kinds": kinds_named(clip, worlds[1]),
            }
            judged = {measure: round(100 * share, 1) for measure, share in judged.items()}
            judged["part_nmi_kmeans"] = round(part_nmi(train, val, class_of_part, count), 3)
    settings = {"version": __version__, "train": train_size, "val": val_size, "M": count}
    return settings | found["static"] | judged | {"variants": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=SMALL_CLIP, help="folder of the CLIP")
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--val", type=int, default=250)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    for split, size in (("train", given.train), ("val", given.val)):
        if len({thing.class_name for i in range(size) for thing in PartWorld(split).factors(i).objects}) < len(CLASSES):
            parser.error(f"--{split}: in {size} images some class is missing; take more")
    results = measure(given.clip, given.train, given.val)
    write_json(given.out, results)
    rows = [[name, *(f"{miou:.1f}" for miou in mious.values())] for name, mious in results["variants"].items()]
    print(markdown_table(["seed mIoU", "text", "class mean", f"nearest of {results['M']} k-means", "own"], rows))
    print({name: results[name] for name in ("zero_shot", "zero_shot_sure", "kinds", "part_nmi_kmeans")})
