"""COCO 2014 in small: instances files with polygons, run lengths and crowds, and the masks that they mean."""

import json
from copy import deepcopy

import numpy as np
from PIL import Image

from vdalib.data.coco import COCO_CLASSES, COCO_IDS

HEIGHT, WIDTH = 20, 30
PERSON, BIRD, CAT, DOG = (COCO_IDS[COCO_CLASSES.index(name)] for name in ("person", "bird", "cat", "dog"))


def pixels(rows, columns):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def rectangle(rows, columns):
    """A polygon that covers the same pixels as `pixels`."""
    (top, bottom), (left, right) = rows, columns
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask):
    """COCO's plain run lengths: down the columns, beginning with zeros."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, len(flat)]).tolist()
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def compressed(mask):
    """COCO's compressed run lengths: from the third on differences to the last but one, 5 bits a character."""
    counts, text = run_lengths(mask)["counts"], ""
    for i, count in enumerate(counts):
        value, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return {"counts": text, "size": list(mask.shape)}


def annotation(number, image, category, segmentation, crowd=0):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}


DOG_AT, PERSON_AT, CROWD_AT = ((2, 16), (3, 20)), ((6, 10), (10, 26)), ((0, 12), (15, 30))
FLYING = pixels((1, 4), (1, 9)) | pixels((12, 15), (20, 24))
TRIANGLE = [4.5, 3.2, 25.7, 6.1, 11.3, 17.8]
ANNOTATIONS = {
    "train2014": [  # the small person comes before the large dog: the order of the file must not matter
        annotation(1, 7, PERSON, [rectangle(*PERSON_AT)]),
        annotation(2, 7, DOG, [rectangle(*DOG_AT)]),
        annotation(3, 7, PERSON, run_lengths(pixels(*CROWD_AT)), crowd=1),
        annotation(4, 9, BIRD, compressed(FLYING)),
        annotation(5, 5, CAT, [TRIANGLE, rectangle((0, 2), (0, 2)), [1, 1, 2, 2]]),
        annotation(6, 5, PERSON, run_lengths(pixels(*CROWD_AT)), crowd=1),
    ],
    "val2014": [annotation(7, 3, DOG, [rectangle(*DOG_AT)])],
}
IMAGES = {"train2014": (7, 9, 5, 11), "val2014": (4, 3)}  # 11 and 4 have no annotation


def name_of(split, number):
    return f"COCO_{split}_{number:012d}"


def instances_of(split):
    size = {"height": HEIGHT, "width": WIDTH}
    return {
        "images": [{"id": n, "file_name": f"{name_of(split, n)}.jpg", **size} for n in IMAGES[split]],
        "annotations": deepcopy(ANNOTATIONS[split]),
        "categories": [{"id": n, "name": name} for n, name in zip(COCO_IDS, COCO_CLASSES)],
    }


def write_coco(root):
    (root / "annotations").mkdir(parents=True)
    for split, numbers in IMAGES.items():
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(instances_of(split)))
        (root / split).mkdir()
        for number in numbers:
            picture = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / split / f"{name_of(split, number)}.jpg")
    return root
