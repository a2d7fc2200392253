"""Sweeps: every combination once, nothing twice, nothing at all where a name is wrong."""

import csv

import nbformat
import pytest

from vdalib.commands.cli import main
from vdalib.commands.sweep import FINISHED, Sweep, summary

PARAMETERS = 'preset: str = "partworld-smoke"\nrun_dir: str = ""\nseed: int = 0\noverrides: dict = {}\nsize: int = 1'
MEASURE = """
import json
from pathlib import Path
with open(Path(run_dir) / "calls", "a") as file:
    file.write("x")
assert size != 13, "thirteen is out"
value = size + seed + 100 * overrides.get("mixture.attributes", 0)
(Path(run_dir) / "metrics.json").write_text(json.dumps({"table": {"value": float(value)}}))
"""


@pytest.fixture
def notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(MEASURE)]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "measure.ipynb")
    return tmp_path / "measure.ipynb"


def grid_file(notebook, text):
    path = notebook.parent / "grid.yaml"
    path.write_text(f"notebook: {notebook}\nout: {notebook.parent / 'out'}\n{text}")
    return path


def test_sweep_runs_every_combination_once_and_lists_what_failed(notebook, capsys):
    text = "seeds: [0, 1]\nparameters: {size: [1, 13], mixture.attributes: [3]}\n"
    path = grid_file(notebook, text)
    with pytest.raises(SystemExit, match="1"):
        main(["sweep", str(path)])
    printed = capsys.readouterr().out
    assert "| 1 | 2 | 301.5 ± 0.5 |" in printed
    assert "2 of 4 failed" in printed and "thirteen is out" in printed
    plan = Sweep.from_yaml(path)
    folders = [plan.folder(given) for given in plan.combinations()]
    assert len(set(folders)) == 4
    assert [(folder / FINISHED).exists() for folder in folders] == [True, True, False, False]
    assert all(str(folder / "measure.ipynb") in printed for folder in folders[2:])
    with open(plan.out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["301.0", "302.0", "", ""]

    text = text.replace("13]", "2]")  # a repaired grid: what has finished is not repeated
    outcomes = Sweep.from_yaml(grid_file(notebook, text)).run()
    assert [(outcome.folder / "calls").read_text() for outcome in outcomes] == ["x"] * 4
    assert [outcome.metrics["value"] for outcome in outcomes] == [301, 302, 302, 303]
    assert "301.5 ± 0.5" in summary(outcomes)


def test_a_changed_notebook_is_another_run_and_changed_outputs_are_not(notebook):
    plan = Sweep(notebook)
    folder = plan.folder({"seed": 0})
    book = nbformat.read(notebook, as_version=4)
    book.cells[1].execution_count = 7
    nbformat.write(book, notebook)
    assert Sweep(notebook).folder({"seed": 0}) == folder
    book.cells[1].source += "\n# more"
    nbformat.write(book, notebook)
    assert Sweep(notebook).folder({"seed": 0}) != folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {sise: [1]}", r"unknown parameter 'sise'; the nearest known one is 'size'"),
        ("parameters: {mixture.atributes: [3]}", r"mixture.atributes|atributes"),
        ("parameters: {preset: [no-such-preset]}", r"no-such-preset"),
        ("seds: [0]", r"unknown key 'seds' \(known: notebook"),
        ("seeds: []", r"expected at least one of each"),
        ("parameters: [", r"not valid YAML"),
    ],
)
def test_a_misspelt_grid_is_refused_before_anything_starts(notebook, text, message):
    path = grid_file(notebook, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Sweep.from_yaml(path)
    assert not (notebook.parent / "out").exists()


def test_a_missing_notebook_or_an_empty_grid_is_named(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("notebook: 99_nothing\n")
    with pytest.raises(FileNotFoundError, match="grid.yaml: notebook: no file .*99_nothing.ipynb"):
        Sweep.from_yaml(path)
    path.write_text("[1, 2]\n")
    with pytest.raises(ValueError, match="grid.yaml: expected keys, among them `notebook"):
        Sweep.from_yaml(path)
