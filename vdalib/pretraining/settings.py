"""What the small CLIP of PartWorld is, and how it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

PATCH, SIDE = 8, 96
WORDS, UNSAID = 128, 32  # dimensions of the embedding: those of statements, and those in which every text is zero
MODEL = {
    "embed_dim": WORDS + UNSAID,
    "init_logit_scale": math.log(12),
    "init_logit_bias": -4.0,
    "vision_cfg": {"image_size": 96, "patch_size": PATCH, "width": 192, "layers": 8, "head_width": 64},
    "text_cfg": {"context_length": 16, "width": 128, "heads": 4, "layers": 3},
}


@dataclass
class PretrainConfig:
    """How the small CLIP is trained; the defaults made the committed weights."""

    images: int = 40_000
    omission: float = 0.1  # share of true statements that nobody makes
    wrong_kind: float = 0.05  # share of objects said to be another kind of their class
    wrong_class: float = 0.03  # share of objects said to be of another class
    teacher_steps: int = 2_600
    crop_steps: int = 1_500  # first steps of the student, on random crops
    crop: int = 64  # their side in px
    student_steps: int = 500  # further steps of the student, on whole images
    batch_size: int = 64
    teacher_lr: float = 2e-3
    student_lr: float = 2e-3
    strongest: tuple[int, ...] = (4, 12, 36)  # places whose mean is a statement's score in the teacher; one of them at each step
    unsaid: float = 0.9  # mean length of the unsaid part of what the student learns at a patch; that of the said part is 1
    patches: float = 8.0  # weight of the patches' loss, that of the class token's is 1
    seed: int = 0
