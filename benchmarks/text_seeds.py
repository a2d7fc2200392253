"""Seed mIoU of text prompts under the options of the dense encoder, without any training: a table of RESULTS.md.

    python benchmarks/text_seeds.py [--images 250]

CAMs of held-out images (PartWorld, split val, seed 0), each option at its best threshold.
"""

from __future__ import annotations

import argparse

import torch

from vdalib.clip import FrozenCLIP
from vdalib.clip.enrichment import AttributeBank
from vdalib.config import Config
from vdalib.data.partworld import PartWorld
from vdalib.evaluation import SeedCurve
from vdalib.evaluation.run import whole_images
from vdalib.explore.plots import markdown_table
from vdalib.segmentation.cam import min_max
from vdalib.segmentation.labelling import PseudoLabeller

ATTRIBUTES = 42  # ExCEL's share of the sentences, which are PartWorld's statements of classes, colours and parts
OPTIONS: dict[str, dict] = {
    "no calibration": {"clip.calibration": "none"},
    "value-only attention": {"clip.calibration": "value"},
    "static calibration": {},
    "static, one attention for all heads": {"clip.share_heads": True},
    "static, redundancy removal": {"refine.redundancy_removal": True},
    "static, random walk": {"refine.random_walk": True},
    f"static, text enriched by {ATTRIBUTES} attributes": {"clip.sentences": "builtin", "clip.attributes": ATTRIBUTES},
}


@torch.no_grad()
def seed_curve(config: Config, world: PartWorld) -> SeedCurve:
    clip = FrozenCLIP.from_config(config.clip)
    labeller, curve = PseudoLabeller(clip, world.class_names, config), SeedCurve()
    text = labeller.class_text
    if bank := AttributeBank.from_config(config, world.class_names, clip):
        text = bank.enriched(text, config.clip)
    for batch in whole_images(world, masks=True, batch_size=50):
        features = clip.encode_image(batch.images, attention=config.refine.random_walk)
        seeds = labeller.activation(features, text.expand(len(batch.images), -1, -1), batch.labels)
        curve.update(min_max(labeller.refined(features, seeds, batch.labels, None)), batch.labels, batch.masks)
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=250)
    world = PartWorld("val", size=parser.parse_args().images)
    rows = []
    for name, overrides in OPTIONS.items():
        threshold, miou = seed_curve(Config.from_preset("partworld", overrides), world).best()
        rows.append([name, 100 * miou, f"{threshold:.2f}"])
    print(markdown_table(["text prompts", "seed mIoU, %", "at the threshold"], rows))


if __name__ == "__main__":
    main()
