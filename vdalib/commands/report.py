"""report.html of a run on one's own folder: every picture with its mask, what was found, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from vdalib.commands.report_attributes import attributes_section
from vdalib.commands.segment import border, class_palette, output_names, read_note, segment, side_limit
from vdalib.data.images import read_image, read_mask, save_mask
from vdalib.evaluation.run import Run
from vdalib.io import atomic_path

LEAST_SHARE = 0.002  # of a picture; what covers less does not count as found
VIEWS = ("overlay", "picture", "outline", "mask")
_LAYERS = ("picture", "mask", "outline")  # folders of report/, from which the page makes its views
_LAYER_SIZE = 640  # px, pictures of the page have about its square in pixels at most


@dataclass
class Finding:
    """A picture: output name, file name, its tags (K,) bool (None = untagged), shares of its pixels of each class (K,), mean
    probability of the labels drawn, and whether it was scaled down before it was segmented.
    """

    name: str
    file: str
    tags: np.ndarray | None
    shares: np.ndarray
    confidence: float
    reduced: bool

    @property
    def found(self) -> np.ndarray:
        return self.shares >= LEAST_SHARE

    @property
    def tagged(self) -> np.ndarray:
        return np.zeros(len(self.shares), bool) if self.tags is None else self.tags


def segment_and_report(run_dir: str | Path, probabilities: bool = False) -> Path:
    """Segment every picture of the run's folder, tagged or not, by the run's scales and DenseCRF, and write report.html.

    Masks and overlays go to run_dir/masks and run_dir/overlays, as `vdalib.commands.segment.segment` says, small pictures
    for the page to run_dir/report. Returns the page's path. Raises ValueError where no picture could be segmented.
    """
    run_dir = Path(run_dir)
    run = Run.load(run_dir, device="cuda" if torch.cuda.is_available() else "cpu")
    dataset = run.dataset("train")
    files = dict(zip(dataset.names, dataset.paths)) | dataset.untagged
    names = dict(zip(output_names(files), files))
    options = {"multi_scale": True, "crf": True, "probabilities": probabilities}
    outcome = segment(run_dir, {name: files[file] for name, file in names.items()}, run_dir, **options)
    tags, findings = dict(zip(dataset.names, dataset.labels.numpy())), []
    palette = class_palette(run.class_names, run.config)
    for name, file in names.items():
        if name in outcome.failed:
            continue
        path = run_dir / "masks" / f"{name}.png"
        mask = read_mask(path, len(run.class_names))
        counts = np.bincount(mask.ravel(), minlength=len(run.class_names) + 1)[1 : len(run.class_names) + 1]
        reduced = mask.size > side_limit(run.predictor) ** 2
        findings.append(Finding(name, file, tags.get(file), counts / mask.size, read_note(path)["confidence"], reduced))
        _write_layers(run_dir / "report", name, files[file], mask, palette)
    if not findings:
        raise ValueError(f"{run_dir}: no picture could be segmented, the first because: {next(iter(outcome.failed.values()))}")
    findings.sort(key=lambda finding: finding.confidence)
    left_out = dataset.skipped | {names[name]: reason for name, reason in outcome.failed.items()}
    page = run_dir / "report.html"
    with atomic_path(page) as temporary:
        temporary.write_text(report_page(run, dataset, findings, left_out), encoding="utf-8")
    return page


def report_page(run: Run, dataset, findings: Sequence[Finding], left_out: dict[str, str]) -> str:
    """The whole page; the gallery's pictures are links into report/ and overlays/, all others are part of it."""
    palette = class_palette(run.class_names, run.config)[1:]
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette[: len(run.class_names)]]
    classes = [_Class(k, name, colours[k]) for k, name in enumerate(run.class_names)]
    keys = [*(c.key for c in classes), "odd", "untagged"]
    rules = "\n".join(f"body:has(#only-{key}:checked) .card:not(.{key}) {{ display: none; }}" for key in keys)
    style, script = (
        (resources.files("vdalib.commands") / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    title = escape(Path(run.config.data.root).name or "folder")
    cautions = "".join(f"<li>{escape(text)}</li>" for text in cautions_of(run, findings))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: masks from tags</title><style>
{style}{rules}
</style></head><body>
<h1>{title}</h1>
<p class="soft">{len(findings)} pictures, {len(classes)} classes. The masks were learned from the tags alone; nobody drew one.</p>
{f'<ul class="caution">{cautions}</ul>' if cautions else ""}
{_gallery(classes, findings)}
{_class_table(run, classes, findings)}
{attributes_section(run, dataset, [c.label for c in classes])}
{_left_out(left_out)}
<h2>How these masks were made</h2>
<ul>{"".join(f"<li>{escape(text)}</li>" for text in facts_of(run, findings))}</ul>
<h2>New pictures, other programs</h2>
<p>This run segments any picture, without the folder it was trained on, and gives its masks to other programs:</p>
<p><code>vdalib segment PICTURES --run RUN --multi-scale --crf</code><br>
<code>vdalib export RUN --format coco</code> (or yolo, cvat, labelstudio, voc, fiftyone)</p>
<dialog aria-label="one picture"></dialog>
<script>
{script}</script>
</body></html>
"""


def cautions_of(run: Run, findings: Sequence[Finding]) -> Iterator[str]:
    """Why the result means little, where it does."""
    settings = run.config.clip
    if run.clip is not None and settings.pretrained is None:
        yield "CLIP has random weights (clip.pretrained is null), so it knows no word and no picture: these masks mean nothing."
    elif run.clip is not None and settings.model == "partworld":
        yield "CLIP is PartWorld's, which has seen drawings of ten classes only: on photographs its masks mean little."
    found = np.array([finding.found for finding in findings])
    if not found.any():
        yield "No class was found in any picture: the segmenter calls everything background. Train longer, or on more pictures."
        return
    if missing := [name for name, there in zip(run.class_names, found.any(0)) if not there]:
        yield f"Found in no picture: {', '.join(missing)}. Does CLIP know the word? Others for it can stand in classes.yaml."
    everywhere = np.mean([finding.shares for finding in findings], axis=0) > 0.9
    for name in np.array(run.class_names)[everywhere]:
        yield f"{name} covers nearly every picture whole: its masks say no more than its tag."


def facts_of(run: Run, findings: Sequence[Finding]) -> Iterator[str]:
    """What was trained, what was seen, and what was left to chance."""
    config, settings = run.config, run.config.inference
    yield f"Method {config.method}, {run.step} training steps, seed {config.seed}; images and tags only."
    if run.clip is None:
        yield "No frozen CLIP took part."
    else:
        weights = "random weights" if config.clip.pretrained is None else f"weights {config.clip.pretrained}"
        yield f"CLIP {config.clip.model} with {weights}, never trained here."
    size = f"about {settings.size} x {settings.size} px" if settings.size else "its own size"
    factors = ", ".join(f"{scale:g}" for scale in settings.scales)
    scales = f"{len(settings.scales)} scales" if len(settings.scales) > 1 else "one scale"
    mirrored = ", each time also mirrored" if settings.flip else ""
    yield f"Each picture was seen at {scales} ({factors} times {size}){mirrored}; borders were then moved to edges by DenseCRF."
    if reduced := sum(finding.reduced for finding in findings):
        limit = round(side_limit(run.predictor))
        yield f"{reduced} pictures are larger than {limit} x {limit} px and were scaled down first, their masks enlarged."
    yield "Confidence is the probability of what was drawn, mean over the picture, after DenseCRF, which makes most of it near 1."


def _write_layers(folder: Path, name: str, image: Path, mask: np.ndarray, palette: np.ndarray) -> None:
    """A small picture, its mask and its outline, both on nothing; left as they are where they are younger than the mask."""
    picture, labels, outline = (folder / layer / f"{name}{'.png' if k else '.jpg'}" for k, layer in enumerate(_LAYERS))
    made = folder.parent / "masks" / f"{name}.png"
    if outline.exists() and outline.stat().st_mtime > made.stat().st_mtime:
        return
    small = Image.fromarray(read_image(image, upright=True, size=_LAYER_SIZE).permute(1, 2, 0).numpy())
    with atomic_path(picture) as temporary:
        small.save(temporary, quality=85)
    seen = np.asarray(Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST))
    edges = np.where(ndimage.binary_dilation(border(seen)), seen, 0)
    for path, layer in ((labels, seen), (outline, edges)):
        save_mask(path, layer, palette, transparent=True)


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
    header = ("class", "prompted as", "tagged", "found where tagged", "found elsewhere", "mean area where found")
    rows = []
    tagged = np.array([finding.tagged for finding in findings])
    shares = np.array([finding.shares for finding in findings])
    found = np.array([finding.found for finding in findings])
    for c, words in zip(classes, run.config.clip.words(run.class_names)):
        mine, seen = tagged[:, c.index], found[:, c.index]
        both = int((mine & seen).sum())
        area = 100 * shares[seen, c.index].mean() if seen.any() else 0.0
        share = f"{both} ({100 * both / max(mine.sum(), 1):.0f} %)"
        cells = [c.label, escape(", ".join(words)), int(mine.sum()), share]
        cells += [int((seen & ~mine).sum()), f'<span class="bar"><i style="width:{area:.0f}%"></i></span>{area:.0f} %']
        rows.append("<tr>" + "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in zip(header, cells)) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in header)
    return f"""<h2>Classes</h2>
<p class="soft">A class counts as found where it covers at least {100 * LEAST_SHARE:.1f} % of a picture. Tags were not told
to the segmenter when it drew these masks, so both columns of findings say something about it.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>"""


def _gallery(classes: Sequence[_Class], findings: Sequence[Finding]) -> str:
    views = _radios("view", [(view, view) for view in VIEWS])
    only = [("all", "all"), *((c.key, c.label) for c in classes), ("odd", "tags and masks differ")]
    only += [("untagged", "without a tag")] * any(finding.tags is None for finding in findings)
    cards = "".join(_card(classes, finding) for finding in findings)
    return f"""<div class="bar-of-views"><div class="filter" role="radiogroup" aria-label="view">{views}</div>
<span class="soft">key <kbd>v</kbd> changes the view</span></div>
<div class="filter" role="radiogroup" aria-label="pictures shown">{_radios("only", only)}</div>
<p class="soft">The most doubtful pictures come first, each with the segmenter's confidence. A dashed tag needs a look: its class
was tagged and not found, or found (+) and not tagged. A click enlarges a picture; arrow keys go on from there.</p>
<div class="gallery">{cards}</div>"""


def _radios(name: str, choices: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<label><input type="radio" name="{name}" id="{name}-{key}"{" checked" * (not place)}>{text}</label>'
        for place, (key, text) in enumerate(choices)
    )


def _card(classes: Sequence[_Class], finding: Finding) -> str:
    keys, chips = ["card"], []
    for c in classes:
        mine, seen = finding.tagged[c.index], finding.found[c.index]
        if not mine and not seen:
            continue
        keys.append(c.key)
        kind = "missed" if not seen else "" if mine or finding.tags is None else "extra"
        text = {"missed": f"{c.label}: not found", "": c.label, "extra": f"+ {c.label}"}[kind]
        chips.append(f'<span class="chip {kind}">{text}</span>')
        keys += ["odd"] if kind else []
    if finding.tags is None:
        keys.append("untagged")
        chips.append('<span class="chip">no tag</span>')
    picture, labels, outline = (
        quote(f"report/{layer}/{finding.name}{suffix}") for layer, suffix in zip(_LAYERS, (".jpg", ".png", ".png"))
    )
    overlay, mask = (quote(f"{folder}/{finding.name}{suffix}") for folder, suffix in (("overlays", ".jpg"), ("masks", ".png")))
    name = escape(finding.file)
    return (
        f'<figure class="{" ".join(dict.fromkeys(keys))}"><a class="stack" href="{overlay}">'
        f'<img class="picture" loading="lazy" alt="{name}" src="{picture}">'
        f'<img class="mask" loading="lazy" alt="" src="{labels}"><img class="outline" loading="lazy" alt="" src="{outline}"></a>'
        f'<figcaption><span class="name">{name} · {100 * finding.confidence:.0f} % · <a href="{mask}">mask</a></span>'
        f"{''.join(chips)}</figcaption></figure>"
    )


def _left_out(skipped: dict[str, str]) -> str:
    if not skipped:
        return ""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(reason)}</td></tr>" for name, reason in skipped.items())
    return f"""<h2>Left out</h2><p class="soft">{len(skipped)} files have no mask here.</p>
<div class="scroll"><table><thead><tr><th>file</th><th>reason</th></tr></thead><tbody>{rows}</tbody></table></div>"""
