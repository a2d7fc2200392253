"""What a class looks like, a section of report.html: maps of its text, of a fused query and of its strongest attributes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vdalib.evaluation.run import Run
from vdalib.explore.plots import as_picture, cam_overlay
from vdalib.methods.base import Evidence

STRONGEST = 5  # attributes shown of each class [A] sec. 4
ALIKE = 0.95  # correlation of two attributes' maps from which on they show the same [R] ours
_LOOKED_AT = 8  # pictures of a class, of which the most typical one shows its attributes
_THUMBNAIL = 220  # px


def attributes_section(run: Run, dataset, labels: Sequence[str]) -> str:
    """For each class one typical picture: CAMs of text, fused query and the strongest attributes, each with its share.

    labels: (K,), how the page names the classes, in HTML. Returns HTML, nothing for a run without a mixture.
    """
    if run.assembler is None:
        return ""
    attributes = F.normalize(run.assembler.attributes(), dim=-1)  # (K, M, D)
    strips = []
    for index, label in enumerate(labels):
        if not run.describes(index):
            strips.append(f'<h3>{label}</h3><p class="soft">The mixture was fitted to no prototype of it.</p>')
            continue
        typical = _typical(run, dataset, index)
        if typical is None:
            strips.append(f'<h3>{label}</h3><p class="soft">The segmenter finds it in none of the pictures looked at.</p>')
            continue
        evidence, responses = typical
        strongest = responses.argsort(descending=True)[:STRONGEST].tolist()
        picture = evidence.images[0].cpu()
        shown = [("picture", as_picture(picture))]
        shown += [("text", _heat(evidence, picture, evidence.text_queries, index))]
        shown += [("query", _heat(evidence, picture, evidence.queries, index))]
        maps, note = [], ""
        for i in strongest:
            queries = evidence.text_queries.clone()
            queries[:, index] = attributes[index, i]
            maps.append(evidence.seeds_of(queries)[0, index].cpu())
        if (likeness := _likeness(maps)) < ALIKE:
            texts = [f"attribute {place}: {100 * responses[i]:.0f} %" for place, i in enumerate(strongest, start=1)]
            shown += [(text, cam_overlay(picture, one)) for text, one in zip(texts, maps)]
        else:
            note = f'<p class="soft">Its attributes all point to the same places (correlation {likeness:.2f} at least).</p>'
        figures = "".join(_figure(image, text) for text, image in shown)
        strips.append(f'<h3>{label}</h3><div class="strip">{figures}</div>{note}')
    return f"""<details><summary><h2>What a class looks like</h2></summary>
<p class="soft">For one typical picture of each class: where the words of the class point (text), where the query that was
assembled for this picture points, and, where they differ, the maps of the attributes that answer most strongly, each with
its share. The maps of two attributes differ where their correlation is below {ALIKE}.</p>
{"".join(strips)}</details>"""


def _likeness(maps: Sequence[torch.Tensor]) -> float:
    """Least correlation of any two maps; 1 where they are constant."""
    vectors = torch.stack([one.flatten().float().cpu() for one in maps])
    vectors = F.normalize(vectors - vectors.mean(1, keepdim=True), dim=1)
    constant = vectors.norm(dim=1) < 0.5
    correlations = vectors @ vectors.T
    correlations[constant] = correlations[:, constant] = 1.0
    return correlations.min().item()


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
