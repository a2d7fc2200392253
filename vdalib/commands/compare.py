"""Runs side by side, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vdalib.io import atomic_path


def compare(run_dirs: Sequence[Path], out: Path, measure: str | None = None, as_csv: bool = False) -> str:
    """The comparison as text, Markdown or CSV; it is written to `out` as well, beside the figures."""
    from vdalib.explore.comparing import compare as compared
    from vdalib.explore.plots import save_figure

    found = compared(*run_dirs, measure=measure)
    for name, text in {"comparison.md": found.markdown(), "comparison.csv": found.csv()}.items():
        with atomic_path(out / name) as path:
            path.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    if any(record.rows for record in found.records):
        save_figure(found.curves()[0], out / "curves.png")
    if found.measure and len(found.variants) > 1:
        save_figure(found.class_differences()[0], out / "class_differences.png")
    return found.csv() if as_csv else found.markdown()
