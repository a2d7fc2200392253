"""The wheel in an environment of its own, used from a folder that knows nothing of the checkout."""

import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a source checkout"),
]


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


def test_the_installed_package_finds_its_own_notebooks_clip_and_presets(installed, scripts, tmp_path):
    code = "import vdalib.clip.loading as clip; import vdalib.commands.notebooks as run; print(run.NOTEBOOKS, clip.SMALL_CLIP)"
    notebooks, clip = map(Path, installed(tmp_path, "python", "-c", code).split())
    assert notebooks.is_relative_to(scripts.parent) and clip.is_relative_to(scripts.parent)
    assert {path.name for path in notebooks.glob("*.ipynb")} == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert (clip / "clip.safetensors").is_file()
