"""PartWorld as files: one's own folder of tagged pictures, for tests."""

import numpy as np
from PIL import Image

from vdalib.data.partworld import PartWorld

SMOKE = {  # preset folder with the small CLIP, three steps
    "clip.model": "partworld",
    "clip.pretrained": "partworld",
    "clip.background_prompts": ["sky", "water"],
    "data.crop": 48,
    "data.workers": 0,
    "inference.size": None,
    "inference.scales": [1.0],
    "segmenter.width": 64,
    "segmenter.depth": 1,
    "flow.steps": 2,
    "mixture.attributes": 6,
    "mixture.batch_size": 2,
    "assembly.reliable_filter": False,
    "refine.par_iterations": 1,
    "schedule.segmenter_steps": 2,
    "schedule.inter_steps": 2,
    "schedule.total_steps": 6,
}


def export(root, count=8, layout="tags", classes=None):
    """PartWorld's first images that show some of the classes (None = any), as PNG; returns {name: its class names}.

    layout: "tags" for images/ and tags.csv, "sub-folders" for one folder per class, each image under its first class.
    """
    world, tags = PartWorld("train"), {}
    for i in range(len(world)):
        sample = world[i]
        shown = [name for name, there in zip(world.class_names, sample.labels) if there]
        names = [name for name in shown if classes is None or name in classes]
        if len(tags) == count:
            break
        if names:
            place = f"images/{i:03}.png" if layout == "tags" else f"{names[0]}/{i:03}.png"
            tags[place.removeprefix("images/")] = names if layout == "tags" else names[:1]
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.moveaxis(sample.image.numpy(), 0, -1)).save(root / place)
    if layout == "tags":
        write_tags(root, tags)
    return tags


def write_tags(root, tags):
    rows = [f"{name},{';'.join(names)}" for name, names in tags.items()]
    (root / "tags.csv").write_text("\n".join(["file,tags", *rows]) + "\n", encoding="utf-8")
