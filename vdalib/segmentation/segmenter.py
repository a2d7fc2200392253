"""The segmenter: an adapter that gathers CLIP's layers into one embedding, a decoder that labels patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from vdalib.clip import FrozenCLIP
from vdalib.segmentation.cam import precise


class SegmenterOutput(NamedTuple):
    """logits: (B, K+1, h, w), channel 0 is background. embedding, whole: (B, E, h, w), the adapter's with and without dropout."""

    logits: Tensor
    embedding: Tensor
    whole: Tensor


class SharedDropout2d(nn.Dropout2d):
    """Dropout of whole channels, drawn for the batch of all processes, so that their number changes nothing.

    share: (index, count) of this process, which holds the index-th of count equal parts of every batch. All processes
    must have the same random state.
    """

    share = (0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, E, h, w) -> the same shape."""
        index, count = self.share
        (batch, width), one = features.shape[:2], (1,) * (features.ndim - 2)
        kept = F.dropout2d(features.new_ones(count * batch, width, *one), self.p, self.training)
        return features * kept[index * batch : (index + 1) * batch]


class Adapter(nn.Module):
    """One small MLP per CLIP block, their outputs concatenated and compressed by a convolution.

    num_layers: L, blocks of the CLIP tower. token_width: C. width: E, of every MLP and of the embedding.
    dropout: share of embedding channels left out in training.

    Source: [A] appendix sec. 1; [P] MLP = Linear-ReLU-Linear, 1x1 convolution, Dropout2d.
    """

    def __init__(self, num_layers: int, token_width: int, width: int = 256, dropout: float = 0.1):
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(token_width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(num_layers)
        )
        self.compress = nn.Conv2d(num_layers * width, width, 1)
        self.dropout = SharedDropout2d(dropout)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """`gathered` with dropout, in training."""
        return self.dropout(self.gathered(layers, grid))

    def gathered(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """L tensors (B, N, C), patch tokens after each block, with N = h * w -> (B, E, h, w), before dropout.

        Raises ValueError for another number of layers, or tokens that do not fill the grid.
        """
        if len(layers) != len(self.projections):
            raise ValueError(f"layers: expected {len(self.projections)} tensors, one per CLIP block, got {len(layers)}")
        if layers[0].shape[1] != grid[0] * grid[1]:
            raise ValueError(f"layers: {layers[0].shape[1]} patch tokens do not fill the grid {grid[0]} x {grid[1]}")
        tokens = torch.cat([project(layer) for project, layer in zip(self.projections, layers)], dim=2)  # (B, N, L * E)
        return self.compress(tokens.transpose(1, 2).unflatten(2, grid))


def quick_gelu(features: Tensor) -> Tensor:
    """x sigmoid(1.702 x), the activation of OpenAI's CLIP."""
    return features * torch.sigmoid(1.702 * features)


class Decoder(nn.Module):
    """Transformer layers over all patches, then a linear classifier per patch.

    width: of the embedding and of every layer. num_outputs: K+1.
    Patches need no position here: CLIP's tokens carry it.

    Raises ValueError if `heads` do not divide `width`.
    Source: [A] appendix sec. 1; [P] pre-norm layers with 4 * width hidden units and QuickGELU, no dropout, no final norm.
    """

    def __init__(self, width: int, num_outputs: int, depth: int = 3, heads: int = 8):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} heads do not divide width {width}")
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, quick_gelu, batch_first=True, norm_first=True)
                for _ in range(depth)
            )
        )
        self.classify = nn.Linear(width, num_outputs)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, E, h, w) -> logits (B, K+1, h, w)."""
        tokens = self.layers(embedding.flatten(2).transpose(1, 2))  # (B, N, E)
        return self.classify(tokens).transpose(1, 2).unflatten(2, embedding.shape[2:])


class Segmenter(nn.Module):
    """All that is trained for inference: adapter and decoder on the layers of a frozen CLIP."""

    def __init__(self, adapter: Adapter, decoder: Decoder):
        super().__init__()
        self.adapter, self.decoder = adapter, decoder

    @classmethod
    def from_config(cls, config, num_layers: int, token_width: int, num_classes: int) -> Segmenter:
        """From a `SegmenterConfig`, for K = num_classes foreground classes."""
        adapter = Adapter(num_layers, token_width, config.width, config.dropout)
        return cls(adapter, Decoder(config.width, num_classes + 1, config.depth, config.heads))

    @property
    def num_layers(self) -> int:
        """How many of CLIP's layers it reads, from the first on."""
        return len(self.adapter.projections)

    @property
    def width(self) -> int:
        """E, channels of the embedding."""
        return self.adapter.compress.out_channels

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> SegmenterOutput:
        """`DenseFeatures.layers` and `.grid` -> logits and embedding."""
        with record_function("adapter"):
            whole = self.adapter.gathered(layers, grid)
            embedding = self.adapter.dropout(whole)
        with record_function("decoder"):
            return SegmenterOutput(self.decoder(embedding), embedding, whole)


class ClipSegmenter(nn.Module):
    """A frozen CLIP and the segmenter on its layers: images to logits, all that inference needs.

    trained: the segmenter, the part that a run keeps. patch_size: px, of which the sides of images are multiples.
    """

    def __init__(self, clip: FrozenCLIP, segmenter: Segmenter):
        super().__init__()
        self.clip, self.trained = clip, segmenter

    @property
    def patch_size(self) -> int:
        return self.clip.patch_size

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 -> logits (B, K+1, h, w)."""
        with record_function("clip"):
            layers, grid = self.clip.encode_layers(images)
        return self.trained(layers[: self.trained.num_layers], grid).logits


def patch_affinity(embedding: Tensor, sharpness: float = 3.0, raw: bool = False) -> Tensor:
    """(B, E, h, w) -> (B, N, N) in 0..1: sigmoid(sharpness * (cos - mean cos)) of patches, mean per image.

    raw: sigmoid of the dot products as they are, neither normalised nor centred (WeCLIP); `sharpness` plays no part.
    At least single precision, also under autocast.
    Source: [P] ExCEL, WeCLIP.
    """
    features = embedding.flatten(2)
    with torch.autocast(embedding.device.type, enabled=False):
        features = precise(features)
        if raw:
            return torch.sigmoid(features.transpose(1, 2) @ features)
        features = F.normalize(features, dim=1)
        cosines = features.transpose(1, 2) @ features
        return torch.sigmoid(sharpness * (cosines - cosines.mean((1, 2), keepdim=True)))
