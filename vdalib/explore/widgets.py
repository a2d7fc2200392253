"""The attribute browser: `vdalib.explore.browsing` as a page of JupyterLab, Notebook or Voila, by anywidget."""

from __future__ import annotations

import atexit
import gc
import json
import re
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vdalib.config.schema import did_you_mean
from vdalib.evaluation.run import Run
from vdalib.explore import layers, page
from vdalib.explore.album import IN_ORDER, ORDERS
from vdalib.explore.browsing import FREE, FUSED, SEED, Browser, View
from vdalib.io import atomic_path, write_json
from vdalib.training import checkpoints

_HERE = Path(__file__).parent
_STRIP = 12  # images of a page of the strip
_ASKED = {"run": "", "query": "", "components": (), "alpha": None, "map": SEED, "text": ""}
_SETTINGS = {"image": 0, "class_name": "", "only": "", "order": IN_ORDER, "opacity": 0.6, "pixel": None, **_ASKED, "second": None}


class AttributeBrowser(anywidget.AnyWidget):
    """Choose an image, a class, a query and a map, see what they find, and compare it with another.

    run: a run directory, or a Run. others: more of them, of the same classes, for the second view; a directory's checkpoints
    are there, too. split, gallery: see `Browser`. overrides: of the runs' settings, such as {"data.root": ...} where the data
    have moved. Views are saved to `views/` in the run directory, or beside the notebook where a Run was given.

    `choose` has the effect of mouse and keyboard. `settings` is what is chosen, `shown` what the page shows of it; an error is
    shown in `message`, and raised where Python asked.
    """

    _esm = _HERE / "browser.js"
    _css = _HERE / "browser.css"
    settings = traitlets.Dict().tag(sync=True)
    strip = traitlets.Dict().tag(sync=True)
    picture = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        run: str | Path | Run,
        *others: str | Path | Run,
        split: str = "train",
        gallery: int = 200,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.folder = (Path.cwd() if isinstance(run, Run) else Path(run)) / "views"
        self._sources = _sources((run, *others), overrides)
        self._first, *_ = self._sources
        self.browser = Browser(self._sources[self._first](), split, gallery)
        self._browsers = {self._first: self.browser}
        self.palette = layers.Palette(self.browser.run.class_names, self.browser.run.config.data.colours)
        self.on_msg(self._answer)
        if self.browser.run.labeller is not None:
            self.browser.gallery()  # now, so that no change waits for it
        self.choose()
        gc.freeze()  # else Python's collector walks all of torch in the middle of a change, for 0.4 s
        atexit.register(gc.unfreeze)

    def __repr__(self) -> str:
        return f"AttributeBrowser({self._first!r})"

    def choose(self, **changes: Any) -> None:
        """Change settings, and show what they say.

        image: its index. class_name: one of its classes. only: "" or a class, order: of ORDERS, for the strip. opacity: 0..1 of
        the maps. pixel: None, or (x, y) in 0..1. run, query, components (none for all), alpha (None: adaptive), map, text (of
        the free text): of the first view. second: None, or a dict of these for the second view; what it leaves out stays.

        What another image or run does not have gives way to what it has. Raises ValueError for a setting or value that is
        unknown, and whatever is wrong with a run or an image; then all stays as it was.
        """
        try:
            self._show(self._settled(changes))
        except Exception as error:
            self.message = f"{type(error).__name__}: {error}"
            raise

    def move(self, steps: int) -> None:
        """Go on by so many images of the strip, back where negative."""
        images = self._images(self.settings)
        place = images.index(self.settings["image"]) + steps if self.settings["image"] in images else 0
        self.choose(image=images[min(max(place, 0), len(images) - 1)])

    def png(self) -> bytes:
        """The shown maps on one sheet."""
        settings = self.settings
        title = f"{self._sample(settings).name}: {settings['class_name']}"
        return layers.sheet(layers.photo(self._sample(settings).image), title, self._layers, settings["opacity"])

    def save(self) -> Path:
        """Write the shown maps to `folder` as a PNG, and the settings beside it as JSON for `reopen`; returns the PNG's path."""
        sample, settings = self._sample(self.settings), self.settings
        name = re.sub(r"[^\w.-]+", "_", f"{sample.name}_{settings['class_name']}")
        path = next(path for n in count(1) if not (path := self.folder / f"{name}_{n}.png").exists())
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.png())
        write_json(path.with_suffix(".json"), {"name": sample.name, **settings})
        self.shown = self.shown | {"saved": self._saved}
        self.message = f"saved {path} and {path.with_suffix('.json').name}"
        return path

    def reopen(self, path: str | Path) -> None:
        """Show a saved view again: the path of its JSON file, or its name in `folder`."""
        try:
            path = self.folder / path
            try:
                saved = json.loads(path.read_text(encoding="utf-8"))
                name, index = saved.pop("name"), saved["image"]
                there = 0 <= index < len(self.browser.dataset)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}: not a saved view ({error!r}); save it again") from None
            if not there or self.browser.album.sample(index).name != name:
                raise ValueError(f"{path}: image {index} is not {name} here; open the run and split it was saved from")
        except Exception as error:
            self.message = f"{type(error).__name__}: {error}"
            raise
        self.choose(**saved)

    @property
    def _saved(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.json"))

    def _answer(self, widget, content: dict, buffers) -> None:
        """What the page asks: {"choose": {...}}, {"move": n}, {"save": true} or {"reopen": name}; then it is told "done"."""
        try:
            for name, value in content.items():
                if name == "choose":
                    self.choose(**value)
                else:
                    {"move": self.move, "reopen": self.reopen, "save": lambda _: self.save()}[name](value)
        except Exception as error:  # the page shows it, and the kernel goes on
            self.message = f"{type(error).__name__}: {error}"
        finally:
            self.send("done")

    # from changes to settings that hold

    def _settled(self, changes: Mapping[str, Any]) -> dict:
        settings = {**_SETTINGS, **self.settings, **_known(changes, _SETTINGS)}
        of_image = settings["image"]
        if not isinstance(of_image, int) or not 0 <= of_image < len(self.browser.dataset):
            raise ValueError(f"image: found {of_image!r}, expected 0..{len(self.browser.dataset) - 1}")
        names = self.browser.run.class_names
        if settings["only"] not in ("", *names):
            raise ValueError(f"only: no class {settings['only']!r} ({did_you_mean(settings['only'], names)})")
        settings["opacity"] = min(max(float(settings["opacity"]), 0.0), 1.0)
        if settings["order"] not in ORDERS:
            raise ValueError(f"order: found {settings['order']!r}, expected one of {', '.join(ORDERS)}")
        if {"only", "order"} & changes.keys() and "image" not in changes:
            images = self._images(settings)
            if not images:
                raise ValueError(f"only: none of the {len(self.browser.dataset)} images shows {settings['only']}")
            settings["image"] = of_image if of_image in images and "order" not in changes else images[0]
        own = [names[k] for k in self.browser.classes(settings["image"])]
        if not own:
            raise ValueError(f"image {settings['image']} ({self._sample(settings).name}): it has no class; choose another")
        if changes.get("class_name") not in (None, "", *own):
            raise ValueError(f"class_name: {changes['class_name']!r} is not in the image (there are: {', '.join(own)})")
        asked = changes.get("class_name") or (changes.get("only") if "only" in changes else settings["class_name"])
        preferred = (asked, settings["class_name"], settings["only"], own[0])
        settings["class_name"] = next(name for name in preferred if name in own)
        fresh = {} if settings["class_name"] == self.settings.get("class_name") else {"components": ()}  # they are a class's own
        settings |= self._settled_view({**settings, **fresh, **changes}, changes)
        if (second := settings["second"]) is not None:
            given = _known(changes.get("second") or {}, _ASKED)
            before = self.settings.get("second") or {name: settings[name] for name in _ASKED}
            settings["second"] = self._settled_view({**before, **second, **fresh, **given}, given)
        return settings

    def _settled_view(self, asked: Mapping[str, Any], changes: Mapping[str, Any]) -> dict:
        """What is asked of a view, where its run has it; ValueError where it does not and was asked for just now."""
        run = asked["run"] or self._first
        browser = self._browser(run)
        queries, maps = browser.queries, browser.maps
        for name, known in (("query", queries), ("map", maps)):
            if changes.get(name, known[0]) not in known:
                raise ValueError(f"{name}: {run} has no {changes[name]!r} (there are: {', '.join(known)})")
        default = next(kind for kind in (FUSED, *queries) if kind in queries)
        query = asked["query"] if asked["query"] in queries else default
        shown = asked["map"] if asked["map"] in maps else SEED
        number = 0 if browser.run.mixture is None else browser.run.config.mixture.attributes
        if wrong := [i for i in changes.get("components", ()) if i not in range(number)]:
            raise ValueError(f"components: found {wrong[0]!r}, expected numbers below {number}")
        components = tuple(i for i in asked["components"] if i < number)
        if query == FREE:
            browser.of_text(asked["text"])  # ValueError at once, also where the map does not ask
        alpha = None if asked["alpha"] is None else min(max(float(asked["alpha"]), 0.0), 1.0)
        return {"run": run, "query": query, "components": components, "alpha": alpha, "map": shown, "text": asked["text"]}

    def _browser(self, name: str) -> Browser:
        if name not in self._sources:
            raise ValueError(f"run: no {name!r} (there are: {', '.join(self._sources)})")
        if name not in self._browsers:
            run = self._sources[name]()
            if run.class_names != self.browser.run.class_names:
                raise ValueError(f"{name}: its classes are not those of {self._first}, so their maps cannot be compared")
            self._browsers[name] = Browser(run, gallery=self.browser.gallery_size, dataset=self.browser.dataset)
        return self._browsers[name]

    def _images(self, settings: Mapping[str, Any]) -> list[int]:
        names = self.browser.run.class_names
        return self.browser.album.images(names.index(settings["only"]) if settings["only"] else None, settings["order"])

    def _sample(self, settings: Mapping[str, Any]):
        return self.browser.album.sample(settings["image"])

    # from settings to what is shown

    def _show(self, settings: dict) -> None:
        index, k = settings["image"], self.browser.run.class_names.index(settings["class_name"])
        asked = [settings, *([settings["second"]] if settings["second"] else [])]
        views = [self._view(index, k, one) for one in asked]
        browsers = [self._browser(one["run"]) for one in asked]
        drawn = []
        for one, browser, view in zip(asked, browsers, views):
            note = page.note(browser, view, one["text"], one["run"] if len(self._sources) > 1 else "")
            drawn.append(self.palette.of_view(view, note))
        if len(views) == 2:
            drawn.append(self.palette.difference(*views, k))
        shown = {
            "classes": [self.browser.run.class_names[i] for i in self.browser.classes(index)],
            "layers": [layer.as_dict() for layer in drawn],
            "views": [page.choices(browser, view) for browser, view in zip(browsers, views)],
            "neighbours": page.neighbours(browsers[0], k, views[0]),
            "probe": page.probe(browsers[0], index, k, settings),
            "every_class": list(self.browser.run.class_names),
            "orders": list(ORDERS),
            "runs": list(self._sources),
            "saved": self._saved,
        }
        picture, strip = self._picture(settings), self._strip(settings)
        with self.hold_sync():
            self._layers, self.message = drawn, ""
            self.picture, self.strip, self.settings, self.shown = picture, strip, settings, shown

    def _view(self, index: int, k: int, asked: Mapping[str, Any]) -> View:
        order = ("components", "query", "alpha", "map", "text")
        return self._browser(asked["run"]).view(index, k, *(asked[name] for name in order))

    def _picture(self, settings: Mapping[str, Any]) -> dict:
        sample, known = self._sample(settings), self.picture
        if known.get("index") == settings["image"]:
            return known
        image = layers.photo(sample.image)
        size = {"width": image.width, "height": image.height}
        return {"index": settings["image"], "name": sample.name, "src": layers.data_url(image), **size}

    def _strip(self, settings: Mapping[str, Any]) -> dict:
        """The page of the strip that the image is on."""
        images, album = self._images(settings), self.browser.album
        place = images.index(settings["image"]) if settings["image"] in images else 0
        first, key = place // _STRIP * _STRIP, [settings["only"], settings["order"], place // _STRIP]
        if self.strip.get("key") == key:
            return self.strip | {"place": place}
        scores = album.scores if settings["order"] != IN_ORDER else {}
        measure = "IoU" if album.has_masks else "sure"
        items = []
        for i in images[first : first + _STRIP]:
            sample = album.sample(i)
            note = f"{measure} {scores[i]:.0f} %" if i in scores else ""
            items.append({"index": i, "name": sample.name, "src": layers.thumbnail(sample.image, page.THUMBNAIL), "note": note})
        return {"key": key, "place": place, "count": len(images), "page": _STRIP, "items": items}


def _sources(runs: tuple, overrides: Mapping[str, Any] | None) -> dict[str, Callable[[], Run]]:
    """Name -> how the run is opened: each run by its last weights, and a directory by its checkpoints, too."""
    folders = [Path(run).resolve().name for run in runs if not isinstance(run, Run)]
    found: dict[str, Callable[[], Run]] = {}
    for number, run in enumerate(runs):
        if isinstance(run, Run):
            found[f"run {number + 1}" if len(runs) > 1 else "run"] = lambda run=run: run
            continue
        name = Path(run).resolve().name
        name = name if folders.count(name) == 1 else str(run)
        found[name] = lambda run=run: Run.load(run, overrides=overrides)
        for step in checkpoints.steps(Path(run))[:-1]:
            found[f"{name}, step {step}"] = lambda run=run, step=step: Run.load(run, step, overrides)
    return found


def _known(changes: Mapping[str, Any], settings: Mapping[str, Any]) -> dict:
    if unknown := [name for name in changes if name not in settings]:
        raise ValueError(f"{unknown[0]}: no such setting ({did_you_mean(unknown[0], settings)})")
    return dict(changes)
