"""Seed mIoU of text prompts under the options of the dense encoder, without any training: a table of RESULTS.md.

    python benchmarks/text_seeds.py [--images 250]

CAMs of held-out images (PartWorld, split val, seed 0), each option at its best threshold; kept in `benchmarks/text_seeds.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vdalib import __version__
from vdalib.clip import FrozenCLIP
from vdalib.clip.enrichment import AttributeBank
from vdalib.config import Config
from vdalib.data.partworld import PartWorld
from vdalib.evaluation import SeedCurve
from vdalib.evaluation.run import whole_images
from vdalib.io import write_json
from vdalib.segmentation.cam import min_max
from vdalib.segmentation.labelling import PseudoLabeller

RESULTS = Path(__file__).with_suffix(".json")
ATTRIBUTES = 42  # ExCEL's share of the sentences, which are PartWorld's statements of classes, colours and parts
ENRICHED = {"clip.sentences": "builtin", "clip.attributes": ATTRIBUTES}
WALK, REMOVAL = {"refine.random_walk": True}, {"refine.redundancy_removal": True}
OPTIONS: dict[str, dict] = {
    "no calibration": {"clip.calibration": "none"},
    "value-only attention": {"clip.calibration": "value"},
    "static calibration": {},
    "static, one attention for all heads": {"clip.share_heads": True},
    "static, positions resized bilinearly": {"clip.position_resize": "bilinear"},
    "static, redundancy removal": REMOVAL,
    "static, random walk": WALK,
    "static, redundancy removal, random walk": {**WALK, **REMOVAL},
    "static, redundancy removal, scaled with the class token, random walk": {**WALK, **REMOVAL, "refine.scale_with_cls": True},
    f"static, text enriched by {ATTRIBUTES} attributes": ENRICHED,
    **{f"static, text enriched by {count} attributes": {**ENRICHED, "clip.attributes": count} for count in (20, 60, 100)},
    f"static, text enriched by {ATTRIBUTES} attributes, temperature 1/12": {**ENRICHED, "clip.enrichment_temperature": 1 / 12},
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
    world, rows = PartWorld("val", size=parser.parse_args().images), {}
    for name, overrides in OPTIONS.items():
        threshold, miou = seed_curve(Config.from_preset("partworld", {"refine.random_walk": False, **overrides}), world).best()
        rows[name] = {"miou": round(100 * miou, 2), "threshold": round(threshold, 2)}
        print(f"{name}: {rows[name]['miou']:.1f} % at {threshold:.2f}", flush=True)
    write_json(RESULTS, {"version": __version__, "val": len(world), "rows": rows})


if __name__ == "__main__":
    main()
