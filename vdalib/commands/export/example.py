"""python segment.py model.onnx PICTURE MASK.png: labels of a picture by numpy, pillow and onnxruntime alone."""

import json
import sys


def segment(model, picture):
    """Label map uint8 (H, W): 0 background, then the model's classes; one scale, without DenseCRF."""
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps

    session = onnxruntime.InferenceSession(model)
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    factor = facts["size"] / (image.width * image.height) ** 0.5 if facts["size"] else 1
    patch = facts["patch_size"]
    whole = image.resize([max(round(side * factor / patch), 1) * patch for side in image.size], Image.Resampling.BILINEAR)
    logits = session.run(None, {"images": np.float32(whole).transpose(2, 0, 1)[None] / 255})[0][0]
    large = [Image.fromarray(plane).resize(image.size, Image.Resampling.BILINEAR) for plane in logits]
    return np.argmax(large, axis=0).astype(np.uint8)


if __name__ == "__main__":
    from PIL import Image

    Image.fromarray(segment(*sys.argv[1:3])).save(sys.argv[3])
