"""MS COCO 2014: images and prepared image-level labels, 80 classes; masks for evaluation."""

from __future__ import annotations

from pathlib import Path

from vdalib.data.labels import LabelledImages, data_options, read_labels

# In the order of the label maps. COCO's own ids leave ten numbers of 1..90 out.
COCO_CLASSES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip
_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED_IDS)  # of COCO_CLASSES, in order


class COCOSegmentation(LabelledImages):
    """A split of COCO 2014, "train2014" or "val2014", prepared by `python -m vdalib prepare coco14`.

    root:   the folder that holds train2014/*.jpg and val2014/*.jpg.
    labels: the folder of labels_{split}.json and masks/{split}/*.png; None = root. Which images there are and
            what they show comes from that label file only.

    Raises FileNotFoundError for what is missing, ValueError for what is wrong.
    """

    class_names = COCO_CLASSES

    def __init__(self, root: str | Path, split: str, labels: str | Path | None = None) -> None:
        self.root, self.split, self.prepared = Path(root), split, Path(labels or root)
        self.cure = f"make it with `python -m vdalib prepare coco14 {data_options(root, labels)}`"
        super().__init__(*read_labels(self.prepared, split, COCO_CLASSES, self.cure))

    def image_path(self, name: str) -> Path:
        return self.root / self.split / f"{name}.jpg"

    def mask_path(self, name: str) -> Path:
        path = mask_file(self.prepared, self.split, name)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such mask; {self.cure}")
        return path


def mask_file(folder: str | Path, split: str, name: str) -> Path:
    """Where the prepared mask of an image is."""
    return Path(folder) / "masks" / split / f"{name}.png"
