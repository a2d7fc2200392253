"""A small CLIP with random weights in place of PartWorld's, so that a test trains in a second; the wheel, installed."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_runs import run

from vdalib.clip import loading
from vdalib.clip.sentences import class_statements
from vdalib.clip.text import reduced_vocabulary
from vdalib.config import ClipConfig
from vdalib.data.coco import COCO_CLASSES
from vdalib.data.partworld import CLASSES, COLOURS, KIND_NAMES, PARTS
from vdalib.data.voc import VOC_CLASSES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def the_same_threads():
    """Benchmarks set the number of threads; even to the same number, that changes the last bits of later sums in a process.

    Processes that load images have one each, as ever: a forked one would wait for ever for the threads that it lacks.
    """
    process, set_threads = os.getpid(), torch.set_num_threads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda count: None if os.getpid() == process else set_threads(count))
        yield


@pytest.fixture(scope="session")
def random_clip_folder(tmp_path_factory):
    """clip.json, vocabulary.json (all data sets' words) and clip.safetensors; sharp enough to tell images apart."""
    from open_clip.model import CLIP

    said = {words for _, words in class_statements(CLASSES, PARTS, COLOURS)}
    names = {*said, *KIND_NAMES, *VOC_CLASSES, *COCO_CLASSES, *ClipConfig().background_prompts}
    vocabulary = reduced_vocabulary(ClipConfig().templates[0].format(name) for name in sorted(names))
    config = {
        "embed_dim": 16,
        "init_logit_bias": -4.0,
        "vision_cfg": {"image_size": 96, "patch_size": 8, "width": 24, "layers": 6, "head_width": 8},
        "text_cfg": {"context_length": 16, "width": 16, "heads": 2, "layers": 1, "vocab_size": len(vocabulary)},
    }
    folder = tmp_path_factory.mktemp("clip")
    (folder / "clip.json").write_text(json.dumps(config))
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = CLIP(**config).state_dict()
    weights["visual.conv1.weight"] *= 3
    save_file(weights, folder / "clip.safetensors")
    return folder


@pytest.fixture(scope="module")
def random_clip(random_clip_folder):
    """`clip.model: partworld` is the small random CLIP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "SMALL_CLIP", random_clip_folder)
        yield


@pytest.fixture(scope="module")
def reference(tmp_path_factory, random_clip):
    """The run directory of QUICK, never stopped."""
    return run(tmp_path_factory.mktemp("reference")).run_dir


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def scripts(wheel, tmp_path_factory):
    """The scripts of an environment whose only package is the wheel; what that needs is lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip(f"--python={folder}/bin/python", "install", "--no-deps", wheel)
    lent = next(folder.glob("lib/python*/site-packages")) / "lent.pth"
    lent.write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))  # their .pth files are not read
    return folder / "bin"


@pytest.fixture(scope="session")
def installed(scripts):
    """Runs a script of that environment in a folder; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}

    def run_in(folder, name, *arguments):
        command = [scripts / name, *arguments]
        made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        return made.stdout

    return run_in
