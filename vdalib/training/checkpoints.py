"""Checkpoints: folders that are complete or not there, checked before they are trusted, and no pickle in them.

RUN/checkpoints/step_N/ holds tensors as NAME.safetensors and, written last, manifest.json: facts about the run, and the size and
SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vdalib.io import save_tensors, write_json

MANIFEST = "manifest.json"


def folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run_dir / "checkpoints" / f"step_{step:07d}"


def steps(run_dir: Path) -> list[int]:
    """The steps that have a checkpoint, damaged ones among them, in order; folders of other names are not ours."""
    names = (re.fullmatch(r"step_(\d{7,})", path.name) for path in (run_dir / "checkpoints").glob("step_*"))
    return sorted(int(name[1]) for name in names if name)


def step_of(weights: Path) -> int | None:
    """Of which step the weights at the top of a run directory are; None where the file is missing or does not say."""
    try:
        with safe_open(weights, "pt") as file:
            return int((file.metadata() or {})["step"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def write(run_dir: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Write parts {name: {key: tensor}} and facts as the checkpoint of a step."""
    final = folder(run_dir, step)
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, tensors in parts.items():
        save_tensors(partial / f"{name}.safetensors", tensors)
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in sorted(partial.iterdir())}
    write_json(partial / MANIFEST, {**facts, "step": step, "files": files})
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def read(run_dir: Path, step: int, device: str | torch.device = "cpu") -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The parts and facts of a checkpoint; ValueError naming the file that is missing or not as it was written."""
    where = folder(run_dir, step)
    facts = _manifest(where)
    for name, file in facts["files"].items():
        path = where / name
        if not path.exists() or path.stat().st_size != file["bytes"] or _digest(path) != file["sha256"]:
            raise ValueError(
                f"{path}: {'damaged' if path.exists() else 'missing'}; delete {where} to go on from an older checkpoint"
            )
    return {Path(name).stem: load_file(where / name, device=str(device)) for name in facts["files"]}, facts


def latest(run_dir: Path, device: str | torch.device = "cpu") -> tuple[int, dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """Step, parts and facts of the newest intact checkpoint; what is passed over is said in a warning. None without any."""
    for step in reversed(steps(run_dir)):
        try:
            return step, *read(run_dir, step, device)
        except ValueError as error:
            warnings.warn(f"{error}; going on from an older one", stacklevel=2)
    return None


def prune(run_dir: Path, newest: int, keep: int, always: Iterable[int]) -> list[int]:
    """Remove all but the last `keep` checkpoints up to step `newest` and those of the steps in `always`; returns what went.

    Later ones are damaged, or training would be there, and count for nothing. What killed processes left goes, too.
    """
    for left in (run_dir / "checkpoints").glob("step_*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    gone = [step for step in [step for step in steps(run_dir) if step <= newest][:-keep] if step not in {*always}]
    for step in gone:
        where = folder(run_dir, step)
        doomed = where.with_name(where.name + ".partial")  # so that no half of it is ever taken for a checkpoint
        where.rename(doomed)
        shutil.rmtree(doomed)
    return gone


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as {"parameter.name": tensor}; its groups are the configuration's."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, name = key.split(".")
        state.setdefault(int(i), {})[name] = value.cpu() if name == "step" else value  # else each step waits for the device
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _manifest(where: Path) -> dict[str, Any]:
    path = where / MANIFEST
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if {"scaler", "step"} <= facts.keys() and all({"bytes", "sha256"} <= file.keys() for file in facts["files"].values()):
            return facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"{path}: missing or damaged; delete {where} to go on from an older checkpoint")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
