"""CLIP, frozen: images to dense features, prompts to text prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vdalib.clip.dense import (
    DenseFeatures,
    Embed,
    dense_forward,
    require_options,
    require_supported,
    unit_vectors,
)
from vdalib.clip.loading import LoadedCLIP, load_clip
from vdalib.clip.text import render_prompts

__all__ = ["DenseFeatures", "FrozenCLIP"]


class FrozenCLIP(nn.Module):
    """An open_clip model that never trains: no parameter requires a gradient, it stays in evaluation mode.

    dim: joint width D. token_width: C. num_layers: L. patch_size: pixels.
    native_size: (H, W) of its training images.
    logit_scale: inverse temperature of its cosines, exponentiated.
    The options are those of `dense_forward`; impossible ones raise ValueError at once.

    Source: [P] CLIP Surgery, ExCEL.
    """

    def __init__(
        self,
        clip: LoadedCLIP,
        *,
        calibration: str = "static",
        calibrated_blocks: int = 5,
        share_heads: bool = False,
        affinity_blocks: int = 6,
        position_resize: str = "bicubic",
        templates: Sequence[str] = ("a clean origami {}.",),
    ):
        super().__init__()
        visual = clip.model.visual
        require_supported(visual)
        require_options(len(visual.transformer.resblocks), calibration, calibrated_blocks, affinity_blocks, position_resize)
        self.model = clip.model.requires_grad_(False)
        self.tokenizer = clip.tokenizer
        self.templates = tuple(templates)
        self.affinity_blocks, self.position_resize = affinity_blocks, position_resize
        self.calibration = {
            "calibration": calibration,
            "calibrated_blocks": calibrated_blocks,
            "share_heads": share_heads,
        }
        self.register_buffer("mean", torch.tensor(clip.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(clip.std)[:, None, None], persistent=False)
        self.token_width, self.dim = visual.proj.shape
        self.num_layers = len(visual.transformer.resblocks)
        self.patch_size = visual.patch_size[0]
        self.native_size = tuple(visual.image_size)
        self.logit_scale = clip.model.logit_scale.exp().item()
        self.eval()

    @classmethod
    def from_config(cls, config) -> FrozenCLIP:
        """From a `ClipConfig`; raises what `load_clip` raises."""
        options = ("calibration", "calibrated_blocks", "share_heads", "affinity_blocks", "position_resize", "templates")
        return cls(load_clip(config.model, config.pretrained), **{name: getattr(config, name) for name in options})

    def train(self, mode: bool = True) -> FrozenCLIP:
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def encode_image(self, images: Tensor, *, attention: bool = True, embed: Embed | None = None) -> DenseFeatures:
        """images (B, 3, H, W), RGB in 0..1, sides multiples of the patch size -> DenseFeatures, no gradients.

        attention: also return the last `affinity_blocks` blocks' attention.
        embed: (layers, grid) -> (B, E, h, w) adapter features, used if calibration is "learnable"; None: it stays static.
        Raises ValueError for a size or type that does not fit.
        """
        return self._forward(images, affinity_blocks=self.affinity_blocks if attention else 0, embed=embed, **self.calibration)

    @torch.no_grad()
    def encode_layers(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        """(layers, grid) of DenseFeatures, all that the segmenter needs; spares the cost of calibration."""
        features = self._forward(images, calibration="none")
        return features.layers, features.grid

    def _forward(self, images: Tensor, **options) -> DenseFeatures:
        if not images.is_floating_point():
            raise ValueError(f"images: expected floating-point values in 0..1, got {images.dtype}; divide by 255")
        normalised = (images - self.mean) / self.std
        return dense_forward(self.model.visual, normalised, position_resize=self.position_resize, **options)

    def drop_text(self) -> None:
        """Frees the text tower (ViT-B/16: 63 of 150 million weights), for when all prompts are embedded."""
        self.model, self.tokenizer = nn.ModuleDict({"visual": self.model.visual}).eval(), None

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """n texts -> (n, D), L2-normalised; RuntimeError after `drop_text`."""
        if self.tokenizer is None:
            cure = "make another by FrozenCLIP.from_config(config.clip)"
            raise RuntimeError(f"FrozenCLIP: found no text tower, it was freed once the prompts were embedded; {cure}")
        tokens = self.tokenizer(list(texts)).to(self.mean.device)
        return torch.cat([unit_vectors(self.model.encode_text(chunk)) for chunk in tokens.split(256)])

    def text_prototypes(self, class_names: Sequence[str | Sequence[str]], templates: Sequence[str] | None = None) -> Tensor:
        """(K, D): each class's prompts embedded, normalised, averaged, normalised again.

        class_names: a name, or several words for the same class, all of which are put into every template.
        templates: strings with one '{}' each; the model's own by default.
        """
        templates = self.templates if templates is None else templates
        prompts = [render_prompts([name] if isinstance(name, str) else name, templates) for name in class_names]
        embedded = self.encode_text([prompt for group in prompts for prompt in group])
        return unit_vectors(torch.stack([group.mean(0) for group in embedded.split([*map(len, prompts)])]))
