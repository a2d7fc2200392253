"""What the attribute browser's page says of a view: choices, notes, neighbours and a probed pixel, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vdalib.explore import layers
from vdalib.explore.browsing import DESCRIPTION, FREE, FUSED, PARTS, PREDICTION, TRUTH, Browser, View

THUMBNAIL = 72  # px, height of small pictures
_NEIGHBOURS = 5  # training images of a component
_LIKELY = 3  # classes of a pixel


def note(browser: Browser, view: View, text: str = "", run: str = "") -> str:
    """By which query and of which run a map is. text: the free one. run: its name where there are several."""
    of_run = f" · {run}" if run else ""
    if view.map in (TRUTH, PARTS):
        return "for evaluation only: no method is told"
    if view.map == PREDICTION:
        return f"by the segmenter alone{of_run}"
    query = f"“{text}”" if view.query == FREE else view.query
    if view.query in (FUSED, DESCRIPTION):
        if view.responses is None:
            query = f"text, as {view.class_name} {_silence(browser, view)}"
        elif view.query == FUSED:
            query += f", alpha {view.alpha:.2f}"
        if view.components and view.responses is not None:
            several = "s" * (len(view.components) > 1)
            query += f", component{several} {', '.join(map(str, view.components))}"
    return f"by {query}{of_run}"


def choices(browser: Browser, view: View) -> dict:
    """What can be chosen for a view, and what is in use."""
    responses, text = view.responses, ""
    if browser.run.assembler is not None and responses is None:
        text = f"There are no responses: {view.class_name} {_silence(browser, view)}."
    elif responses and not responses.reliable:
        text = f"The prototype of {view.class_name} is not reliable here: training stays with the text."
    weights = [] if responses is None else [[i, float(responses.weights[i])] for i in responses.order]
    found = {"queries": browser.queries, "maps": browser.maps, "alpha": view.alpha, "weights": weights, "note": text}
    return found | {"adaptive": None if responses is None else responses.alpha}


def neighbours(browser: Browser, k: int, view: View) -> dict | None:
    """The training images nearest to the component chosen last, else to the strongest; None without responses."""
    if view.responses is None:
        return None
    component = view.components[-1] if view.components else view.responses.order[0]
    found = browser.nearest(k, component, _NEIGHBOURS)
    items = [{"src": layers.thumbnail(one.image, THUMBNAIL), "name": one.name, "distance": one.distance} for one in found]
    return {"component": component, "items": items}


def probe(browser: Browser, index: int, k: int, settings: Mapping[str, Any]) -> dict | None:
    """What is known of the chosen pixel; None where none is chosen."""
    if settings["pixel"] is None:
        return None
    text = settings["text"] if settings["query"] == FREE else ""
    found = browser.probe(index, k, *settings["pixel"], settings["components"], text)
    names = ("background", *browser.run.class_names)
    likely = sorted(zip(names, map(float, found.probabilities)), key=lambda pair: -pair[1])[:_LIKELY]
    patches = []
    for patch in found.patches:
        cut, inside = layers.around(patch.image, patch.place)
        patches.append({"src": layers.data_url(cut), "box": inside, "name": patch.name, "cosine": patch.cosine})
    distances = None if found.distances is None else [[int(i), float(found.distances[i])] for i in found.distances.argsort()]
    told = {"place": found.place, "likely": likely, "seed": found.seed, "cosines": list(found.cosines.items())}
    return told | {"distances": distances, "patches": patches}


def _silence(browser: Browser, view: View) -> str:
    """Why a class has no responses."""
    known = browser.run.describes(browser.run.class_names.index(view.class_name))
    return "is not found here by the segmenter" if known else "was in no prototype that the mixture was fitted to"
