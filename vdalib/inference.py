"""From an image to a label map with the segmenter alone: multi-scale, flip, DenseCRF ([A] section 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from vdalib.clip import FrozenCLIP
from vdalib.config import Config, method_class
from vdalib.data import class_names
from vdalib.segmentation.crf import dense_crf
from vdalib.training.devices import autocast

__all__ = ["Predictor", "at_scale", "dense_crf", "load_weights", "multi_scale_logits"]


def at_scale(images: Tensor, patch_size: int, scale: float = 1.0, size: int | None = None, square: bool = False) -> Tensor:
    """Images (B, 3, H, W) resized by `scale` and rounded to whole patches, the aspect kept [R].

    size: px; scale 1 brings them to about size x size pixels; None = their own size.
    square: to exactly that, whatever their aspect.
    """
    height, width = (size, size) if square else images.shape[-2:]
    factor = scale * size / math.sqrt(height * width) if size else scale
    return _resized(images, [_whole_patches(side * factor, patch_size) for side in (height, width)])


@torch.no_grad()
def multi_scale_logits(
    network,
    images: Tensor,
    scales: Sequence[float],
    flip: bool,
    size: int | None = None,
    square: bool = False,
    over_mirrors: str = "mean",
    over_scales: str = "mean",
) -> Tensor:
    """Logits (B, K+1, H, W) averaged over scales, each with its mirror image if `flip` [A], scales [P].

    network: images in whole patches to logits, with its `patch_size`. images: float (B, 3, H, W) in 0..1, any H and W.
    scales, size, square: see `at_scale`. over_mirrors, over_scales: "mean", "sum" or "max".
    """
    total = None
    for scale in scales:
        scaled = at_scale(images, network.patch_size, scale, size, square)
        views = torch.cat([scaled, scaled.flip(-1)]) if flip else scaled
        logits = _resized(network(views).float(), images.shape[-2:])
        if flip:
            straight, mirrored = logits.chunk(2)
            logits = _fused(straight, mirrored.flip(-1), over_mirrors)
            logits = logits / 2 if over_mirrors == "mean" else logits
        total = logits if total is None else _fused(total, logits, over_scales)
    return total / len(scales) if over_scales == "mean" else total


class Predictor:
    """A trained run as a function from images to label maps; INN and mixture are not needed and not loaded.

    An image is a uint8 tensor (3, H, W), a uint8 array (H, W, 3) or a PIL image, RGB, of any size.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], config: Config) -> None:
        self.network = network.eval()
        self.class_names, self.config = tuple(names), config
        self.device = next(network.parameters()).device

    @classmethod
    def from_run(cls, run_dir: str | Path, device: str | torch.device = "cpu") -> Predictor:
        """From a run directory's config.yaml and segmenter.safetensors.

        Raises FileNotFoundError without them, ValueError where the weights are not this network's or not finite.
        """
        config = Config.of_run(run_dir, {"backbone.pretrained": None})  # the run has all weights of a backbone
        names = class_names(config.data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # as the trainer does, so that random weights are the same
            network = method_class(config.method).build_network(config, names)
        for part in network.modules():
            if isinstance(part, FrozenCLIP):
                part.drop_text()
        load_weights(network.trained, Path(run_dir) / "segmenter.safetensors")
        return cls(network.to(device), names, config)

    def probabilities(self, image, *, multi_scale: bool = True, crf: bool = False) -> Tensor:
        """Softmax of the averaged logits, (K+1, H, W); without `multi_scale` one scale, not mirrored; `crf`: then DenseCRF."""
        settings = self.config.inference
        scales, flip = (settings.scales, settings.flip) if multi_scale else ((1.0,), False)
        images = _as_tensor(image).to(self.device)[None].float() / 255
        with autocast(self.device, self.config.precision):
            logits = multi_scale_logits(self.network, images, scales, flip, **settings.fusion)
        probabilities = logits[0].float().softmax(0)
        return dense_crf(_as_tensor(image), probabilities, settings) if crf else probabilities

    def predict(self, image, *, multi_scale: bool = True, crf: bool = True) -> np.ndarray:
        """Label map, uint8 (H, W): 0 background, class index + 1 elsewhere."""
        probabilities = self.probabilities(image, multi_scale=multi_scale, crf=crf)
        return probabilities.max(0).indices.to(torch.uint8).cpu().numpy()


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a run's weights; FileNotFoundError without the file, ValueError where they do not fit or are not finite."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; {path.parent} is not the directory of a trained run")
    try:
        weights = load_file(path)
        module.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: damaged, or of another configuration ({reason}); train again or fetch it again") from error
    if bad := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise ValueError(f"{path}: {bad[0]} is not finite; the training went wrong, go back to a checkpoint or train again")


def _as_tensor(image) -> Tensor:
    tensor = transforms.to_image(image).as_subclass(Tensor)
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or len(tensor) != 3:
        found = f"{tensor.dtype} {tuple(tensor.shape)}"
        raise ValueError(f"image: found {found}, expected RGB as uint8 (3, H, W), an (H, W, 3) array or a PIL image")
    return tensor


def _fused(logits: Tensor, other: Tensor, how: str) -> Tensor:
    return torch.maximum(logits, other) if how == "max" else logits + other


def _whole_patches(side: float, patch_size: int) -> int:
    return max(round(side / patch_size), 1) * patch_size


def _resized(images: Tensor, shape: Sequence[int]) -> Tensor:
    if list(images.shape[-2:]) == list(shape):
        return images
    return F.interpolate(images, tuple(shape), mode="bilinear", align_corners=False, antialias=True)
