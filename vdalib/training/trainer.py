"""The three stages: one training step, one schedule, checkpoints from which a run goes on bit for bit."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.profiler import record_function
from tqdm.auto import tqdm

from vdalib.attributes import losses
from vdalib.attributes.assembly import VisualDescriptionAssembler, drawn_patches, masked_prototypes, predicted_masks
from vdalib.attributes.flow import InvertibleNetwork
from vdalib.attributes.mixture import HierarchicalGMM
from vdalib.clip import FrozenCLIP
from vdalib.config import Config, ScheduleConfig
from vdalib.data import build_dataset, completed
from vdalib.data.loader import training_batches
from vdalib.io import atomic_path
from vdalib.segmentation.labelling import PseudoLabeller
from vdalib.segmentation.losses import affinity_loss, segmentation_loss
from vdalib.segmentation.segmenter import Segmenter, patch_affinity
from vdalib.training.devices import accelerator_for, autocast

STAGES = ("segmenter", "inter-class", "intra-class")


def learning_rate_factor(step: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up, then polynomial decay to zero at `total_steps` ([P] annex)."""
    if step < schedule.lr_warmup:
        return 1 - (1 - step / schedule.lr_warmup) * (1 - 1e-6)
    return (1 - step / schedule.total_steps) ** schedule.lr_power


def _changes(saved: dict, given: dict, prefix: str = "") -> Iterator[str]:
    """The settings that differ, one sentence each."""
    for name, value in given.items():
        if isinstance(value, dict) and value.keys() == saved[name].keys():
            yield from _changes(saved[name], value, f"{prefix}{name}.")
        elif value != saved[name]:
            yield f"{prefix}{name} is {saved[name]!r} there, found {value!r}"


class VisualMixture(nn.Module):
    """The INN and the hierarchical mixture in its latent space: all that inference leaves out."""

    def __init__(self, config: Config, num_classes: int, dim: int):
        super().__init__()
        self.flow = InvertibleNetwork(dim, **vars(config.flow), seed=config.seed)
        settings = config.mixture
        self.gmm = HierarchicalGMM(
            num_classes, settings.attributes, dim, settings.offset_scale, fit_attributes=settings.patch_attributes > 0
        )

    def loss(self, vectors: Tensor, members: Tensor, config: Config, intra: bool) -> dict[str, Tensor]:
        """The INN's loss terms for vectors (n (1+P), D) of classes (n (1+P),) ([A] sec. 3, [N]).

        Each of n reliable prototypes is followed by its P = `mixture.patch_attributes` patches, which only L_intra sees ([R]).
        """
        every = 1 + config.mixture.patch_attributes
        classes = members[::every]
        z, log_det = self.flow(vectors[::every])
        self.gmm.initialise(z, classes)
        scale = z.shape[1] if config.mixture.nll_scale == "per_dimension" else 1
        energy = self.gmm.class_energy(z)
        terms = {
            "inter": losses.inter_class_nll(energy, self.gmm.log_class_weights, log_det, scale),
            "discriminative": losses.discriminative(energy, self.gmm.log_class_weights, classes),
        }
        if intra:
            if every > 1:
                z, log_det = self.flow(vectors)
                self.gmm.initialise_attributes(z, members)
            weights = self.gmm.log_attribute_weights[members]
            terms["intra"] = losses.intra_class_nll(self.gmm.attribute_energy(z, members), weights, log_det, scale)
        return terms


class ProjectedSegmenter(nn.Module):
    """The segmenter, and the projection of its embedding into CLIP's joint space that DSE needs ([R] sec. 7)."""

    def __init__(self, segmenter: Segmenter, dim: int):
        super().__init__()
        self.segmenter = segmenter
        self.projection = nn.Conv2d(segmenter.width, dim, 1, bias=False)

    def forward(self, layers, grid, project: bool):
        output = self.segmenter(layers, grid)
        return output, self.projection(output.embedding) if project else None


class Trainer:
    """Trains VDA in a run directory and goes on from the last checkpoint there.

    The run directory holds config.yaml, metrics.jsonl, segmenter.safetensors (all that inference needs), mixture.safetensors and
    checkpoints/. Every random number of step i is drawn from (seed, i), so a resumed run equals one that never stopped.
    """

    def __init__(self, config: Config, run_dir: str | Path, dataset=None):
        self.config = config = completed(config)
        self.run_dir = Path(run_dir)
        self.accelerator = accelerator_for(config.precision)
        self.device = self.accelerator.device
        torch.manual_seed(config.seed)
        self.dataset = dataset if dataset is not None else build_dataset(config.data, config.data.train_split, config.seed)
        num_classes = len(self.dataset.class_names)
        self.clip = FrozenCLIP.from_config(config.clip).to(self.device)
        patch, crop = self.clip.patch_size, config.data.crop
        if crop % patch:
            near = f"{max(crop // patch, 1) * patch} or {(crop // patch + 1) * patch}"
            raise ValueError(f"data.crop: {crop} px are not whole patches of {patch} px ({config.clip.model}); choose {near}")
        self.labeller = PseudoLabeller(self.clip, self.dataset.class_names, config)
        segmenter = Segmenter.from_config(config.segmenter, self.clip.num_layers, self.clip.token_width, num_classes)
        segmenter.adapter.dropout.share = (self.accelerator.process_index, self.accelerator.num_processes)
        model = ProjectedSegmenter(segmenter, self.clip.dim)
        mixture = VisualMixture(config, num_classes, self.clip.dim)
        self.assembler = VisualDescriptionAssembler(
            mixture.flow, mixture.gmm, config.assembly.density, config.assembly.static_density, config.assembly.response
        )
        schedule = config.schedule
        decoder = list(segmenter.decoder.parameters())
        others = [*segmenter.adapter.parameters(), *model.projection.parameters()]
        groups = [
            {"params": others, "base_lr": schedule.learning_rate},
            {"params": decoder, "base_lr": schedule.learning_rate * schedule.decoder_lr_factor},
        ]
        optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        inn_lr = config.mixture.learning_rate
        centres = {"params": mixture.gmm.parameters(), "lr": inn_lr * config.mixture.centre_lr_factor}
        mixture_optimizer = torch.optim.Adam([{"params": mixture.flow.parameters()}, centres], lr=inn_lr)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        # Every process makes the same INN step on the gathered prototypes, so the INN needs no gradient exchange.
        self.mixture = self.accelerator.prepare_model(mixture, evaluation_mode=True)
        self.mixture_optimizer = self.accelerator.prepare_optimizer(mixture_optimizer)
        self.waiting = (torch.empty(0, self.clip.dim, device=self.device), torch.empty(0, dtype=torch.long, device=self.device))
        self.step = 0
        self.resume()

    @property
    def segmenter(self) -> Segmenter:
        return self.accelerator.unwrap_model(self.model).segmenter

    def stage(self, step: int) -> int:
        """0, 1 or 2: which of STAGES the step belongs to."""
        return sum(step >= end for end in self.config.schedule.stage_ends[:2])

    @property
    def needs_mixture(self) -> bool:
        return self.config.assembly.fusion or self.config.assembly.enhancement

    def fit(self, until: int | None = None) -> None:
        """Train to `total_steps`, or only until the given step; writes metrics.jsonl and checkpoints."""
        schedule, total = self.config.schedule, self.config.schedule.total_steps
        if self.step == 0 and self.accelerator.is_main_process:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self.config.save(self.run_dir / "config.yaml")
            (self.run_dir / "metrics.jsonl").unlink(missing_ok=True)
        batches = training_batches(
            self.dataset, self.config, self.step, self.accelerator.num_processes, self.accelerator.process_index
        )
        stop = total if until is None else min(until, total)
        bar = tqdm(total=total, initial=self.step, unit="step", disable=not self.accelerator.is_main_process)
        pending, started = [], time.perf_counter()
        for batch in batches if self.step < stop else ():
            batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
            pending.append((self.step, self.train_step(batch)))
            self.step += 1
            bar.update()
            at_checkpoint = self.step in schedule.stage_ends or self.step % schedule.checkpoint_every == 0
            if len(pending) == 10 or at_checkpoint or self.step == stop:
                elapsed, started = time.perf_counter() - started, time.perf_counter()
                self._log(pending, len(pending) * schedule.batch_size / elapsed, bar)
                pending = []
            if at_checkpoint:
                self.save_checkpoint()
            if self.step == stop:
                break
        bar.close()

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step on images (B, 3, H, W) in 0..1 with labels (B, K); returns its loss terms, still on the device."""
        config, stage = self.config, self.stage(self.step)
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * learning_rate_factor(self.step, config.schedule)
        images, labels = batch["images"], batch["labels"]
        fuse = stage == 2 and config.assembly.fusion
        enhance = stage == 2 and config.assembly.enhancement
        self.model.train()
        with autocast(self.device, config.precision):
            with record_function("clip"):
                features = self.clip.encode_image(images, attention=config.refine.random_walk, embed=self._frozen_embedding)
            output, projected = self.model(features.layers, features.grid, enhance)
        logits, embedding = output.logits.float(), output.embedding.float()
        with torch.no_grad():
            with record_function("inn and assembly"):
                found = self.labeller.prototypes(features, logits, labels)
                queries = self.labeller.queries(found, self.assembler if fuse else None)
            with record_function("cam and affinity"):
                own = embedding if stage > 0 else None
                target = self.labeller.pseudo_label(features, queries, labels, images, own, batch["valid"])
        with record_function("losses"):
            terms = {
                "segmentation": segmentation_loss(
                    self._upsample(logits, target), target, config.schedule.background_weight, self._total
                ),
                "affinity": affinity_loss(patch_affinity(embedding), self._at_grid(target, features.grid), total=self._total),
            }
            if enhance:
                terms["contrastive"] = self._contrastive(projected.float(), logits.detach(), labels, found.reliable)
            # Each process has its part of every loss; gradients and logged values are averaged over processes.
            terms = {name: self.accelerator.num_processes * part for name, part in terms.items()}
            loss = terms["segmentation"] + config.schedule.affinity_weight * terms["affinity"]
            if enhance:
                loss = loss + config.assembly.enhancement_weight * terms["contrastive"]
        with record_function("segmenter backward"):
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
        with record_function("optimiser"):
            self.optimizer.step()
        if stage > 0 and self.needs_mixture:
            with record_function("inn and assembly"):
                gather = self.accelerator.gather
                vectors = gather(found.prototypes[:, :, None].float())
                if config.mixture.patch_attributes:
                    masks = gather(predicted_masks(logits, labels))
                    drawn = drawn_patches(gather(features.patches), masks, config.mixture.patch_attributes)
                    vectors = torch.cat([vectors, drawn.float()], dim=2)
                terms |= self._mixture_steps(vectors, gather(found.reliable), intra=stage == 2)
        reliable, present, named = self._total(torch.stack([found.reliable.sum(), found.present.sum(), labels.sum()]))
        terms |= {"reliable": reliable / present.clamp_min(1), "predicted": present / named.clamp_min(1)}
        return {name: value.detach() for name, value in terms.items()}

    def _total(self, count: Tensor) -> Tensor:
        """A count summed over all processes."""
        return self.accelerator.reduce(count, "sum")

    def _contrastive(self, projected: Tensor, logits: Tensor, labels: Tensor, reliable: Tensor) -> Tensor:
        """L_con: the adapter's masked-average prototypes (B, K, D) against the class anchors g(mu_k) [N]."""
        prototypes, _ = masked_prototypes(projected, predicted_masks(logits, labels))
        image, classes = reliable.nonzero(as_tuple=True)
        temperature = self.config.assembly.enhancement_temperature
        return losses.class_contrastive(prototypes[image, classes], self.assembler.anchors(), classes, temperature, self._total)

    def _frozen_embedding(self, layers, grid) -> Tensor:
        """Adapter features for learnable calibration; no gradient, no dropout."""
        segmenter = self.segmenter
        was_training = segmenter.training
        segmenter.eval()
        with torch.no_grad():
            embedding = segmenter.adapter(layers, grid)
        segmenter.train(was_training)
        return embedding

    @staticmethod
    def _upsample(logits: Tensor, target: Tensor) -> Tensor:
        return F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)

    @staticmethod
    def _at_grid(target: Tensor, grid: tuple[int, int]) -> Tensor:
        return F.interpolate(target[:, None].float(), grid, mode="nearest")[:, 0].long()

    def _mixture_steps(self, vectors: Tensor, reliable: Tensor, intra: bool) -> dict[str, Tensor]:
        """Collect reliable prototypes; one INN step for every full batch of them [N].

        vectors: (B, K, 1+P, D) of all processes, each prototype followed by its patches; reliable: (B, K).
        """
        image, classes = reliable.nonzero(as_tuple=True)
        every, terms = vectors.shape[2], {}
        vectors = torch.cat([self.waiting[0], vectors[image, classes].flatten(0, 1)])
        classes = torch.cat([self.waiting[1], classes.repeat_interleave(every)])
        size = self.config.mixture.batch_size * every
        while len(classes) >= size:
            self.mixture.train()
            with torch.autocast(self.device.type, enabled=False):
                terms = self.mixture.loss(vectors[:size], classes[:size], self.config, intra)
            loss = terms["inter"] + self.config.mixture.discriminative_weight * terms["discriminative"] + terms.get("intra", 0)
            self.mixture_optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            self.mixture_optimizer.step()
            self.mixture.eval()
            vectors, classes = vectors[size:], classes[size:]
        self.waiting = (vectors, classes)
        return terms

    def _log(self, pending: list[tuple[int, dict[str, Tensor]]], images_per_second: float, bar: tqdm) -> None:
        rows = []
        for step, terms in pending:
            values = self.accelerator.reduce(torch.stack([*terms.values()]).float(), "mean").tolist()
            rows.append({"step": step, "stage": self.stage(step), **{k: round(v, 6) for k, v in zip(terms, values)}})
        if not self.accelerator.is_main_process:
            return
        with open(self.run_dir / "metrics.jsonl", "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        last = rows[-1]
        bar.set_description(STAGES[last["stage"]])
        shown = {k: f"{v:.3f}" for k, v in last.items() if k not in ("step", "stage", "predicted")}
        bar.set_postfix(shown | {"images/s": f"{images_per_second:.1f}"})

    def save_checkpoint(self) -> None:
        """Weights at the top of the run directory and the whole state in checkpoints/step_N, each renamed when complete."""
        final = self.run_dir / "checkpoints" / f"step_{self.step:07d}"
        partial = final.with_name(final.name + ".partial")
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial), safe_serialization=True)
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        waiting = {"prototypes": self.waiting[0].contiguous(), "classes": self.waiting[1].contiguous()}
        save_file(waiting, partial / "waiting.safetensors")
        self.save_weights()  # before the checkpoint is complete: a run that dies in between makes them again
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)

    def save_weights(self) -> None:
        for name, module in (("segmenter", self.segmenter), ("mixture", self.mixture)):
            with atomic_path(self.run_dir / f"{name}.safetensors") as path:
                save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)

    def resume(self) -> None:
        """Go on from the last complete checkpoint, if there is one; the number of processes may be another."""
        checkpoints = sorted((self.run_dir / "checkpoints").glob("step_*[0-9]"))
        last = gather_object([checkpoints[-1].name if checkpoints else "none"])
        if len({*last}) > 1:
            raise ValueError(f"{self.run_dir}: processes see different checkpoints ({', '.join(last)}); put it on a shared disk")
        if not checkpoints:
            return
        saved = Config.from_preset(self.run_dir / "config.yaml")
        changes = "; ".join(_changes(saved.to_dict(), self.config.to_dict()))
        if changes:
            raise ValueError(f"{self.run_dir / 'config.yaml'}: {changes}; use another run directory or delete this one")
        self.accelerator.load_state(str(checkpoints[-1]))
        self.step = int(checkpoints[-1].name.removeprefix("step_"))
        waiting = load_file(checkpoints[-1] / "waiting.safetensors", device=str(self.device))
        self.waiting = (waiting["prototypes"], waiting["classes"])
        self._forget_metrics_after(self.step)

    def _forget_metrics_after(self, step: int) -> None:
        path = self.run_dir / "metrics.jsonl"
        if path.exists() and self.accelerator.is_main_process:
            kept = path.read_text().splitlines()[:step]  # one row a step; the last one may be cut short
            with atomic_path(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))
