"""The network as an ONNX graph: the same answers as `Predictor`, at any size, by onnxruntime alone."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

onnx = pytest.importorskip("onnx", reason="pip install '.[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install '.[export]'")
pytest.importorskip("onnxscript", reason="pip install '.[export]'")

from vdalib.commands.export import export  # noqa: E402
from vdalib.commands.export.example import segment  # noqa: E402
from vdalib.commands.export.network import traced  # noqa: E402
from vdalib.config import Config, method_class  # noqa: E402
from vdalib.data import class_names  # noqa: E402
from vdalib.inference import Predictor  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
    pytest.mark.skipif(torch.__version__ < (2, 14), reason="pip install '.[export]' brings a newer torch"),
]


@pytest.fixture(scope="module")
def exported(reference, tmp_path_factory):
    """(run directory, folder of the export); its bias is such that no class is ahead everywhere."""
    run_dir = shutil.copytree(reference, tmp_path_factory.mktemp("onnx") / "run")
    with torch.no_grad():
        logits = Predictor.from_run(run_dir).network(torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    segmenter = load_file(run_dir / "segmenter.safetensors")
    segmenter["decoder.classify.bias"] -= logits.mean((0, 2, 3))
    save_file(segmenter, run_dir / "segmenter.safetensors")
    return run_dir, export(run_dir, "onnx", run_dir.parent / "out").folder


def test_the_graph_says_what_the_network_says_at_any_number_and_size_of_images(exported):
    run_dir, folder = exported
    network, session = Predictor.from_run(run_dir).network, onnxruntime.InferenceSession(folder / "model.onnx")
    patch = network.patch_size
    for count, rows, columns in ((1, 12, 12), (2, 4, 5), (3, 1, 1), (1, 1, 9), (1, 30, 17)):
        images = torch.rand(count, 3, rows * patch, columns * patch, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            expected = network(images).numpy()
        (logits,) = session.run(None, {"images": images.numpy()})
        assert logits.shape == (count, len(expected[0]), rows, columns)
        np.testing.assert_allclose(logits, expected, atol=1e-3, rtol=0)
        assert np.ptp(expected) > 0.1  # a constant would be no test


def test_the_network_of_a_method_with_a_transformer_of_its_own_is_traced_for_any_number_and_size(random_clip):
    config = Config.from_preset("toco-smoke")
    network = method_class(config.method).build_network(config, class_names(config.data))
    graph = traced(network).module()
    for shape in ((1, 3, 16, 24), (3, 3, 56, 24), (1, 3, 104, 112)):  # guards of torch, not of ONNX, shut out the native grid
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(graph(images), network(images), atol=1e-5, rtol=0)


def test_the_graph_names_its_classes(exported):
    run_dir, folder = exported
    facts = onnxruntime.InferenceSession(folder / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["background", *Predictor.from_run(run_dir).class_names]


@pytest.mark.parametrize("seen", [{"size": None, "square": False}, {"size": 64, "square": False}, {"size": 64, "square": True}])
def test_the_example_segments_a_file_as_the_predictor_does(exported, tmp_path, seen):
    run_dir, folder = exported
    model = onnx.load(folder / "model.onnx")
    facts = {item.key: item.value for item in model.metadata_props}
    assert facts.keys() == {"classes", "patch_size", *seen}
    onnx.helper.set_model_props(model, facts | {name: json.dumps(value) for name, value in seen.items()})
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "run").mkdir()
    Config.of_run(run_dir, {f"inference.{name}": value for name, value in seen.items()}).save(tmp_path / "run" / "config.yaml")
    (tmp_path / "run" / "segmenter.safetensors").write_bytes((run_dir / "segmenter.safetensors").read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(noise).resize((93, 121)).save(tmp_path / "a.png")
    expected = Predictor.from_run(tmp_path / "run").predict(Image.open(tmp_path / "a.png"), multi_scale=False, crf=False)
    found = segment(tmp_path / "model.onnx", tmp_path / "a.png")
    assert found.shape == expected.shape and (found == expected).mean() > 0.999 and len(np.unique(expected)) > 1


def test_the_copied_example_needs_no_vdalib(exported, tmp_path):
    _, folder = exported
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    words = [sys.executable, "-I", str(folder / "segment.py"), str(folder / "model.onnx"), str(tmp_path / "a.png"), "m.png"]
    subprocess.run(words, cwd=tmp_path, check=True)
    assert Image.open(tmp_path / "m.png").size == (40, 30)
    assert "import vdalib" not in (folder / "segment.py").read_text() and "from vdalib" not in (folder / "segment.py").read_text()


def test_missing_libraries_name_the_cure(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"--format onnx needs onnxscript: pip install '\.\[export\]'"):
        export(exported[0], "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())
