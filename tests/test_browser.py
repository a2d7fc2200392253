"""The attribute browser by mouse and keyboard, in a real JupyterLab and in Voila, in headless Chromium."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nbformat
import pytest
from small_runs import run as trained

ROOT = Path(__file__).parents[1]
ARTEFACTS = ROOT / "test-artefacts"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there, too
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PATIENCE = 300_000  # ms
playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs `pip install playwright`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: `apt-get install chromium`, or name it by CHROMIUM=/path"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run in `run`, and book.ipynb, which shows it in the browser."""
    folder = tmp_path_factory.mktemp("browser")
    trained(folder / "run")
    write_book(folder, "AttributeBrowser('run', gallery=12)")
    return folder


def write_book(folder, shown):
    code = f"from vdalib.explore.widgets import AttributeBrowser\n\n{shown}"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "book.ipynb")


@contextmanager
def server(folder, name, options):
    """The address of a server of a module's own, with {port} filled in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    log = folder / f"{name}.log"
    with open(log, "w") as file:
        command = [sys.executable, "-m", name, "--no-browser", *(option.format(port=port) for option in options)]
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, env=environment)
        try:
            wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def wait_for(port, process, log, seconds=240):
    for _ in range(4 * seconds):
        assert process.poll() is None, log.read_text()
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.25)
    raise AssertionError(log.read_text())


def in_lab(folder, window):
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    options = ["--allow-root", "--ServerApp.port={port}", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token="]
    options += [f"--LabApp.user_settings_dir={folder / 'settings'}", f"--LabApp.workspaces_dir={folder / 'workspaces'}"]
    with server(folder, "jupyterlab", options) as address:
        window.goto(f"{address}/lab/tree/book.ipynb")
        window.locator(".jp-Notebook").wait_for()
        accept = window.locator(".jp-Dialog button.jp-mod-accept")  # it may ask for the kernel, which it knows
        window.add_locator_handler(accept, lambda: accept.click())
        window.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        window.get_by_role("menuitem", name="Run", exact=True).click()
        window.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        yield


def in_voila(folder, window, theme="dark"):
    with server(folder, "voila", ["book.ipynb", "--port={port}", f"--theme={theme}", "--show_tracebacks=True"]) as address:
        window.goto(address)
        yield


@pytest.fixture(scope="module", params=[in_lab, in_voila], ids=["JupyterLab", "Voila"])
def page(request, folder):
    """A window that shows the browser; its errors fail the test, its last look is kept."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        window = chromium.new_page(viewport={"width": 1400, "height": 1000})
        window.set_default_timeout(PATIENCE)
        window.set_default_navigation_timeout(PATIENCE)
        window.wrong = []
        window.on("pageerror", lambda error: window.wrong.append(str(error)))
        window.kind = request.param.__name__.removeprefix("in_")
        served = request.param(folder, window)
        next(served)
        window.locator(".vda-layer").first.wait_for()
        yield window
        ARTEFACTS.mkdir(exist_ok=True)
        window.screenshot(path=ARTEFACTS / f"attribute_browser_{window.kind}.png", full_page=True)
        next(served, None)
        chromium.close()
    assert not window.wrong


SHOWN = "[...document.querySelectorAll('.vda-maps img')].map(image => image.src).join()"


def change(page, act):
    """Do something, and wait until other pictures are shown."""
    before = page.evaluate(SHOWN)
    act()
    page.wait_for_function(f"before => {SHOWN} !== before && !document.querySelector('.vda-busy')", arg=before)


@pytest.fixture
def changed_by(page):
    return partial(change, page)


def key(page, name):
    return page.locator(f".vda [data-key='{name}']")


def texts(page, selector):
    return page.locator(f".vda {selector}").all_inner_texts()


def test_by_mouse(page, changed_by, folder):
    for image in key(page, "image-1"), key(page, "image-2"), key(page, "image-3"):
        if page.locator(".vda-classes button").count() < 2:  # one with two classes
            changed_by(image.click)
    changed_by(page.locator(".vda-classes button[aria-pressed=false]").first.click)
    if page.locator(".vda-component").count() == 0:
        changed_by(page.locator(".vda-classes button[aria-pressed=false]").first.click)
    changed_by(page.locator(".vda-component").last.click)
    assert "component " in texts(page, ".vda-maps figcaption")[1]
    changed_by(key(page, "view0-query-visual description").click)
    changed_by(key(page, "view0-map-pseudo label").click)
    assert "background" in texts(page, ".vda-legend")[0]
    changed_by(key(page, "view0-map-seed").click)
    changed_by(key(page, "second").click)
    changed_by(key(page, "view1-map-prediction").click)
    assert [text.split("\n")[0] for text in texts(page, ".vda-maps figcaption")][2:] == ["B · prediction", "A less B"]
    page.locator(".vda-maps .vda-stage").first.click(position={"x": 20, "y": 30})
    page.locator(".vda-probe table").wait_for()
    assert {"nearest component", "cosine to text", "cosine to fused query"} <= {*texts(page, ".vda-probe th")}
    assert page.locator(".vda-probe .vda-thumbs figure").count() == 6
    key(page, "save").click()
    page.locator(".vda-message", has_text="saved").wait_for()
    assert list((folder / "run" / "views").glob("*.json"))
    changed_by(key(page, "image-4").click)
    key(page, "only").select_option(texts(page, ".vda-classes button[aria-pressed=true]")[0])
    page.get_by_text(" of 12").wait_for(state="hidden")  # the class has fewer images
    changed_by(lambda: key(page, "saved").select_option(index=1))
    assert key(page, "second").is_checked()


def test_by_keyboard(page, changed_by):
    key(page, "only").select_option("")
    key(page, "image-0").click()
    page.wait_for_function("!document.querySelector('.vda-busy')")
    page.locator(".vda").focus()
    name = texts(page, ".vda-maps b")[0]
    changed_by(lambda: page.keyboard.press("ArrowRight"))
    assert texts(page, ".vda-maps b")[0] != name
    changed_by(lambda: page.keyboard.press("ArrowLeft"))
    assert texts(page, ".vda-maps b")[0] == name
    if page.locator(".vda-classes button").count() > 1:
        changed_by(lambda: page.keyboard.press("ArrowDown"))
        assert page.locator(".vda-classes button").nth(1).get_attribute("aria-pressed") == "true"
    place = page.locator(".vda-maps .vda-mark").first.get_attribute("style")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("place => document.querySelector('.vda-maps .vda-mark').style.cssText !== place", arg=place)
    page.wait_for_function("!document.querySelector('.vda-busy')")
    key(page, "view0-map-pseudo label").focus()
    page.keyboard.press("Tab")
    changed_by(lambda: page.keyboard.press("Space"))
    assert page.evaluate("document.activeElement.dataset.key") == "view0-map-prediction", "focus survives the drawing"


def test_what_fails_is_said_and_the_next_question_is_answered(page, changed_by):
    key(page, "view0-text").fill("xylophone")
    key(page, "view0-text").press("Enter")
    page.locator(".vda-message.vda-wrong", has_text="outside the small CLIP's vocabulary").wait_for()
    changed_by(key(page, "view0-map-seed").click)
    assert not page.locator(".vda-message.vda-wrong").count()
    key(page, "view0-text").fill("bus")
    changed_by(lambda: key(page, "view0-text").press("Enter"))
    assert "by “bus”" in texts(page, ".vda-maps figcaption")[1]


def test_maps_are_sharp_and_the_page_wraps_on_a_narrow_screen(page, changed_by):
    changed_by(key(page, "view0-map-ground truth").click)
    rendering = page.eval_on_selector(".vda-layer", "image => getComputedStyle(image).imageRendering")
    assert rendering == "pixelated"
    changed_by(key(page, "view0-map-seed").click)
    assert page.eval_on_selector(".vda-layer", "image => getComputedStyle(image).imageRendering") == "auto"
    page.eval_on_selector(".vda", "root => { root.style.width = '480px'; }")
    boxes = ".vda, .vda-maps, .vda fieldset, .vda figcaption, .vda-top"
    too_wide = "box => box.scrollWidth > box.clientWidth + 1 || box.getBoundingClientRect().width > 481"
    wide = page.eval_on_selector_all(boxes, f"boxes => boxes.filter({too_wide}).map(box => box.className)")
    assert not wide
    ARTEFACTS.mkdir(exist_ok=True)
    page.locator(".vda").screenshot(path=ARTEFACTS / f"attribute_browser_{page.kind}_narrow.png")
    page.eval_on_selector(".vda", "root => { root.style.width = ''; }")


def test_it_is_light_or_dark_as_the_page_and_legible(page):
    colours = page.eval_on_selector(".vda", "root => [getComputedStyle(root).backgroundColor, getComputedStyle(root).color]")
    ground, ink = (luminance(colour) for colour in colours)
    assert (ground < 0.2) == (page.kind == "voila"), "Voila was asked for its dark theme"
    assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 4.5  # WCAG


def luminance(colour):
    """Relative luminance of rgb(...) or rgba(...) by WCAG."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
