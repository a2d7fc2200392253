"""The trainer: loop, schedule, checkpoints, processes, trackers. It knows no method.

A run goes on from a checkpoint bit for bit on a CPU, and up to the order of sums on a GPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from accelerate.utils import gather_object
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.profiler import record_function

from vdalib.config import Config, ScheduleConfig, method_class
from vdalib.data import build_dataset, completed
from vdalib.data.loader import training_batches
from vdalib.io import atomic_path, named_errors, require_folder, save_tensors
from vdalib.progress import Bar, progress_bar
from vdalib.training import checkpoints
from vdalib.training.devices import accelerator_for
from vdalib.training.interrupts import deferred_interrupt
from vdalib.training.step import Step

_TAMER = "lower schedule.learning_rate (and mixture.learning_rate, where there is a mixture) or try precision=no"


def learning_rate_factor(step: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up, then polynomial decay to zero at `total_steps` ([P] annex)."""
    if step < schedule.lr_warmup:
        return 1 - (1 - step / schedule.lr_warmup) * (1 - 1e-6)
    return (1 - step / schedule.total_steps) ** schedule.lr_power


class Trainer:
    """Trains the method that the configuration names in a run directory, and goes on from the last checkpoint there.

    The run directory holds config.yaml, metrics.jsonl, segmenter.safetensors (all that inference needs), memory.safetensors (what
    the method keeps beside it) and checkpoints/. Every random number of step i is drawn from (seed, i), so a resumed run equals
    one that never stopped. The parts of the method that the trainer uses are those of `vdalib.methods.base.Method`.
    """

    def __init__(self, config: Config, run_dir: str | Path, dataset=None):
        self.config = config = completed(config)
        self.run_dir = Path(run_dir)
        require_folder(self.run_dir)
        self.accelerator = accelerator_for(config.precision, config.tracker, self.run_dir)
        self.device = self.accelerator.device
        torch.manual_seed(config.seed)
        self.dataset = dataset if dataset is not None else build_dataset(config.data, config.data.train_split, config.seed)
        self.method = method_class(config.method)(config, self.dataset.class_names, self.device)
        patch, crop = self.method.network.patch_size, config.data.crop
        if crop % patch:
            near = " or ".join(str(patch * count) for count in (crop // patch, crop // patch + 1) if count)
            raise ValueError(f"data.crop: {crop} px are not whole patches of {patch} px; choose {near}")
        self.method.share(self.accelerator.process_index, self.accelerator.num_processes)
        groups = [{"base_lr": config.schedule.learning_rate, **group} for group in self.method.parameter_groups()]
        optimizer = torch.optim.AdamW(groups, lr=config.schedule.learning_rate, weight_decay=config.schedule.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(self.method.model, optimizer)
        self.step = 0
        self.resume()

    def fit(self, until: int | None = None, validate: Callable[[nn.Module], dict[str, float]] | None = None) -> None:
        """Train to `total_steps`, or only until the given step; writes metrics.jsonl and checkpoints.

        validate: is given the method's network every `schedule.validate_every` steps; what it measures joins that step's metrics.

        Raises ValueError where another model lies in the run directory, where another process trains in it, and at the first loss
        that is not finite, naming step and term; the last checkpoint stays. Ctrl+C ends the step, writes a checkpoint and raises
        KeyboardInterrupt; where there are several processes it only stops.
        """
        schedule, total = self.config.schedule, self.config.schedule.total_steps
        with self._in_run_dir(), self._tracked(), deferred_interrupt(self.accelerator.num_processes == 1) as interrupted:
            batches = training_batches(
                self.dataset,
                self.config,
                self.step,
                self.accelerator.num_processes,
                self.accelerator.process_index,
                self.method.views,
            )
            stop = total if until is None else min(until, total)
            stage = self.method.stages[self.method.stage(min(self.step, total - 1))]
            bar = progress_bar(
                total=total, initial=self.step, desc=stage, unit="step", disable=not self.accelerator.is_main_process
            )
            pending, started = [], time.perf_counter()
            for batch in batches if self.step < stop else ():
                batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
                terms = self.train_step(batch)
                pending.append((self.step, self.optimizer.param_groups[0]["lr"], terms))
                self.step += 1
                interrupt = interrupted()
                at_checkpoint = interrupt or self.step in self.method.stage_ends or self.step % schedule.checkpoint_every == 0
                at_validation = validate is not None and schedule.validate_every and self.step % schedule.validate_every == 0
                if len(pending) == 10 or at_checkpoint or at_validation or self.step == stop:
                    elapsed = time.perf_counter() - started
                    measures = validate(self.method.network) if at_validation else {}
                    self._log(pending, measures, len(pending) * schedule.batch_size / elapsed, bar)
                    pending, started = [], time.perf_counter()
                bar.update()
                if at_checkpoint:
                    self.save_checkpoint()
                if interrupt:
                    where = checkpoints.folder(self.run_dir, self.step)
                    raise KeyboardInterrupt(
                        f"after step {self.step} of {total}, saved in {where}; the same command goes on from there"
                    )
                if self.step == stop:
                    break
            bar.close()

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step on a batch of `training_batches`; returns what is logged, still on the device."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        factor = learning_rate_factor(self.step, self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.model.train()
        step = Step(
            self.step,
            self.config.schedule.total_steps,
            self.method.stage(self.step),
            self.model,
            lambda count: self.accelerator.reduce(count, "sum"),
            self.accelerator.gather,
        )
        terms, seen = self.method.loss_terms(batch, step)
        # Each process has its part of every loss; gradients and logged values are averaged over processes.
        terms = {name: self.accelerator.num_processes * part for name, part in terms.items()}
        loss = sum(self.method.loss_weights.get(name, 1) * term for name, term in terms.items())
        with record_function("segmenter backward"):
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
        with record_function("optimiser"):
            self.optimizer.step()
        terms |= {"loss": loss, **self.method.after_step(seen, step)}
        return {name: value.detach() for name, value in terms.items()}

    def _log(
        self,
        pending: list[tuple[int, float, dict[str, Tensor]]],
        measures: dict[str, float],
        images_per_second: float,
        bar: Bar,
    ) -> None:
        """Write the rows of steps with their learning rates and values; `measures` belong to the last."""
        rows = []
        for step, rate, terms in pending:
            values = self.accelerator.reduce(torch.stack([*terms.values()]).float(), "mean")
            finite = values.isfinite().tolist()
            values = dict(zip(terms, values.tolist()))
            if bad := [name for name, good in zip(terms, finite) if not good]:
                what = f"{', '.join(bad)} is not finite ({values[bad[0]]})"
                raise ValueError(f"{self.run_dir}: step {step}: {what}; {_TAMER}; the last checkpoint is as it was")
            rows.append({"step": step, "stage": self.method.stage(step), **{k: round(v, 6) for k, v in values.items()}})
            rows[-1] |= {"learning_rate": float(f"{rate:.6g}"), "time": round(time.time(), 3)}
        rows[-1] |= {name: round(value, 4) for name, value in measures.items()}
        for row in rows:
            self.accelerator.log(row, step=row["step"])
        if not self.accelerator.is_main_process:
            return
        with named_errors(self.run_dir / "metrics.jsonl") as path, open(path, "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        bar.set_description_str(self.method.stages[rows[-1]["stage"]], refresh=False)
        shown = {"loss": f"{rows[-1]['loss']:.3f}", "images/s": f"{images_per_second:.1f}"}
        bar.set_postfix(shown | {name: f"{value:.1f}" for name, value in measures.items()}, refresh=False)

    # the run directory

    def save_checkpoint(self) -> None:
        """The whole state in checkpoints/step_N, renamed when complete, then weights at the top of the run directory.

        Older checkpoints go, but for the newest `schedule.keep` and the ends of stages.
        """
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._write_checkpoint()
        self._newest = self.step
        self.accelerator.wait_for_everyone()  # else another process may open the weights of an earlier step

    def _write_checkpoint(self) -> None:
        parts = {"model": self._bare_model.state_dict(), "memory": self.method.memory.state_dict()}
        if bad := [key for part in parts.values() for key, value in part.items() if not value.isfinite().all()]:
            raise ValueError(
                f"{self.run_dir}: step {self.step}: weights are not finite ({bad[0]}); {_TAMER}; no checkpoint is written"
            )
        parts |= {f"optimizer_{i}": checkpoints.optimizer_tensors(optimizer) for i, optimizer in enumerate(self._optimizers)}
        scaler = self.accelerator.scaler
        facts = {"scaler": scaler.state_dict() if scaler else None, "labels": self._labels}
        checkpoints.write(self.run_dir, self.step, parts, facts)
        self.save_weights()
        self._prune()

    def _prune(self) -> None:
        if gone := checkpoints.prune(self.run_dir, self.step, self.config.schedule.keep, self.method.stage_ends):
            kept = f"ends of stages and the newest {self.config.schedule.keep} stay (schedule.keep)"
            Bar.write(f"{self.run_dir}: removed the checkpoint of step {', '.join(map(str, gone))}; {kept}")

    def save_weights(self) -> None:
        """What inference needs and what the method keeps beside it, with the step that they are of."""
        for name, module in (("segmenter", self.method.network.trained), ("memory", self.method.memory)):
            save_tensors(self.run_dir / f"{name}.safetensors", module.state_dict(), {"step": str(self.step)})

    def resume(self) -> None:
        """Go on from the last intact checkpoint, if there is one; the number of processes may be another."""
        self._newest = max(checkpoints.steps(self.run_dir), default=None)
        last = gather_object([self._newest])
        if len({*last}) > 1:
            seen = ", ".join("none" if step is None else str(step) for step in last)
            raise ValueError(f"{self.run_dir}: processes see different checkpoints (steps {seen}); put it on a shared disk")
        if last[0] is None or (found := checkpoints.latest(self.run_dir, self.device)) is None:
            return
        self._require_same_config()
        step, parts, facts = found
        if step > self.config.schedule.total_steps:
            where = checkpoints.folder(self.run_dir, step)
            raise ValueError(f"{where}: lies beyond schedule.total_steps ({self.config.schedule.total_steps}); delete it")
        self._bare_model.load_state_dict(parts["model"])
        self.method.memory.load_state_dict(parts["memory"])
        for i, optimizer in enumerate(self._optimizers):
            checkpoints.load_optimizer(optimizer, parts[f"optimizer_{i}"])
        if facts.get("labels") not in (None, self._labels):  # None: PartWorld's follow from the settings
            where = checkpoints.folder(self.run_dir, step)
            raise ValueError(
                f"{where}: trained with other images or image-level labels than are there now; use another run directory"
            )
        if facts["scaler"]:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        self.step = step

    @cached_property
    def _labels(self) -> str | None:
        """A fingerprint of the training images' names and labels where the data set has a list of them."""
        if not hasattr(self.dataset, "labels"):
            return None
        names = json.dumps(self.dataset.names).encode()
        return hashlib.sha256(names + self.dataset.labels.numpy().tobytes()).hexdigest()

    @property
    def _bare_model(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.model)

    @property
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer, *self.method.optimizers]

    @contextmanager
    def _in_run_dir(self) -> Iterator[None]:
        """In the run directory, where no other training writes meanwhile; a dead process holds no lock."""
        if not self.accelerator.is_main_process:
            self._enter_run_dir()
            yield
            return
        self.run_dir.mkdir(parents=True, exist_ok=True)
        owner, lock = self.run_dir / ".training", FileLock(self.run_dir / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            raise ValueError(
                f"{self.run_dir}: {who} trains here; wait for it, stop it, or choose another run directory"
            ) from None
        try:
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            self._enter_run_dir()
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    def _enter_run_dir(self) -> None:
        """Begin, or find everything as the checkpoint left it; what was written after it goes."""
        if max(checkpoints.steps(self.run_dir), default=0) > (self._newest or self.step):  # another process went on meanwhile
            self.resume()
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        weights, memory, config = (self.run_dir / name for name in ("segmenter.safetensors", "memory.safetensors", "config.yaml"))
        if config.exists():
            self._require_same_config()
        if self.step == 0 and weights.exists():
            raise ValueError(
                f"{weights}: a trained model without a checkpoint to go on from; use another run directory or delete it"
            )
        self.config.save(config)
        if self.step and {checkpoints.step_of(weights), checkpoints.step_of(memory)} != {self.step}:
            self.save_weights()  # a process was killed between checkpoint and weights
        self._forget_metrics_after(self.step)
        self._prune()  # a killed process may not have come to it

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """The tracker, if there is one, is open meanwhile; TensorBoard, too, forgets the steps after the checkpoint."""
        if self.config.tracker:
            told = None if self.config.tracker == "tensorboard" else self.config.to_dict()  # which takes flat settings only
            self.accelerator.init_trackers("vdalib", told, {"tensorboard": {"purge_step": self.step}})
        try:
            yield
        finally:
            for tracker in self.accelerator.trackers:  # end_training would end the processes, too
                tracker.finish()
            self.accelerator.trackers.clear()

    def _require_same_config(self) -> None:
        path = self.run_dir / "config.yaml"
        saved = Config.of_run(self.run_dir)
        if changes := "; ".join(saved.differences(self.config).values()):
            raise ValueError(f"{path}: {changes}; use another run directory or delete this one")

    def _forget_metrics_after(self, step: int) -> None:
        path = self.run_dir / "metrics.jsonl"
        if path.exists():
            kept = [line for line in path.read_text(errors="replace").splitlines() if _row_step(line) < step]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))


def _row_step(line: str) -> float:
    """The step of a row of metrics.jsonl; infinity for one that was cut short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
