"""A plain vision transformer that is trained end to end, and what ToCo and SeCo put on its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from vdalib.config import ClipConfig
from vdalib.segmentation.class_cam import class_maps, multi_scale_cam

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tokens(NamedTuple):
    """cls: (B, C) and patches: (B, C, h, w), both after the last LayerNorm. auxiliary: (B, C, h, w), of an earlier block."""

    cls: Tensor
    patches: Tensor
    auxiliary: Tensor


class VisionTransformer(nn.Module):
    """Images (B, 3, H, W) in 0..1 to Tokens; sides that are not whole patches lose the rest.

    The position embedding is frozen and resized bicubically, the class token's stays as it is.
    auxiliary_block: counted from the end, -3 is the 10th of 12.
    Source: [P] ToCo sec. 2.
    """

    def __init__(self, embed, cls, position, pre, blocks, norm, mean, std, auxiliary_block: int = -3):
        super().__init__()
        if not -len(blocks) <= auxiliary_block < 0:
            raise ValueError(
                f"backbone.auxiliary_block: expected -{len(blocks)} to -1 for {len(blocks)} blocks, got {auxiliary_block}"
            )
        self.embed, self.pre, self.blocks, self.norm = embed, pre, nn.ModuleList(blocks), norm
        self.cls = nn.Parameter(cls.detach().clone().view(1, 1, -1))
        self.register_buffer("position", position.detach().clone().view(1, -1, cls.numel()))  # (1, 1+n, C)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.width, self.patch_size, self.auxiliary_block = cls.numel(), embed.kernel_size[0], auxiliary_block

    @classmethod
    def from_config(cls, config, clip: ClipConfig) -> VisionTransformer:
        """From a `BackboneConfig`; named "clip", it starts as the vision tower of the CLIP of a `ClipConfig` ([R] ours)."""
        if config.name == "clip":
            return cls.from_clip(clip.model, clip.pretrained, config.auxiliary_block)
        return cls.from_timm(config.name, config.pretrained, config.auxiliary_block)

    @classmethod
    def from_timm(cls, name: str, pretrained: str | None = None, auxiliary_block: int = -3) -> VisionTransformer:
        """A model of timm.

        pretrained: a tag that timm knows for the name, a file (safetensors or a torch state dict), None for random weights.
        Images are normalised by ImageNet's mean and deviation whatever the weights were made with, as published.

        Raises ValueError for an unknown name or tag, a model that is no plain ViT, or weights that do not belong to it,
        RuntimeError where weights cannot be downloaded.
        """
        import timm
        from timm.models.vision_transformer import VisionTransformer as TimmTransformer

        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
        if not timm.is_model(name):
            raise ValueError(f"backbone.name: {name!r} is neither 'clip' nor a model of timm, such as vit_base_patch16_224")
        model = timm.create_model(name, num_classes=0)
        if (
            not isinstance(model, TimmTransformer)
            or not model.has_class_token
            or model.num_prefix_tokens != 1
            or model.no_embed_class
            or not model.pos_embed.numel()
        ):
            raise ValueError(
                f"backbone.name: {name!r} is no plain vision transformer with a class token; vit_base_patch16_224 is one"
            )
        if pretrained and Path(pretrained).is_file():
            _load_file(model, pretrained)
        elif pretrained:
            if pretrained not in tags:
                known = ", ".join(tags) or "none"
                raise ValueError(
                    f"backbone.pretrained: {pretrained!r} is neither a file nor a tag of {name!r} (known tags: {known})"
                )
            try:
                model = timm.create_model(f"{name}.{pretrained}", pretrained=True, num_classes=0)
            except Exception as error:
                raise RuntimeError(
                    f"backbone.pretrained: the weights {pretrained!r} of {name!r} could not be downloaded ({error}); "
                    "give a weight file, or set HF_HUB_CACHE to a folder that already holds them"
                ) from error
        parts = model.patch_embed.proj, model.cls_token, model.pos_embed, model.norm_pre, model.blocks, model.norm
        return cls(*parts, IMAGENET_MEAN, IMAGENET_STD, auxiliary_block)

    @classmethod
    def from_clip(cls, name: str, pretrained: str | None, auxiliary_block: int = -3) -> VisionTransformer:
        """The vision tower of a CLIP as `load_clip` finds it; raises what that raises."""
        from vdalib.clip.loading import load_clip

        loaded = load_clip(name, pretrained)
        tower = loaded.model.visual
        parts = (
            tower.conv1,
            tower.class_embedding,
            tower.positional_embedding,
            tower.ln_pre,
            tower.transformer.resblocks,
            tower.ln_post,
        )
        return cls(*parts, loaded.mean, loaded.std, auxiliary_block)

    def forward(self, images: Tensor) -> Tokens:
        patches = self.embed((images - self.mean) / self.std)  # (B, C, h, w)
        grid = patches.shape[2:]
        tokens = torch.cat([self.cls.expand(images.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)  # (B, 1+N, C)
        tokens = self.pre(tokens + self._position(grid))
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number == len(self.blocks) + self.auxiliary_block:
                auxiliary = tokens
        tokens = self.norm(tokens)
        return Tokens(tokens[:, 0], _on_grid(tokens, grid), _on_grid(auxiliary, grid))

    def _position(self, grid: tuple[int, int]) -> Tensor:
        """(1, 1+h*w, C)."""
        side = round((self.position.shape[1] - 1) ** 0.5)
        if (side, side) == tuple(grid):
            return self.position
        image = _on_grid(self.position, (side, side))
        image = F.interpolate(image, tuple(grid), mode="bicubic", align_corners=False)
        return torch.cat([self.position[:, :1], image.flatten(2).transpose(1, 2)], dim=1)


class TokenSegmenter(nn.Module):
    """The network of ToCo and SeCo: a transformer, a classifier on its patches, another on its auxiliary patches, a decoder.

    Called with images (B, 3, H, W) in 0..1 it gives the logits (B, K+1, h, w) of the decoder, all that inference needs.
    """

    def __init__(self, backbone: VisionTransformer, num_classes: int, decoder: nn.Module):
        super().__init__()
        self.backbone, self.decoder = backbone, decoder
        self.classifier = nn.Linear(backbone.width, num_classes, bias=False)
        self.auxiliary_classifier = nn.Linear(backbone.width, num_classes, bias=False)
        self.patch_size = backbone.patch_size

    @property
    def trained(self) -> TokenSegmenter:
        """What a run keeps of it: everything."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.backbone(images).patches)

    @torch.no_grad()
    def cams(self, images: Tensor, labels: Tensor, scales) -> tuple[Tensor, Tensor]:
        """CAM and auxiliary CAM of the image's classes, two (B, K, H, W) in 0..1, zero for other classes; no gradient."""
        both = torch.zeros(2, *labels.shape, *images.shape[-2:], device=images.device)
        classes = labels.any(0).nonzero().flatten()  # no other class's map is looked at
        if not len(classes):
            return both[0], both[1]

        def maps(views: Tensor) -> Tensor:
            tokens = self.backbone(views)
            heads = (tokens.patches, self.classifier), (tokens.auxiliary, self.auxiliary_classifier)
            return torch.cat([class_maps(patches, head.weight[classes]) for patches, head in heads], dim=1)

        with record_function("cam"):
            found = multi_scale_cam(maps, images, scales, self.patch_size)
        for whole, part in zip(both, found.chunk(2, dim=1)):
            whole[:, classes] = part * labels[:, classes, None, None]
        return both[0], both[1]


def _load_file(model: nn.Module, path: str) -> None:
    """Weights from a file; a classifier's among them are left out."""
    from timm.models import load_state_dict

    try:
        weights = load_state_dict(path, weights_only=True)
        model.load_state_dict({name: value for name, value in weights.items() if not name.startswith("head")})
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: cannot be read as weights of this model ({reason}); expected those of the same backbone.name"
        ) from error


def _on_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 1+N, C) -> (B, C, h, w) without the class token."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, tuple(grid))
