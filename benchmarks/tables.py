"""Writes the tables of README.md and RESULTS.md from the JSON files beside this one: `python benchmarks/tables.py`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; its first line says by which version it was measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ablation import ROWS, distinct
from attributes import markdown as with_parts
from mistakes import SHOWN as MISTAKEN
from prototypes import markdown as named_rightly

from vdalib.data.partworld.scenes import CO_OCCURRENCE
from vdalib.evaluation.ablation import BASE, HEADLINE, SHOWN, by_row, paired, present_entries
from vdalib.explore.ablation import aims, differences, fed, fits, gaps, ladder, lost_on_the_way, marked, mistakes, per_class
from vdalib.explore.side_by_side import (
    NAMES,
    compared,
    confusion,
    cost_aims,
    entries_of,
    number_format,
    parts_of_a_step,
    steps,
)
from vdalib.explore.tables import markdown_table, mean_and_error
from vdalib.io import atomic_path

HERE = Path(__file__).parent
PAGES = tuple(HERE.parent / name for name in ("README.md", "RESULTS.md"))
BEGIN, END = "<!-- table ", "<!-- end -->"
MARKED = re.compile(rf"({BEGIN}(\w+) -->\n)(?:(?!{BEGIN}).)*?({END})", re.DOTALL)
PAPERS_ROWS = ("text template only", "+ VDAF", "+ DSE", "all but the reliable filter", "all")
CONTROLS = ("class mean, no INN", "k-means of 8 a class, no INN")
ALONG_THE_WAY = (*PAPERS_ROWS, *CONTROLS, "ActNorm alone")
OF_THE_PAGES = {"preset": "partworld", "precision": "no"}
CHANGED = "What each method has other than its source's settings for VOC: [the list](docs/own_methods.md#on-the-small-world)."
ON_THE_WAY = {"seed_miou": "seeds", "refined_seed_miou": "seeds after the walk", "miou": "val", HEADLINE: SHOWN[HEADLINE]}
FRESH = " --results benchmarks/fresh.json"
KILLS = ("operation", "torn", "time", "start-up")


def not_yet(script: str, arguments: str = "") -> str:
    """In place of a table."""
    return f"*Not measured with this code yet: `python benchmarks/{script}.py{arguments}`.*"


def measured(entries: Sequence[dict], script: str, arguments: str = "") -> str:
    """The line above a table, with the script and arguments that make it again; scripts do seeds 0 to 4 unless told."""
    versions = ", ".join(sorted({entry["version"] for entry in entries}))
    seeds = sorted({entry["seed"] for entry in entries})
    preset = ", ".join(sorted({entry["preset"] for entry in entries}))
    precision = ", ".join(sorted({number_format(entry["precision"]) for entry in entries}))
    options = "".join(f" --precision {name}" for name in sorted({entry["precision"] for entry in entries} - {"no"}))
    options += f" --seeds {' '.join(map(str, seeds))}" if seeds != [0, 1, 2, 3, 4] else ""
    return (
        f"*Version {versions}, preset {preset}, {precision}, {len(seeds)} seeds: mean ± standard error; "
        f"made by `python benchmarks/{script}.py{arguments}{options}`.*\n"
    )


def quality(entries: Sequence[dict], script: str, key: str, chosen: Sequence[str] = (), base: str = "") -> str:
    """mIoU in percent of each row, and its gain over the row `base` with multi-scale and CRF, paired by seed."""
    if not entries:
        return not_yet(script)
    rows, table = by_row(entries, key), []
    rows = {name: rows[name] for name in chosen if name in rows} or rows
    shown = [entry for runs in rows.values() for entry in runs.values()]
    for name, runs in rows.items():
        gain = paired(rows, name, base, lambda run: run[HEADLINE])
        told = "" if name == base else marked(gain)
        fewer = f" ({len(runs)} seed{'s' * (len(runs) > 1)})" if len(runs) < len({entry["seed"] for entry in shown}) else ""
        table.append(
            [NAMES.get(name, name) + fewer, *(mean_and_error([run[measure] for run in runs.values()]) for measure in SHOWN), told]
        )
    columns = [*SHOWN.values(), f"last column over *{NAMES.get(base, base)}*"]
    return f"{measured(shown, script)}\n{markdown_table(['mIoU, %', *columns], table)}"


def not_run(done: Collection[str]) -> str:
    """The rows of the ablation that a table lacks."""
    missing = [row for row in distinct(ROWS, OF_THE_PAGES["preset"]) if row not in done]
    return f"\n\nRows of `benchmarks/ablation.py` that have not been run yet: {'; '.join(missing)}." if missing else ""


def kills(entries: Sequence[dict]) -> str:
    """How often each job of the soak was killed and what came of it, all entries together."""
    if not entries:
        return not_yet("soak")
    jobs = dict.fromkeys(job for entry in entries for job in entry["kills"])
    counts = {job: [sum(entry["kills"].get(job, {}).get(kind, 0) for entry in entries) for kind in KILLS] for job in jobs}
    lives = {job: sum(entry["lives"].get(job, 0) for entry in entries) for job in jobs}
    version, seeds = (", ".join(sorted({str(entry[key]).split()[0] for entry in entries})) for key in ("version", "seed"))
    different, left = (sum(len(entry[name]) for entry in entries) for name in ("differences", "left_over"))
    killed, damaged, hours = (sum(entry[name] for entry in entries) for name in ("killed", "damaged", "hours"))
    told = (
        f"*Version {version}, seeds: {seeds}, {hours:.1f} h: {killed} kills and {damaged} checkpoints damaged on purpose; "
        f"{different} differences, {left} files left over; made by `python benchmarks/soak.py --minutes 10 --seed N`.*\n"
    )
    return f"{told}\n{markdown_table(['job', 'lives', *KILLS], [[job, lives[job], *counts[job]] for job in jobs])}"


def headroom(found: dict) -> str:
    """Seed mIoU of queries by variant, and what the CLIP names rightly."""
    table = [[name, *(f"{miou:.1f}" for miou in mious.values())] for name, mious in found["variants"].items()]
    columns = ["seed mIoU, %", "text", "class mean", f"nearest of {found['M']} k-means", "own prototype"]
    return (
        f"*Version {found['version']}, {found['val']} held-out images, means of {found['train']} training images, one seed; "
        f"made by `python benchmarks/headroom.py`.*\n\n{markdown_table(columns, table)}\n\n"
        f"Zero shot names {found['zero_shot']:.1f} % of the prototypes under text CAMs rightly ({found['zero_shot_sure']:.1f} % "
        f"with a probability above 0.5) and {found['kinds']:.1f} % of the kinds; the part NMI is {found['part_nmi_kmeans']:.3f}."
    )


def full_size(file: str) -> str:
    """A step of each method at full size, and VDA's by part."""
    entries = entries_of(HERE / file)
    if not entries:
        return not_yet("step")
    versions, devices, threads = (", ".join(sorted({str(e[key]) for e in entries})) for key in ("version", "device", "threads"))
    command = "python benchmarks/step.py --methods all --preset voc12 clip.pretrained=null"
    told = f"*Version {versions}, {devices}, {threads} threads; made by `{command}`.*"
    return "\n\n".join(filter(None, (told, steps(entries), cost_aims(entries), parts_of_a_step(entries))))


def text_seeds(found: dict) -> str:
    """Seed mIoU of text prompts by option."""
    table = [[name, f"{row['miou']:.1f}", f"{row['threshold']:.2f}"] for name, row in found["rows"].items()]
    told = f"*Version {found['version']}, {found['val']} held-out images, one seed; made by `python benchmarks/text_seeds.py`.*"
    return f"{told}\n\n{markdown_table(['text prompts', 'seed mIoU, %', 'at the threshold'], table)}"


def company() -> dict[str, str]:
    """The classes that PartWorld nearly always casts in one scene, and that scene."""
    casts = {name: max(rates, key=rates.get) for name, rates in CO_OCCURRENCE.items()}
    return {name: scene for name, scene in casts.items() if CO_OCCURRENCE[name][scene] >= 0.85}


def of_the_pages(name: str) -> list[dict]:
    """The entries of NAME.json that this version has made of the preset in fp32."""
    return [e for e in present_entries(HERE / f"{name}.json") if OF_THE_PAGES.items() <= e.items()]


def tables() -> dict[str, str]:
    ablation, attributes, queries, labels = map(of_the_pages, ("ablation", "attributes", "queries", "labels"))
    wrong, fresh, named = map(of_the_pages, ("mistakes", "fresh", "prototypes"))
    ablation.sort(key=lambda entry: [*ROWS].index(entry["row"]))
    methods, rows = entries_of(HERE / "methods.json"), by_row(ablation)
    none = not_yet("ablation")
    ten = by_row(entry for entry in [*ablation, *fresh] if entry["row"] in by_row(fresh))
    beside_mean = [entry for entry in labels if entry["row"] in (BASE, CONTROLS[0])]
    along = {row: ten.get(row, rows[row]) for row in ALONG_THE_WAY if row in rows}
    return {
        "headroom": headroom(json.loads((HERE / "headroom.json").read_text(encoding="utf-8"))),
        "text": text_seeds(json.loads((HERE / "text_seeds.json").read_text(encoding="utf-8"))),
        "methods": quality(methods, "methods", "method", tuple(NAMES), base="vda"),
        "costs": f"{measured(methods, 'methods')}\n{compared(methods)}\n\n{CHANGED}" if methods else not_yet("methods"),
        "confusion": confusion(methods, company()) or not_yet("methods"),
        "headline": quality(ablation, "ablation", "row", PAPERS_ROWS + CONTROLS, base=PAPERS_ROWS[0]),
        "ablation": quality(ablation, "ablation", "row", base=BASE) + not_run(rows),
        "differences": differences(rows) or none,
        "fresh": f"{measured(fresh, 'ablation', FRESH)}\n{differences(by_row(fresh), PAPERS_ROWS[0], ON_THE_WAY)}"
        if fresh
        else not_yet("ablation", f"{FRESH} --seeds 5 6 7 8 9"),
        "ten": differences(ten, measures=ON_THE_WAY) or none,
        "way": differences(along, PAPERS_ROWS[0], ON_THE_WAY) or none,
        "labels": f"{measured(labels, 'labels')}\n{lost_on_the_way(labels)}\n\n{lost_on_the_way(beside_mean, CONTROLS[0])}"
        if labels
        else not_yet("labels"),
        "fed": fed(rows) or none,
        "mistakes": f"{measured(wrong, 'mistakes')}\n{mistakes(wrong, *MISTAKEN)}" if wrong else not_yet("mistakes"),
        "aims": aims(rows) if rows else none,
        "classes": per_class(ten or rows, ("text template only", *CONTROLS), apart=MISTAKEN[0]) or none,
        "queries": f"{measured(queries, 'queries')}\n{ladder(queries)}\n\n{gaps(queries)}\n\n{fits(queries)}"
        if queries
        else not_yet("queries"),
        "prototypes": f"{measured(named, 'prototypes')}\n{named_rightly(named)}" if named else not_yet("prototypes"),
        "parts": f"{measured(attributes, 'attributes')}\n{with_parts(attributes)}" if attributes else not_yet("attributes"),
        "steps": full_size("step.json"),
        "steps_gpu": full_size("step_gpu.json"),
        "kills": kills(json.loads((HERE / "soak.json").read_text(encoding="utf-8"))),
    }


def filled(text: str) -> str:
    """A page with its tables as they are now. Raises ValueError for a table without its end, KeyError for an unknown name."""
    if not text.count(BEGIN) == text.count(END) == len(MARKED.findall(text)):
        raise ValueError(f"a page: expected `{END}` after every `{BEGIN}NAME -->`; restore what is lost")
    made = tables()
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        with atomic_path(page) as temporary:
            temporary.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
