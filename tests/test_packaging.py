import re
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
    """{name: lower bound}, without those of some Python versions only."""
    found = {}
    for requirement in requirements:
        if ";" in requirement:
            continue
        name, bound = re.fullmatch(r"([\w.-]+)(?:>=([\d.]+))?", requirement).groups()
        found[PYPI_NAMES.get(name, name)] = bound
    return found


def test_conda_and_pip_install_the_same_packages():
    declared = project()["project"]
    wanted = bounds(declared["dependencies"] + declared["optional-dependencies"]["test"])
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    from_pip = next(item["pip"] for item in listed if isinstance(item, dict))
    conda = bounds([item for item in listed if isinstance(item, str)] + [x for x in from_pip if x != "-e ."])
    assert conda.pop("pip") is None
    assert ">=" + conda.pop("python") == declared["requires-python"]
    assert conda == wanted


def test_every_preset_and_subpackage_is_packaged():
    settings = project()["tool"]["setuptools"]
    patterns = settings["package-data"]["vdalib"]
    packaged = {path for pattern in patterns for path in (ROOT / "vdalib").glob(pattern)}
    assert packaged >= set((ROOT / "vdalib" / "config" / "presets").iterdir())
    assert settings["packages"]["find"]["include"] == ["vdalib*"]
    for folder in {path.parent for path in (ROOT / "vdalib").rglob("*.py")}:
        assert (folder / "__init__.py").exists(), f"{folder} is not a package"


def test_the_version_has_one_source():
    assert project()["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "vdalib.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
