"""CLIP, frozen: images to dense features, prompts to text prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vdalib.clip.dense import (
    DenseFeatures,
    Embed,
    OriginalPath,
    calibrated_features,
    original_path,
    require_options,
    require_supported,
    unit_vectors,
)
from vdalib.clip.loading import LoadedCLIP, load_clip
from vdalib.clip.text import render_prompts

__all__ = ["DenseFeatures", "FrozenCLIP", "OriginalPath"]


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
        self.calibration = {"calibration": calibration, "calibrated_blocks": calibrated_blocks}
        self.share_heads = share_heads
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
        path = self.original_path(images, attention=attention)
        return self.calibrated(path, embed(path.layers, path.grid) if embed else None)

    @torch.no_grad()
    def original_path(self, images: Tensor, *, attention: bool = True) -> OriginalPath:
        """The first half of `encode_image`, before anything is calibrated."""
        blocks = self.affinity_blocks if attention else 0
        return self._original_path(images, affinity_blocks=blocks, **self.calibration)

    @torch.no_grad()
    def calibrated(self, path: OriginalPath, embedding: Tensor | None = None) -> DenseFeatures:
        """The second half of `encode_image`; embedding: adapter features (B, E, h, w), of use if calibration is "learnable"."""
        return calibrated_features(self.model.visual, path, self.calibration["calibration"], self.share_heads, embedding)

    @torch.no_grad()
    def encode_layers(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        """(layers, grid) of DenseFeatures, all that the segmenter needs; spares the cost of calibration."""
        path = self._original_path(images, calibration="none")
        return path.layers, path.grid

    def _original_path(self, images: Tensor, **options) -> OriginalPath:
        if not images.is_floating_point():
            raise ValueError(f"images: expected floating-point values in 0..1, got {images.dtype}; divide by 255")
        normalised = (images - self.mean) / self.std
        return original_path(self.model.visual, normalised, position_resize=self.position_resize, **options)

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
