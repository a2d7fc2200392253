"""The wheel in an environment of its own, used from a folder that knows nothing of the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a source checkout"),
]


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """The scripts of an environment whose only package is the wheel; what that needs is lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip(f"--python={folder}/bin/python", "install", "--no-deps", wheel)
    lent = next(folder.glob("lib/python*/site-packages")) / "lent.pth"
    lent.write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))  # their .pth files are not read
    return folder / "bin"


@pytest.fixture
def in_folder(scripts, tmp_path):
    """Runs a script of the environment in an empty folder; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}

    def run(name, *arguments):
        command = [scripts / name, *arguments]
        made = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        return made.stdout

    return run


def test_the_wheel_has_code_clip_and_notebooks_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    code = {name for name in listed if name.startswith("vdalib/")}
    taken = ("data/partworld/", "notebooks/", "benchmarks/", "docs/", "RESULTS.md")
    workbook = {f"vdalib/workbook/{name}" for name in listed if name.startswith(taken)}
    assert any(name.endswith("clip.safetensors") for name in workbook)
    assert code | workbook <= names
    assert {name.split("/")[0] for name in names - code} == {"vdalib", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}


def test_the_installed_package_finds_its_own_notebooks_clip_and_presets(in_folder, scripts):
    code = "import vdalib.clip.loading as clip; import vdalib.commands.notebooks as run; print(run.NOTEBOOKS, clip.SMALL_CLIP)"
    notebooks, clip = map(Path, in_folder("python", "-c", code).split())
    assert notebooks.is_relative_to(scripts.parent) and clip.is_relative_to(scripts.parent)
    assert {path.name for path in notebooks.glob("*.ipynb")} == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert (clip / "clip.safetensors").is_file()


def test_the_smoke_preset_runs_from_any_folder(in_folder, tmp_path):
    printed = in_folder("vdalib", "run", "--preset", "partworld-smoke")
    run_dir = tmp_path / "runs" / "partworld-smoke"
    assert str(run_dir) in printed
    made = {path.name for path in run_dir.iterdir()}
    assert {"segmenter.safetensors", "metrics.json", "02_staged_training.ipynb", "05_evaluation.ipynb"} <= made
    assert len(list((run_dir / "masks").glob("val_*.png"))) == 6
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
