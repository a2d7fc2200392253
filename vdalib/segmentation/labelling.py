"""From a batch's CLIP features and queries to prototypes, CAMs and pseudo labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdalib.attributes import assembly
from vdalib.clip import DenseFeatures, FrozenCLIP
from vdalib.config import Config
from vdalib.segmentation import cam
from vdalib.segmentation.segmenter import patch_affinity


@dataclass
class ImagePrototypes:
    """What the decoder's current masks say of each image's classes.

    prototypes: (B, K, D), L2-normalised mean of CLIP's patch features over the patches predicted as k; zero where absent.
    present:    (B, K) bool, the class is in the label and predicted somewhere.
    reliable:   (B, K) bool, present and named right by zero shot (all of `present` without the filter).
    """

    prototypes: Tensor
    present: Tensor
    reliable: Tensor


class PseudoLabeller:
    """Turns image-level labels and queries into pseudo masks; holds the text prototypes."""

    def __init__(self, clip: FrozenCLIP, class_names: tuple[str, ...], config: Config):
        self.clip, self.config = clip, config
        self.class_text = clip.text_prototypes(config.clip.words(class_names))  # (K, D)
        self.background_text = clip.text_prototypes(config.clip.background_prompts)  # (N, D)

    def prototypes(self, features: DenseFeatures, logits: Tensor, labels: Tensor) -> ImagePrototypes:
        """Instance prototypes under the decoder's logits (B, K+1, h, w), and which of them are reliable [N]."""
        prototypes, present = assembly.instance_prototypes(features.patches, logits, labels)
        settings = self.config.assembly
        reliable = present
        if settings.reliable_filter:
            reliable = assembly.reliable(
                prototypes, present, self.class_text, self.background_text, self.clip.logit_scale, settings.reliable_threshold
            )
        return ImagePrototypes(prototypes, present, reliable)

    def activation(self, features: DenseFeatures, queries: Tensor, labels: Tensor) -> Tensor:
        """Seeds (B, K, h, w) in 0..1."""
        if self.config.refine.redundancy_removal:
            with_cls = self.config.refine.scale_with_cls
            return cam.redundancy_free_activation(features, queries, self.background_text, labels, with_cls)
        return cam.class_activation(features.patches, queries, labels)

    def refined(self, features: DenseFeatures, seeds: Tensor, labels: Tensor, embedding: Tensor | None) -> Tensor:
        """Seeds after the affinity random walk (as they are where it is switched off), (B, K, h, w)."""
        settings = self.config.refine
        if not settings.random_walk:
            return seeds
        own = patch_affinity(embedding) if embedding is not None and settings.adapter_affinity else None
        affinity = cam.affinity_matrix(features.attention, own)
        return cam.refine_cam(seeds, affinity, labels, settings.affinity_threshold)
