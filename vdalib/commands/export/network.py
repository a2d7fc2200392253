"""A run's network as one ONNX graph: CLIP's image tower, adapter and decoder, for any number and size of images."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import torch
from torch import nn

from vdalib.inference import Predictor


def export_network(run_dir: str | Path, folder: Path) -> None:
    """Write model.onnx, which names its classes in its metadata, and segment.py, ten lines that segment a file with it.

    B, H and W are free; weights and arithmetic are single precision. Raises ImportError with the cure where onnx and
    onnxscript are missing or torch is too old, and what `Predictor.from_run` raises.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ImportError as error:
        raise ImportError(f"--format onnx needs {error.name}: pip install '.[export]'") from error
    if torch.__version__ < (2, 14):  # 2.6 and 2.8 cannot export sizes that are free; those between are not tried
        raise ImportError(f"--format onnx needs torch 2.14, found {torch.__version__}: pip install '.[export]'")
    predictor = Predictor.from_run(run_dir)
    settings = predictor.config.inference
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        program = torch.onnx.export(traced(predictor.network), input_names=["images"], output_names=["logits"], dynamo=True)
    facts = {"classes": ["background", *predictor.class_names], "patch_size": predictor.network.patch_size}
    facts |= {"size": settings.size, "square": settings.square}
    model = program.model_proto  # made anew each time it is asked for
    onnx.helper.set_model_props(model, {name: json.dumps(fact) for name, fact in facts.items()})
    onnx.save(model, folder / "model.onnx")
    shutil.copyfile(Path(__file__).with_name("example.py"), folder / "segment.py")


def traced(network: nn.Module) -> torch.export.ExportedProgram:
    """The graph of a network, images (B, 3, H, W) to logits, with B, H and W free; H and W are whole patches."""
    patch = network.patch_size
    batch, rows, columns = (torch.export.Dim(name, min=1, max=4096) for name in ("batch", "rows", "columns"))
    images = torch.rand(2, 3, 4 * patch, 5 * patch)  # any: all three differ, so that none is taken for another
    return torch.export.export(
        network.eval().requires_grad_(False), (images,), dynamic_shapes=({0: batch, 2: patch * rows, 3: patch * columns},)
    )
