"""Notebooks run as programs: papermill, with parameters checked before anything starts and errors in a line."""

from __future__ import annotations

import ast
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vdalib.io import WORKBOOK, atomic_path
from vdalib.progress import STATUS_FILE

NOTEBOOKS = WORKBOOK / "notebooks"
_PLAIN_TYPES = {"bool": bool, "int": int, "float": (int, float), "str": str, "list": list, "dict": dict}


class CellError(RuntimeError):
    """A cell failed: its own message, and where the executed copy is."""


@dataclass(frozen=True)
class Parameter:
    """A line of a notebook's `parameters` cell: its annotation as written, and its default (None where not a literal)."""

    annotation: str
    default: Any


def find_notebooks() -> list[Path]:
    """The workbook's notebooks in their order; FileNotFoundError where there are none."""
    found = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not found:
        raise FileNotFoundError(f"{NOTEBOOKS}: no notebooks there; install vdalib again, or run from a whole source checkout")
    return found


def execute(
    notebook: str | Path,
    output: str | Path,
    parameters: Mapping[str, Any],
    cwd: str | Path,
    watch: Callable[[str], None] | None = None,
) -> None:
    """Run a notebook from top to bottom in `cwd` and write the executed copy to `output`.

    watch: is told about twice a second which cell runs and how far the loop in it is, in a line.

    Raises ValueError for parameters that the notebook's `parameters` cell does not have or that are of another type,
    CellError where a cell fails; the copy is written in that case, too. Ctrl+C is passed on to the cell, which may save its work;
    KeyboardInterrupt follows with what the cell said. A second one stops at once.
    """
    check_parameters(notebook, parameters)
    from papermill import PapermillExecutionError, execute_notebook

    from vdalib.commands.engine import ENGINE

    with _status_file() as status, _told(watch, status) as at_cell:
        environment = {STATUS_FILE: str(status)} if watch else {}
        try:
            execute_notebook(
                notebook,
                output,
                dict(parameters),
                kernel_name="python3",
                engine_name=ENGINE,
                progress_bar=False,
                resources={"metadata": {"path": str(cwd)}},  # papermill's cwd is that of the whole process, threads included
                environment=environment,
                at_cell=at_cell,
            )
        except PapermillExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                raise KeyboardInterrupt(error.evalue) from None
            place = f"cell {error.cell_index + 1} of {output}"
            raise CellError(f"{error.ename}: {' '.join(error.evalue.split())} (see {place})") from error
    _lead_links_back(Path(output))


def _lead_links_back(executed: Path) -> None:
    """Let relative links of a notebook, `](../`, lead from its executed copy to where they led before."""
    try:
        root = quote(os.path.relpath(WORKBOOK, executed.parent).replace(os.sep, "/"))
    except ValueError:  # on another drive
        return
    text = executed.read_text(encoding="utf-8").replace("](../", f"]({root}/")
    with atomic_path(executed) as path:
        path.write_text(text, encoding="utf-8")


def parameters_of(notebook: str | Path) -> dict[str, Parameter]:
    """The parameters of a notebook's cell tagged `parameters`; none where there is no such cell.

    Raises ValueError for what is not a notebook.
    """
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
        nodes = ast.parse("".join(tagged[0]["source"])).body if tagged else []
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        raise ValueError(f"{notebook}: not a notebook with a `parameters` cell that can be read ({error!r})") from None
    found = {}
    for node in nodes:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            found[node.target.id] = Parameter(ast.unparse(node.annotation), _literal(node.value))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = Parameter("", _literal(node.value))
    return found


def check_parameters(notebook: str | Path, given: Mapping[str, Any]) -> None:
    """ValueError for a parameter that the notebook does not have, with the nearest that it has, or of another plain type."""
    known = parameters_of(notebook)
    for name, value in given.items():
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0)
            hint = f"the nearest known one is '{near[0]}'" if near else "it has no cell tagged `parameters`"
            raise ValueError(f"{Path(notebook).name}: unknown parameter '{name}'; {hint}")
        wanted = known[name].annotation
        types = _PLAIN_TYPES.get(wanted, object)
        if not isinstance(value, types) or (isinstance(value, bool) and wanted in ("int", "float")):
            raise ValueError(f"{Path(notebook).name}: parameter '{name}': expected {wanted}, got {value!r}")


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _last_line(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 4096, 0))
            return file.read().decode(errors="replace").rpartition("\n")[0].rpartition("\n")[2]
    except FileNotFoundError:
        return ""


@contextmanager
def _status_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vdalib-") as folder:
        yield Path(folder) / "status"


@contextmanager
def _told(watch: Callable[[str], None] | None, status: Path) -> Iterator[Callable[[int, int], None]]:
    """Tell `watch` of the cell that runs and of the last line in the status file; yields what is to be told of each cell."""
    cell, over = "", threading.Event()

    def at_cell(index: int, cells: int) -> None:
        nonlocal cell
        cell = f"cell {index + 1}/{cells}"
        status.unlink(missing_ok=True)

    def tell() -> None:
        while not over.wait(0.5):
            if cell:
                watch(", ".join(filter(None, (cell, _last_line(status)))))

    teller = threading.Thread(target=tell, daemon=True)
    if watch:
        teller.start()
    try:
        yield at_cell
    finally:
        over.set()
        if watch:
            teller.join()
