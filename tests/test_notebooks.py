"""Every tracked notebook is a test case: it is clean and runs on the smoke preset from top to bottom, two by `vdalib run`.

Those that show a run are executed once more by nbval, which compares what they show; 00, 01 and 04 run once.
"""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from vdalib.commands.notebooks import check_parameters, execute
from vdalib.evaluation.measures import MEASURES, Measures

ROOT = Path(__file__).parents[1]
SMOKE = {"preset": "partworld-smoke", "seed": 1}
RUN = ("02_staged_training", "05_evaluation")  # the notebooks of `vdalib run`
OF_A_RUN = ("02_staged_training", "03_attribute_cams", "05_evaluation")
PARAMETERS = {
    "00_the_world": {"num_images": 24, "num_layouts": 2000},
    "01_loss_derivation": {"seed": 1, "steps": 50, "samples": 2000},
    "03_attribute_cams": SMOKE | {"num_images": 12, "num_measured": 60, "second": {"mixture.patch_attributes": 2}},
    "04_efficiency": SMOKE | {"repeats": 2},
}
KNOWN_TAGS = {"parameters", "nbval-ignore-output"}
MACHINE_PATH = re.compile(r"(?<![\w.])(/(work|root|tmp|home|Users|mnt)/|[A-Z]:\\\\)")
SIZE_CAP = 1_500_000  # bytes
pytestmark = pytest.mark.skipif(not (ROOT / "notebooks").exists(), reason="not a source checkout")


def tracked_notebooks():
    listed = subprocess.run(
        ["git", "ls-files", "notebooks/*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    return [ROOT / name for name in listed] or sorted((ROOT / "notebooks").glob("*.ipynb"))


every_notebook = pytest.mark.parametrize("path", tracked_notebooks(), ids=lambda path: path.stem)


def texts(value, key=""):
    """All strings of a notebook but the pictures."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part, key)
    elif isinstance(value, str) and not key.startswith("image/"):
        yield value


@every_notebook
def test_notebook_is_clean(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    ids = [cell.get("id") for cell in book.cells]
    assert None not in ids and len(set(ids)) == len(ids)
    tags = [tag for cell in book.cells for tag in cell.metadata.get("tags", ())]
    assert tags.count("parameters") == 1
    assert set(tags) <= KNOWN_TAGS
    assert path.stat().st_size <= SIZE_CAP
    for text in texts(json.loads(path.read_text(encoding="utf-8"))):
        found = MACHINE_PATH.search(text)
        assert not found, f"{path.name}: a path of some machine: ...{text[max(found.start() - 40, 0) :][:100]}..."


@every_notebook
def test_notebook_was_executed_in_order_and_without_errors(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(cell.source.endswith(";") for cell in cells), "nbval shows the last value all the same: plt.show()"
    kinds = {output.get("name", output.output_type) for cell in cells for output in cell.outputs}
    assert not kinds & {"error", "stderr", "execute_result"}, "what a cell shows is printed or drawn, not its last value"


@pytest.fixture(scope="module")
def run_dir(installed, tmp_path_factory):
    """One run directory for all notebooks, made by `vdalib run` of the installed wheel, which executes RUN."""
    folder = tmp_path_factory.mktemp("notebooks")
    run_dir = folder / "runs" / "partworld-smoke"
    assert str(run_dir) in installed(folder, "vdalib", "run", "--preset", "partworld-smoke", "seed=1")
    return run_dir


@pytest.mark.slow
def test_the_installed_package_runs_the_smoke_preset_from_any_folder(run_dir):
    made = {path.name for path in run_dir.iterdir()}
    assert {"segmenter.safetensors", "metrics.json", *(f"{name}.ipynb" for name in RUN)} <= made
    assert [path.name for path in run_dir.parents[1].iterdir()] == ["runs"]
    measured = Measures.of_run(run_dir)
    assert set(measured.table) <= set(MEASURES) and set(measured.per_class) == {"miou", "miou_ms", "miou_ms_crf"}
    assert len(list((run_dir / "masks").glob("val_*.png"))) == 6


@pytest.fixture(scope="module")
def executed(run_dir):
    """Notebooks in the run directory, each executed once; those that `vdalib run` has not made import the library from here."""

    @functools.cache
    def found(path):
        if path.stem not in RUN:
            assert path.stem in PARAMETERS, f"{path.name}: give it smoke parameters in this file"
            run = {"run_dir": str(run_dir)} if path.stem == "03_attribute_cams" else {}
            execute(path, run_dir / path.name, PARAMETERS[path.stem] | run, cwd=run_dir)
        return run_dir / path.name

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        yield found


@pytest.mark.slow
@every_notebook
def test_notebook_runs_headless_from_another_folder(path, executed):
    outputs = [o for cell in nbformat.read(executed(path), as_version=4).cells for o in cell.get("outputs", ())]
    warned = [o.text for o in outputs if o.get("name") == "stderr"]
    assert not warned, f"{path.name}: writes to stderr: {warned[0][:300]}"
    assert any("image/jpeg" in o.get("data", {}) for o in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_A_RUN)
def test_notebook_of_a_run_has_the_same_outputs_again(name, executed):
    """nbval knows no parameters, so it is given the executed copy, which has them."""
    path = executed(ROOT / "notebooks" / f"{name}.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q", path.name]
    again = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    assert again.returncode == 0, f"{name}: {again.stdout[-3000:]}"


def test_misspelt_parameters_are_refused_before_anything_starts(tmp_path):
    path = ROOT / "notebooks" / "02_staged_training.ipynb"
    with pytest.raises(ValueError, match=r"02_staged_training.ipynb: unknown parameter 'presett'; .*'preset'"):
        execute(path, tmp_path / "out.ipynb", {"presett": "voc12"}, cwd=tmp_path)
    assert not list(tmp_path.iterdir())

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1")])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "plain.ipynb")
    with pytest.raises(ValueError, match="plain.ipynb: unknown parameter 'a'; it has no cell tagged"):
        check_parameters(tmp_path / "plain.ipynb", {"a": 2})
