"""python segment.py model.onnx PICTURE MASK.png: labels of a picture by numpy, pillow and onnxruntime alone."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def resized(planes, size):
    return np.stack([Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in planes])


def segment(model, picture):
    """Label map uint8 (H, W): 0 background, then the model's classes; one scale, without DenseCRF."""
    session = onnxruntime.InferenceSession(model)
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    size, patch = facts["size"], facts["patch_size"]
    sides = (size, size) if facts["square"] else image.size
    factor = size / (sides[0] * sides[1]) ** 0.5 if size else 1
    whole = [max(round(side * factor / patch), 1) * patch for side in sides]
    images = resized(np.float32(image).transpose(2, 0, 1) / 255, whole)[None]
    return resized(session.run(None, {"images": images})[0][0], image.size).argmax(0).astype(np.uint8)


if __name__ == "__main__":
    Image.fromarray(segment(*sys.argv[1:3])).save(sys.argv[3])
