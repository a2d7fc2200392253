"""PartWorld, the embedded world: exact masks and exact part masks, made on the fly by numpy.

>>> world = PartWorld("train", seed=0)
>>> sample = world[0]
>>> sample.image.shape, sample.labels.shape, sample.name
(torch.Size([3, 104, 160]), torch.Size([10]), 'train_0_000000')
"""

from .factors import Factors, Layout, ObjectFactors, Role
from .objects import CLASSES, KIND_NAMES, KINDS, KINDS_OF, PARTS
from .palette import COLOURS
from .scenes import CO_OCCURRENCE, SCENES
from .templates import TEMPLATES
from .world import GRANULARITIES, SPLITS, PartWorld, Rendered

__all__ = [
    "CLASSES",
    "COLOURS",
    "CO_OCCURRENCE",
    "GRANULARITIES",
    "KINDS",
    "KINDS_OF",
    "KIND_NAMES",
    "PARTS",
    "SCENES",
    "SPLITS",
    "TEMPLATES",
    "Factors",
    "Layout",
    "ObjectFactors",
    "PartWorld",
    "Rendered",
    "Role",
]
