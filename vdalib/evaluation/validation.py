"""A look at val while training goes on: what `Trainer.fit(validate=...)` is given."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from vdalib.config import Config
from vdalib.data import build_dataset
from vdalib.evaluation import ConfusionMatrix
from vdalib.evaluation.run import whole_images
from vdalib.inference import multi_scale_logits
from vdalib.progress import progress_bar
from vdalib.training.devices import autocast, merged, own_share


def validation(config: Config, device: torch.device) -> Callable[[nn.Module], dict[str, float]] | None:
    """A function from a network to its `miou` on val, one scale; None where `schedule.validate_every` is 0.

    Several processes share the images, and each is given the whole. Masks are read here and nowhere in training.
    """
    if not config.schedule.validate_every:
        return None
    dataset = build_dataset(config.data, config.data.val_split, config.seed)

    def validate(network: nn.Module) -> dict[str, float]:
        matrix, own = ConfusionMatrix(len(dataset.class_names) + 1), own_share(len(dataset))
        bar = progress_bar(total=len(own), desc="validation", unit="image", leave=False, disable=own.start > 0)
        network.eval()  # the trainer calls train() before every step
        for batch in whole_images(dataset, own, masks=True):
            with autocast(device, config.precision):
                logits = multi_scale_logits(network, batch.images.to(device), (1.0,), False, **config.inference.fusion)
            matrix.update(logits.argmax(1).cpu(), batch.masks)
            bar.update(len(batch.indices))
        bar.close()
        return {"miou": 100 * merged(matrix).mean_iou()}

    return validate
