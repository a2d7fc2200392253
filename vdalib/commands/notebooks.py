"""Notebooks run as programs: papermill, with parameters checked before anything starts."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vdalib.io import WORKBOOK

NOTEBOOKS = WORKBOOK / "notebooks"


def execute(notebook: str | Path, output: str | Path, parameters: Mapping[str, Any], cwd: str | Path) -> None:
    """Run a notebook from top to bottom in `cwd` and write the executed copy to `output`.

    Raises ValueError for parameters that the notebook's `parameters` cell does not have (papermill would
    ignore them), papermill.PapermillExecutionError where a cell fails; the copy is written in that case, too.
    """
    import papermill

    require_known(notebook, parameters)
    papermill.execute_notebook(notebook, output, dict(parameters), kernel_name="python3", cwd=cwd, progress_bar=False)


def defaults(notebook: str | Path) -> dict[str, Any]:
    """The parameters of a notebook's `parameters` cell with their default values (None where not a literal)."""
    import papermill

    found = papermill.inspect_notebook(str(notebook))
    return {name: _literal(parameter["default"]) for name, parameter in found.items()}


def require_known(notebook: str | Path, names: Iterable[str]) -> None:
    """ValueError for a parameter that the notebook does not have, with the nearest that it has."""
    known = defaults(notebook)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0)
            hint = f"the nearest known one is '{near[0]}'" if near else "it has no cell tagged `parameters`"
            raise ValueError(f"{Path(notebook).name}: unknown parameter '{name}'; {hint}")


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None
