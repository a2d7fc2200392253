"""The attribute browser: stock ipywidgets over `vdalib.explore.browsing`."""

from __future__ import annotations

import atexit
import gc
import re
from collections.abc import Mapping
from contextlib import contextmanager
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from vdalib.evaluation.run import Run
from vdalib.explore import panel
from vdalib.explore.browsing import FUSED, MAPS, QUERIES, SEED, TEXT, Browser
from vdalib.io import atomic_path


class AttributeBrowser(widgets.VBox):
    """Choose an image, a class, components, a query and a map, and see what they find.

    run: a run directory, or a Run. split, gallery: see `Browser`. overrides: of the run's settings, for example
    {"data.root": ...} where the data have moved. Views are saved to `views/` in the run directory, or beside the
    notebook where a Run was given.

    Every control is an attribute (`image`, `class_name`, `components`, `query`, `map`, `adaptive`, `alpha`, `opacity`,
    `save`); setting its value has the effect of the mouse. `picture` is what is shown. An error is shown in `message`
    and raised.
    """

    def __init__(
        self, run: str | Path | Run, split: str = "train", gallery: int = 200, overrides: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = (Path.cwd() if isinstance(run, Run) else Path(run)) / "views"
        self.browser = Browser(run if isinstance(run, Run) else Run.load(run, overrides=overrides), split, gallery)
        wide, delayed = widgets.Layout(width="330px"), {"continuous_update": False}
        self.image = widgets.IntSlider(0, 0, len(self.browser.dataset) - 1, description="image", layout=wide, **delayed)
        self.class_name = widgets.ToggleButtons(description="class")
        self.components = widgets.SelectMultiple(description="components", rows=8, layout=wide)
        has_mixture = self.browser.run.assembler is not None
        self.query = widgets.ToggleButtons(
            options=QUERIES if has_mixture else [TEXT], value=FUSED if has_mixture else TEXT, description="query"
        )
        self.map = widgets.ToggleButtons(options=MAPS, value=SEED, description="map")
        self.adaptive = widgets.Checkbox(value=True, description="adaptive alpha", disabled=not has_mixture)
        self.alpha = widgets.FloatSlider(0.6, min=0, max=1, step=0.05, description="alpha", disabled=True, layout=wide, **delayed)
        self.opacity = widgets.FloatSlider(0.6, min=0, max=1, step=0.05, description="opacity", layout=wide, **delayed)
        self.save = widgets.Button(description="save as PNG", icon="download")
        self.message = widgets.HTML(layout=widgets.Layout(width="98%"))
        self.picture = widgets.Image(format="png")
        self._settled = True

        self.image.observe(self._choose_image, "value")
        self.class_name.observe(self._choose_class, "value")
        self.adaptive.observe(self._choose_alpha, "value")
        for control in (self.components, self.query, self.map, self.alpha, self.opacity):
            control.observe(self._draw, "value")
        self.save.on_click(self._save)
        left = widgets.VBox([self.image, self.components, self.adaptive, self.alpha, self.opacity])
        right = widgets.VBox([self.class_name, self.query, self.map, self.save])
        super().__init__([widgets.HBox([left, right]), self.message, self.picture])
        self._choose_image()
        gc.freeze()  # else Python's collector walks all of torch in the middle of a change, for 0.4 s
        atexit.register(gc.unfreeze)

    def _choose_image(self, change=None) -> None:
        with self._settling():
            classes = self.browser.classes(self.image.value)
            names = [(self.browser.run.class_names[k], k) for k in classes]
            kept = self.class_name.value if self.class_name.value in classes else next(iter(classes), None)
            self.class_name.options = names
            self.class_name.value = kept
            self._list_components()

    def _choose_class(self, change) -> None:
        with self._settling():
            self._list_components()

    def _choose_alpha(self, change) -> None:
        with self._settling():
            self.alpha.disabled = change.new

    def _list_components(self) -> None:
        k = self.class_name.value
        responses = None if k is None else self.browser.responses(self.image.value, k)
        weights = [] if responses is None else [(i, responses.weights[i]) for i in responses.order]
        self.components.options = [(f"component {i}: {weight:.3f}", i) for i, weight in weights]

    @contextmanager
    def _settling(self):
        """One picture for a change that moves several controls."""
        if not self._settled:
            yield
            return
        self._settled = False
        try:
            with self._told():
                yield
        finally:
            self._settled = True
        self._draw()

    @contextmanager
    def _told(self):
        """The error of the block is shown, and raised."""
        try:
            yield
        except Exception as error:
            self.message.value = f"<b style='color: #d55e00'>{escape(f'{type(error).__name__}: {error}')}</b>"
            raise
        self.message.value = ""

    def _draw(self, change=None) -> None:
        if not self._settled:
            return
        with self._told():
            self.picture.value = panel.to_png(self._figure())

    def _figure(self):
        index, k = self.image.value, self.class_name.value
        if k is None:
            raise ValueError(f"image {index} ({self.browser.dataset[index].name}): it has no class; choose another image")
        alpha = None if self.adaptive.value else self.alpha.value
        view = self.browser.view(index, k, self.components.value, self.query.value, alpha, self.map.value)
        neighbours = []
        if view.responses is not None:
            neighbours = self.browser.nearest(k, (view.components or view.responses.order)[0], panel.THUMBNAILS)
        return panel.attribute_view(view, neighbours, self.browser.run.class_names, self.opacity.value)

    def _save(self, button) -> None:
        with self._told():
            index, k = self.image.value, self.class_name.value
            name = re.sub(r"[^\w.-]+", "_", f"{self.browser.dataset[index].name}_{self.browser.run.class_names[k]}")
            path = next(path for n in count(1) if not (path := self.folder / f"{name}_{n}.png").exists())
            with atomic_path(path) as temporary:
                temporary.write_bytes(panel.to_png(self._figure()))
        self.message.value = f"saved {escape(str(path))}"
