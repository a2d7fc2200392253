"""Draws the README's loop of the attribute browser: the real one, in Voila and headless Chromium, as a hand would use it.

    python benchmarks/readme_loop.py runs/partworld

It wants what `tests/test_browser.py` wants, whose server and waiting it uses; only the pointer is drawn in. The image was chosen
because text finds little of its dog and the components differ: it says nothing of the average.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from vdalib.io import atomic_path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from test_browser import CHROMIUM, FLAGS, PATIENCE, change, in_voila, key, write_book  # noqa: E402

IMAGE, CLASS, PATCH = 326, "dog", (0.4, 0.55)  # of the training split; what is clicked in its picture
WIDTH, SECONDS, LAST = 1128, 2, 4
POINTER = """() => {
  const arrow = document.createElement("div");
  arrow.innerHTML = `<svg width="18" height="24" viewBox="-2 -2 16 24" fill="#000" stroke="#fff" stroke-width="1.5">
    <path d="M0 0V17L4.5 13L7.5 20L10.5 18.7L7.5 12H13Z"/></svg>`;
  arrow.style.cssText = "position: fixed; left: 0; top: 0; z-index: 9999; pointer-events: none";
  document.body.append(arrow);
  addEventListener("mousemove", at => { arrow.style.translate = `${at.clientX}px ${at.clientY}px`; }, true);
}"""


@contextmanager
def window_on(run: Path) -> Iterator[Page]:
    """A window that shows the browser on a run, in a light page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        write_book(Path(folder), f"AttributeBrowser({str(run.resolve())!r})")
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        window = chromium.new_page(viewport={"width": WIDTH + 100, "height": 1600})
        window.set_default_timeout(PATIENCE)
        with contextmanager(lambda: in_voila(Path(folder), window, "light"))():
            window.locator(".vda-layer").first.wait_for()
            window.eval_on_selector(".vda", f"root => {{ root.style.width = '{WIDTH}px'; }}")
            window.evaluate(POINTER)
            yield window


def frames(window: Page) -> Iterator[Image.Image]:
    """The browser after each step."""

    def look() -> Image.Image:
        return Image.open(BytesIO(window.locator(".vda").screenshot())).convert("RGB")

    def press(name: str) -> Image.Image:
        change(window, key(window, name).click)
        return look()

    key(window, "only").select_option(CLASS)
    key(window, "image").fill(str(IMAGE))
    change(window, lambda: key(window, "image").press("Enter"))
    yield press("view0-query-text")
    yield press("view0-query-visual description")
    names = [row.get_attribute("data-key").removeprefix("view0-") for row in window.locator(".vda-component").all()]
    yield press(f"view0-{names[5]}")
    yield press(f"view0-{names[0]}")
    key(window, "view0-all").click()
    yield press("view0-map-pseudo label")
    for name in ("view0-map-seed", "view0-query-text", "second"):
        change(window, key(window, name).click)
    yield press("view1-query-fused query")
    stage = window.locator(".vda-maps .vda-stage").first
    box = stage.bounding_box()
    stage.click(position={"x": PATCH[0] * box["width"], "y": PATCH[1] * box["height"]})
    window.locator(".vda-probe table").wait_for()
    yield look()


def write(pictures: list[Image.Image], path: Path) -> None:
    """An endless loop of pictures, each put on a page as large as the largest."""
    size = tuple(max(picture.size[side] for picture in pictures) for side in (0, 1))
    pages = [Image.new("RGB", size, picture.getpixel((0, size[1] // 4))) for picture in pictures]
    for page, picture in zip(pages, pictures):
        page.paste(picture)
    durations = [1000 * seconds for seconds in (*[SECONDS] * (len(pages) - 1), LAST)]
    options = {"quality": 80, "method": 6, "kmin": 0, "kmax": 1}  # whole pages: through differences the page before would show
    with atomic_path(path) as temporary:
        pages[0].save(temporary, "WEBP", save_all=True, append_images=pages[1:], duration=durations, loop=0, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    with window_on(parser.parse_args().run) as window:
        write([*frames(window)], ROOT / "docs" / "browser.webp")
