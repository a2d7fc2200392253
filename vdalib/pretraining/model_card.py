"""What the small CLIP can do, measured, and its model card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vdalib.clip import DenseFeatures, FrozenCLIP
from vdalib.clip.dense import CALIBRATIONS
from vdalib.clip.loading import load_small_clip
from vdalib.data.partworld import TEMPLATES, PartWorld
from vdalib.evaluation import SeedCurve
from vdalib.explore import plots
from vdalib.io import atomic_path, write_json
from vdalib.pretraining.settings import WORDS
from vdalib.segmentation.cam import class_activation


def _pictures(clip: FrozenCLIP, world: PartWorld, chosen: Iterable[int]) -> Iterator[tuple[int, DenseFeatures, Tensor]]:
    """(index, features, labels (1, K)) of images, one by one since their sizes differ."""
    for i in chosen:
        sample = world[i]
        yield i, clip.encode_image(torch.as_tensor(sample.image)[None] / 255, attention=False), sample.labels[None]


def _single(world: PartWorld) -> list[int]:
    return [i for i in range(len(world)) if len(world.factors(i).objects) == 1]


def _seen(clip: FrozenCLIP, world: PartWorld, chosen: Iterable[int]) -> tuple[Tensor, Tensor]:
    """Class tokens (n, D) and labels (n, K) of images."""
    tokens, labels = zip(*((features.cls, labels) for _, features, labels in _pictures(clip, world, chosen)))
    return torch.cat(tokens), torch.cat(labels)


def _named(clip: FrozenCLIP, tokens: Tensor, labels: Tensor, names: Sequence[str]) -> tuple[float, float]:
    """Share of images whose best prompt is one of their labels, and mean probability which that prompt is given."""
    best = (clip.logit_scale * tokens @ clip.text_prototypes(names, TEMPLATES).T).softmax(1).max(1)
    return labels.gather(1, best.indices[:, None]).float().mean().item(), best.values.mean().item()


def zero_shot(clip: FrozenCLIP, world: PartWorld) -> tuple[float, float]:
    """Of images with one object: share whose best prompt names it, and mean probability that the best prompt is given."""
    return _named(clip, *_seen(clip, world, _single(world)), world.class_names)


def text_seed_miou(clip: FrozenCLIP, world: PartWorld) -> tuple[float, float]:
    """Best CAM threshold and its mIoU, of text-prompt CAMs. Masks are read for this measure only."""
    text = clip.text_prototypes(world.class_names)
    curve = SeedCurve()
    for i, features, labels in _pictures(clip, world, range(len(world))):
        curve.update(class_activation(features.patches, text[None], labels), labels, torch.as_tensor(world.mask(i))[None])
    return curve.best()


def measure(folder: Path, size: int = 250) -> dict[str, float]:
    """Held-out figures of the small CLIP in `folder` on the first `size` images of PartWorld's val split, shares in 0..1."""
    world = PartWorld("val", size=size)
    figures = {}
    for calibration in CALIBRATIONS[:3]:
        clip = FrozenCLIP(load_small_clip(folder), calibration=calibration)
        figures[f"seed_miou_{calibration}"] = text_seed_miou(clip, world)[1]
    tokens, labels = _seen(clip, world, range(size))
    single, kinds = _single(world), PartWorld("val", size=size, granularity="kind")
    accuracy, confidence = _named(clip, tokens[single], labels[single], world.class_names)
    figures |= {"single_object_accuracy": accuracy, "single_object_confidence": confidence}
    figures["any_object_accuracy"], _ = _named(clip, tokens, labels, world.class_names)
    of_kinds = torch.stack([kinds[i].labels for i in single])
    figures["single_object_kind_accuracy"], _ = _named(clip, tokens[single], of_kinds, kinds.class_names)
    figures["logit_scale"] = clip.logit_scale
    return figures


CARD = """# Model card: the small CLIP of PartWorld

An open_clip model ({parameters:.1f} M parameters, {megabytes:.1f} MB in half precision): vision transformer of {layers} blocks,
width {width}, patch 8, 96 px; text transformer of {text_layers} layers over the {vocabulary} tokens of its statements;
joint width {dim}. It knows PartWorld and nothing else.

## Training

`python -m vdalib pretrain-clip` makes it again. Nothing but statements about a whole image is read (classes, kinds, coloured
classes, visible parts of classes, scenes; {templates} templates); no mask, box or position. As on the web they are incomplete and
sometimes wrong: {omission:.0%} of what is true is not said, {wrong_kind:.0%} of the objects are said to be of another kind of
their class, {wrong_class:.0%} of another class.

1. A convolutional *teacher* and the text tower learn the statements, under a sigmoid contrastive loss. An image's score for a
   statement is the mean of its strongest places.
2. The vision transformer is the *student*. At every patch of its calibrated dense path it regresses the teacher's vector there,
   which was first carried along the image's colours (PAR). At its class token it learns which of the statements about the image
   are confirmed by the teacher.

That its calibrated patches are taught directly is the largest difference from OpenAI's CLIP, whose patches are a by-product.

## Built to have room

{said} of the {dim} dimensions hold what statements say. The other {unsaid_dims} hold what no statement speaks of: every text
is zero there, and a patch holds the main components of the teacher's earlier features (what its surroundings look like), of
mean length {unsaid:g} beside 1 for the said part. So patches are alike in more than words can ask for, and a part of the gap
between text and patches is built in, where OpenAI's CLIP has a gap that nobody planned. The world and this CLIP were made to
leave room for a visual query. Whether a method takes it is the question, and no number below answers it. Zero shot was to name 86
to 94 % of the objects in a trained segmenter's masks rightly, and kinds in 70 to 90 % of pictures with one object; RESULTS.md has
what was found ("The room that the world leaves").

Settings: {settings}.
Images: split `clip`, which shares no index with `train` and `val`.

![losses of teacher and student](loss_curve.png)

## Measured on {size} held-out images (split `val`, seed 0)

| | |
|---|---|
| best class prompt right, images with one object | {single_object_accuracy:.1%} |
| best kind prompt right, images with one object | {single_object_kind_accuracy:.1%} |
| mean probability of the best class prompt, same images (logit scale {logit_scale:.1f}) | {single_object_confidence:.2f} |
| best class prompt names an object, all images | {any_object_accuracy:.1%} |
| seed mIoU, patches as they are ("none") | {seed_miou_none:.1%} |
| seed mIoU, value-only attention in the last block ("value") | {seed_miou_value:.1%} |
| seed mIoU, calibrated ("static") | {seed_miou_static:.1%} |

Seed mIoU: CAM of "a clean origami {{}}." for the classes in the label, at its best threshold.
"""


def write_card(folder: Path, size: int = 250) -> dict[str, float]:
    """Measure the CLIP in `folder`; write card.json, loss_curve.png and MODEL_CARD.md beside its weights."""
    figures = measure(folder, size)
    model, settings = (json.loads((folder / f"{name}.json").read_text()) for name in ("clip", "pretraining"))
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    teacher = sum(row["phase"] == "teacher" for row in rows)
    steps = [{**row, "step": row["step"] + settings["teacher_steps"] * (i >= teacher)} for i, row in enumerate(rows)]
    stages = {"teacher": 0, "student": settings["teacher_steps"]}
    figure, _ = plots.loss_curves(steps, ("loss", "patches", "image"), stages, window=3)
    figure.savefig(folder / "loss_curve.png", dpi=80, bbox_inches="tight")
    clip = load_small_clip(folder).model
    told = {name: settings[name] for name in ("omission", "wrong_kind", "wrong_class", "unsaid")}
    card = CARD.format(
        **figures,
        **told,
        parameters=sum(p.numel() for p in clip.parameters()) / 1e6,
        megabytes=(folder / "clip.safetensors").stat().st_size / 1e6,
        layers=model["vision_cfg"]["layers"],
        width=model["vision_cfg"]["width"],
        text_layers=model["text_cfg"]["layers"],
        vocabulary=model["text_cfg"]["vocab_size"],
        dim=model["embed_dim"],
        said=WORDS,
        unsaid_dims=model["embed_dim"] - WORDS,
        templates=len(TEMPLATES),
        settings=", ".join(f"{name} {value}" for name, value in settings.items()),
        size=size,
    )
    with atomic_path(folder / "MODEL_CARD.md") as path:
        path.write_text(card)
    write_json(folder / "card.json", {"size": size} | {name: round(value, 4) for name, value in figures.items()})
    return figures
