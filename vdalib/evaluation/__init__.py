"""How good masks and seeds are (`segmentation`), and what attribute components mean (`attributes`)."""

from .segmentation import VOID, ConfusionMatrix, SeedCurve

__all__ = ["VOID", "ConfusionMatrix", "SeedCurve"]
