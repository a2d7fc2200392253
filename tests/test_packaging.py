import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vdalib import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPI_NAMES = {
    "pytorch": "torch",
    "open-clip-torch": "open_clip_torch",
}  # where conda-forge calls it otherwise
pytestmark = pytest.mark.skipif(not (ROOT / "environment.yml").exists(), reason="not a source checkout")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def bounds(requirements):
    """{name: bounds as written}, without those of some Python versions only."""
    matches = (re.fullmatch(r"([\w.-]+)(\W.*)?", requirement) for requirement in requirements if ";" not in requirement)
    return {PYPI_NAMES.get(name, name): bound for name, bound in map(re.Match.groups, matches)}


def wanted():
    declared = project()["project"]
    return bounds(declared["dependencies"] + declared["optional-dependencies"]["test"])


def test_conda_and_pip_install_the_same_packages():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    from_pip = next(item["pip"] for item in listed if isinstance(item, dict))
    conda = bounds([item for item in listed if isinstance(item, str)] + [x for x in from_pip if x != "-e ."])
    assert conda.pop("pip") is None
    assert conda.pop("python") == project()["project"]["requires-python"]
    assert conda == wanted()


def test_the_constraints_are_the_oldest_dependencies_that_are_allowed():
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    lower = {name: bound.removeprefix(">=") for name, bound in wanted().items() if "<" not in bound}
    assert oldest == lower


def test_every_folder_with_code_is_a_package():
    for folder in {path.parent for path in (ROOT / "vdalib").rglob("*.py")}:
        assert (folder / "__init__.py").exists(), f"{folder} is not a package"


def test_the_version_has_one_source():
    assert project()["tool"]["hatch"]["version"]["path"] == "vdalib/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_says_at_once_that_a_python_is_too_old(tmp_path):
    old = tmp_path / "python"
    code = f"import sys; sys.version_info = (3, 9, 18); sys.executable = {str(old)!r}; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$2"\n')
    old.chmod(0o755)
    command = ["make", "run", f"PYTHON={old}", f"VENV={tmp_path}/env"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert made.returncode
    assert f"error: {old} is Python 3.9, the workbook needs 3.10 or newer" in made.stderr
    assert not (tmp_path / "env").exists()
