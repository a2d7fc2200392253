"""Numbers as text, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table, first column to the left, the others to the right; numbers with one decimal."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    cells = [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def mean_and_error(values: Sequence[float], digits: int = 1) -> str:
    """The mean with its standard error, with as many decimals; the mean alone where there is a single value.

    >>> mean_and_error([62.0, 64.0, 66.0]), mean_and_error([62.0]), mean_and_error([0.1, 0.2], digits=3)
    ('64.0 ± 1.2', '62.0', '0.150 ± 0.050')
    """
    error = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{error}"
