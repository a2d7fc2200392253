"""Class names as CLIP's prompts take them."""

import re

# What VOC and COCO call in two words; people's tags join them, and CLIP does not know what a diningtable is.
_TWO_WORDS = (
    "baseball bat", "baseball glove", "cell phone", "dining table", "fire hydrant", "hair drier", "hot dog", "parking meter",
    "potted plant", "sports ball", "stop sign", "teddy bear", "tennis racket", "traffic light", "tv monitor", "wine glass",
)  # fmt: skip


def in_words(name: str) -> str:
    """A class name in separate words.

    >>> in_words("diningtable"), in_words("sea_lion")
    ('dining table', 'sea lion')
    """
    joined = re.sub("[ _-]", "", name.lower())
    return next((words for words in _TWO_WORDS if words.replace(" ", "") == joined), name.replace("_", " "))
