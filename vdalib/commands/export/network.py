"""A run's network as one ONNX graph: CLIP's image tower, adapter and decoder, for any number and size of images."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import torch

from vdalib.commands.export import example
from vdalib.inference import Predictor


def export_network(run_dir: str | Path, folder: Path) -> None:
    """Write model.onnx, which names its classes in its metadata, and segment.py, ten lines that segment a file with it.

    B, H and W are free; weights and arithmetic are single precision. Raises ImportError with the cure where onnx and
    onnxscript are missing, and what `Predictor.from_run` raises.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ImportError as error:
        raise ImportError(f"--format onnx needs {error.name}: pip install 'vda-workbook[export]'") from error
    predictor = Predictor.from_run(run_dir)
    patch, size = predictor.network.patch_size, predictor.config.inference.size
    batch, rows, columns = (torch.export.Dim(name, min=1, max=4096) for name in ("batch", "rows", "columns"))
    sides = {0: batch, 2: patch * rows, 3: patch * columns}
    images = torch.rand(2, 3, 4 * patch, 5 * patch)  # any: all three differ, so that none is taken for another
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        program = torch.onnx.export(
            predictor.network.requires_grad_(False),
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": sides},
        )
    model = program.model_proto
    facts = {"classes": json.dumps(["background", *predictor.class_names]), "patch_size": str(patch), "size": json.dumps(size)}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, folder / "model.onnx")
    shutil.copyfile(example.__file__, folder / "segment.py")
