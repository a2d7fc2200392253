"""A trained run, opened to be looked at: all that its own method derives from labelled images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdalib.attributes.assembly import VisualDescriptionAssembler
from vdalib.config import Config, method_class
from vdalib.data import build_dataset, class_names
from vdalib.inference import Predictor, at_scale, load_weights
from vdalib.methods.base import Evidence, Method
from vdalib.training import checkpoints

MOST_WAITING = 64  # images that wait for others of their size


@dataclass
class WholeImages:
    """A batch of images of one size as the data set has them, nothing cut or mirrored.

    indices: in the data set. images: (B, 3, H, W) in 0..1. labels: (B, K) bool.
    masks:   (B, H, W) uint8, 0..K or 255, for evaluation; None unless asked for.
    """

    indices: list[int]
    images: Tensor
    labels: Tensor
    masks: Tensor | None = None


def whole_images(
    dataset, indices: Iterable[int] | None = None, batch_size: int = 8, masks: bool = False
) -> Iterator[WholeImages]:
    """A data set, or some of it, in batches of equal image size; in order where all sizes are equal."""
    waiting, count = defaultdict(list), 0
    for index in range(len(dataset)) if indices is None else indices:
        sample = dataset[index]
        mask = torch.from_numpy(dataset.mask(index)) if masks else None
        waiting[sample.image.shape].append((int(index), sample.image.as_subclass(Tensor), sample.labels, mask))
        count += 1
        largest = max(waiting, key=lambda shape: len(waiting[shape]))
        if len(waiting[largest]) == batch_size or count == MOST_WAITING:
            count -= len(waiting[largest])
            yield _stacked(waiting.pop(largest))
    for group in waiting.values():
        yield _stacked(group)


class Run:
    """A trained run, opened: its method with the weights, asked for logits, queries, seeds and pseudo labels.

    method:      the run's own. clip and labeller are None where it has no frozen CLIP.
    predictor:   images to label maps by the network alone.
    step, stage: of the weights.
    """

    def __init__(self, method: Method, step: int):
        self.method, self.step = method, step
        self.config, self.class_names, self.device = method.config, method.class_names, method.device
        self.predictor = Predictor(method.network, self.class_names, self.config)
        self.clip, self.labeller = getattr(method, "clip", None), getattr(method, "labeller", None)
        self.stage = method.stage(max(step - 1, 0))

    @classmethod
    def load(
        cls,
        run_dir: str | Path,
        step: int | None = None,
        overrides: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
    ) -> Run:
        """Open a run directory, at its last weights or at the checkpoint of `step` (`schedule.stage_ends`).

        overrides: of the run's settings, such as {"data.root": ...} where the data have moved. Without memory.safetensors
        the method does without what it would remember: VDA asks by text. Raises FileNotFoundError where there is no trained
        run, or no checkpoint of that step, ValueError for weights that are damaged or of two different steps.
        """
        run_dir, device = Path(run_dir), torch.device(device)
        config = Config.of_run(
            run_dir, {"backbone.pretrained": None, **(overrides or {})}
        )  # the run has all weights of a backbone
        weights, memory = run_dir / "segmenter.safetensors", run_dir / "memory.safetensors"
        steps = checkpoints.steps(run_dir)
        if step is not None and step not in steps:
            raise FileNotFoundError(f"{run_dir}/checkpoints: no step {step} (there are: {steps})")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # as the trainer does, so that random weights are the same
            method = method_class(config.method)(config, class_names(config.data), device)
        if step is None:
            load_weights(method.network.trained, weights)
            step, of_memory = checkpoints.step_of(weights), checkpoints.step_of(memory)
            if None not in (step, of_memory) and step != of_memory:
                cure = "training writes both: resume it, or fetch both again"
                raise ValueError(f"{memory}: of step {of_memory}, where {weights.name} is of step {step}; {cure}")
            if step is None:  # saved by someone else
                step = max(steps, default=config.schedule.total_steps)
            method.remembers = memory.exists()
            if method.remembers:
                load_weights(method.memory, memory)
        else:
            parts, _ = checkpoints.read(run_dir, step, device)
            try:
                method.model.load_state_dict(parts["model"])
                method.memory.load_state_dict(parts["memory"])
            except RuntimeError as error:
                where, reason = checkpoints.folder(run_dir, step), " ".join(str(error).split())[:200]
                raise ValueError(f"{where}: of another configuration ({reason}); train again or fetch it again") from error
        for module in (method.model, method.memory):
            module.eval().requires_grad_(False)
        return cls(method, step)

    @property
    def mixture(self) -> torch.nn.Module | None:
        """INN and hierarchical GMM; None in stage 1, without its memory, and where the method has or uses none."""
        known = self.stage > 0 and self.method.remembers and getattr(self.method, "learns", False)
        return getattr(self.method, "mixture", None) if known else None

    @property
    def assembler(self) -> VisualDescriptionAssembler | None:
        """Attribute retrieval and fusion on the mixture, or None."""
        return None if self.mixture is None else self.method.assembler

    def describes(self, k: int) -> bool:
        """Whether there is a mixture that has met class k; attributes of one that it has not are random numbers."""
        return self.mixture is not None and bool(self.mixture.gmm.met[k] > 0)

    def dataset(self, split: str):
        """The run's own "train" or "val" data, or another split of the data set by its name."""
        data = self.config.data
        split = {"train": data.train_split, "val": data.val_split}.get(split, split)
        return build_dataset(data, split, self.config.seed)

    def evidence(self, images: Tensor, labels: Tensor) -> Evidence:
        """Of images (B, 3, H, W) in 0..1, brought to scale 1 in whole patches, with labels (B, K) bool."""
        settings = self.config.inference
        images = at_scale(images.to(self.device), self.method.network.patch_size, size=settings.size, square=settings.square)
        return self.method.evidence(images, labels.to(self.device), self.step)


def _stacked(group: list[tuple]) -> WholeImages:
    indices, images, labels, masks = zip(*group)
    known = None if masks[0] is None else torch.stack(masks)
    return WholeImages(list(indices), torch.stack(images).float() / 255, torch.stack(labels), known)
