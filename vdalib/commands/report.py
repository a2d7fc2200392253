"""report.html of a run on one's own folder: what was found, the looks of each class, and every picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vdalib.commands.segment import class_palette, output_names, segment
from vdalib.data.images import read_mask
from vdalib.evaluation.run import Run
from vdalib.explore.plots import as_picture, cam_overlay
from vdalib.io import atomic_path
from vdalib.methods.base import Evidence

LEAST_SHARE = 0.002  # of a picture; what covers less does not count as found
STRONGEST = 5  # attributes shown of each class [A] sec. 4
_LOOKED_AT = 8  # pictures of a class, of which the most typical one shows its attributes
_THUMBNAIL = 220  # px


@dataclass
class Finding:
    """A picture: output name, file name, its tags (K,) bool, and the share of its pixels of each class (K,)."""

    name: str
    file: str
    tagged: np.ndarray
    shares: np.ndarray

    @property
    def found(self) -> np.ndarray:
        return self.shares >= LEAST_SHARE


def segment_and_report(run_dir: str | Path) -> Path:
    """Segment every picture of the run's folder, by several scales and DenseCRF, and write report.html; returns its path.

    Masks and overlays go to run_dir/masks and run_dir/overlays, as `vdalib.commands.segment.segment` says.
    """
    run_dir = Path(run_dir)
    run = Run.load(run_dir, device="cuda" if torch.cuda.is_available() else "cpu")
    dataset = run.dataset("train")
    names = output_names(dataset.names)
    segment(run_dir, dict(zip(names, dataset.paths)), run_dir, multi_scale=True, crf=True)
    findings = []
    for i, name in enumerate(names):
        mask = read_mask(run_dir / "masks" / f"{name}.png", len(run.class_names))
        counts = np.bincount(mask.ravel(), minlength=len(run.class_names) + 1)
        findings.append(Finding(name, dataset.names[i], dataset.labels[i].numpy(), counts[1:] / mask.size))
    path = run_dir / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(report_page(run, dataset, findings), encoding="utf-8")
    return path


def report_page(run: Run, dataset, findings: Sequence[Finding]) -> str:
    """The whole page; pictures of the gallery are links into overlays/, all others are part of it."""
    palette = class_palette(run.class_names, run.config)[1:]
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette[: len(run.class_names)]]
    classes = [_Class(k, name, colours[k]) for k, name in enumerate(run.class_names)]
    rules = "\n".join(
        f"body:has(#only-{key}:checked) .card:not(.{key}) {{ display: none; }}" for key in [*(c.key for c in classes), "odd"]
    )
    style = (resources.files("vdalib.commands") / "report.css").read_text(encoding="utf-8")
    title = escape(Path(run.config.data.root).name or "folder")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: masks from tags</title><style>
{style}{rules}
</style></head><body>
<h1>{title}</h1>
<p class="soft">{len(findings)} pictures, {len(classes)} classes, {run.step} training steps. The masks were learned from the
tags alone; nobody drew one. CLIP: {escape(run.config.clip.model)}; masks by several scales and DenseCRF.</p>
{_class_table(run, classes, findings)}
{_attributes(run, dataset, classes)}
{_gallery(classes, findings)}
{_left_out(dataset.skipped)}
<h2>New pictures</h2>
<p>This run segments any picture, without the folder it was trained on:</p>
<p><code>python -m vdalib segment PICTURES --run RUN --multi-scale --crf</code></p>
</body></html>
"""


@dataclass
class _Class:
    index: int
    name: str
    colour: str

    @property
    def key(self) -> str:
        return f"c{self.index}"

    @property
    def label(self) -> str:
        return f'<span class="dot" style="--c:{self.colour}"></span>{escape(self.name)}'


def _class_table(run: Run, classes: Sequence[_Class], findings: Sequence[Finding]) -> str:
    rows = []
    tagged = np.array([finding.tagged for finding in findings])
    shares = np.array([finding.shares for finding in findings])
    found = np.array([finding.found for finding in findings])
    for c, words in zip(classes, run.config.clip.words(run.class_names)):
        mine, seen = tagged[:, c.index], found[:, c.index]
        both = int((mine & seen).sum())
        area = 100 * shares[seen, c.index].mean() if seen.any() else 0.0
        cells = [c.label, escape(", ".join(words)), int(mine.sum()), f"{both} ({100 * both / mine.sum():.0f} %)"]
        cells += [int((seen & ~mine).sum()), f'<span class="bar"><i style="width:{area:.0f}%"></i></span>{area:.0f} %']
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = ("class", "prompted as", "tagged", "found where tagged", "found elsewhere", "mean area where found")
    head = "".join(f"<th>{name}</th>" for name in header)
    return f"""<h2>Classes</h2>
<p class="soft">A class counts as found where it covers at least {100 * LEAST_SHARE:.1f} % of a picture. Tags were not told
to the segmenter when it drew these masks, so both columns of findings say something about it.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>"""


def _attributes(run: Run, dataset, classes: Sequence[_Class]) -> str:
    if run.assembler is None:
        return ""
    attributes = F.normalize(run.assembler.attributes(), dim=-1)  # (K, M, D)
    strips = []
    for c in classes:
        typical = _typical(run, dataset, c.index)
        if typical is None:
            strips.append(f'<h3>{c.label}</h3><p class="soft">The segmenter finds it in none of the pictures looked at.</p>')
            continue
        evidence, responses = typical
        strongest = responses.argsort(descending=True)[:STRONGEST].tolist()
        picture = evidence.images[0].cpu()
        shown = [("picture", as_picture(picture))]
        shown += [("text", _heat(evidence, picture, evidence.text_queries, c.index))]
        shown += [("query", _heat(evidence, picture, evidence.queries, c.index))]
        for place, i in enumerate(strongest, start=1):
            queries = evidence.text_queries.clone()
            queries[:, c.index] = attributes[c.index, i]
            shown.append((f"attribute {place}: {100 * responses[i]:.0f} %", _heat(evidence, picture, queries, c.index)))
        figures = "".join(_figure(image, text) for text, image in shown)
        strips.append(f'<h3>{c.label}</h3><div class="strip">{figures}</div>')
    return f"""<h2>What a class looks like</h2>
<p class="soft">For one typical picture of each class: where the words of the class point (text), where the query that was
assembled for this picture points, and the maps of the attributes that answer most strongly, each with its share.</p>
{"".join(strips)}"""


def _typical(run: Run, dataset, index: int) -> tuple[Evidence, torch.Tensor] | None:
    """Of the first pictures tagged with a class, what the run sees in the one nearest to its centre, and the responses (M,)."""
    best, result = -1.0, None
    for i in dataset.labels[:, index].nonzero()[:_LOOKED_AT, 0].tolist():
        sample = dataset[i]
        evidence = run.evidence(sample.image[None].float() / 255, sample.labels[None])
        found = evidence.found
        if not found.present[0, index]:
            continue
        classes = torch.tensor([index], device=run.device)
        fused = run.assembler.query(found.prototypes[:, index].float(), classes, run.labeller.class_text)
        score = found.reliable[0, index] + fused.alpha.item()  # reliable ones first
        if score > best:
            best, result = score, (evidence, fused.responses[0])
    return result


def _heat(evidence: Evidence, picture: torch.Tensor, queries: torch.Tensor, index: int) -> np.ndarray:
    return cam_overlay(picture, evidence.seeds_of(queries)[0, index].cpu())


def _figure(picture: np.ndarray, caption: str) -> str:
    return f'<figure><img alt="" src="{_embedded(picture)}"><figcaption>{caption}</figcaption></figure>'


def _embedded(picture: np.ndarray) -> str:
    """Float (H, W, 3) in 0..1 as the address of a small JPEG that is its own content."""
    image, buffer = Image.fromarray((255 * picture).round().astype(np.uint8)), io.BytesIO()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _gallery(classes: Sequence[_Class], findings: Sequence[Finding]) -> str:
    buttons = [("all", "all"), *((c.key, c.label) for c in classes), ("odd", "tags and masks differ")]
    radios = "".join(
        f'<label><input type="radio" name="only" id="only-{key}"{" checked" * (key == "all")}>{text}</label>'
        for key, text in buttons
    )
    cards = "".join(_card(classes, finding) for finding in findings)
    return f"""<h2>Pictures</h2>
<p class="soft">A dashed tag needs a look: its class was tagged and not found, or found (+) and not tagged.</p>
<div class="filter">{radios}</div><div class="gallery">{cards}</div>"""


def _card(classes: Sequence[_Class], finding: Finding) -> str:
    keys, chips = ["card"], []
    for c in classes:
        mine, seen = finding.tagged[c.index], finding.found[c.index]
        if not mine and not seen:
            continue
        keys.append(c.key)
        kind = "missed" if not seen else "" if mine else "extra"
        text = {"missed": f"{c.label}: not found", "": c.label, "extra": f"+ {c.label}"}[kind]
        chips.append(f'<span class="chip {kind}">{text}</span>')
        keys += ["odd"] if mine != seen else []
    overlay, mask = (quote(f"{folder}/{finding.name}{suffix}") for folder, suffix in (("overlays", ".jpg"), ("masks", ".png")))
    return (
        f'<figure class="{" ".join(dict.fromkeys(keys))}"><a href="{overlay}"><img loading="lazy" alt="" src="{overlay}"></a>'
        f'<div><span class="name">{escape(finding.file)} · <a href="{mask}">mask</a></span>{"".join(chips)}</div></figure>'
    )


def _left_out(skipped: dict[str, str]) -> str:
    if not skipped:
        return ""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(reason)}</td></tr>" for name, reason in skipped.items())
    return f"""<h2>Left out</h2><p class="soft">{len(skipped)} files had no part in training and have no mask here.</p>
<div class="scroll"><table><thead><tr><th>file</th><th>reason</th></tr></thead><tbody>{rows}</tbody></table></div>"""
