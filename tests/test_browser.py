"""The attribute browser with a mouse: notebook 03 in a real JupyterLab, in headless Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import papermill
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "03_attribute_cams.ipynb"
ARTEFACTS = ROOT / "test-artefacts"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there, too
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs `pip install playwright`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: `apt-get install chromium`, or name it by CHROMIUM=/path"),
    pytest.mark.skipif(not NOTEBOOK.exists(), reason="not a source checkout"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of notebook 03, with smoke parameters, in a JupyterLab of its own."""
    folder = tmp_path_factory.mktemp("lab")
    smoke = {"preset": "partworld-smoke", "seed": 1, "num_images": 4, "patch_attributes": 0, "run_dir": str(folder / "run")}
    papermill.execute_notebook(NOTEBOOK, folder / NOTEBOOK.name, smoke, prepare_only=True, progress_bar=False)
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token="]
    options += [f"--LabApp.user_settings_dir={folder / 'settings'}", f"--LabApp.workspaces_dir={folder / 'workspaces'}"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    with open(folder / "lab.log", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options]
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            wait_for(f"http://127.0.0.1:{port}/api", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK.name}"
        finally:
            server.terminate()
            server.wait(20)


def wait_for(address, server, log, seconds=60):
    for _ in range(4 * seconds):
        assert server.poll() is None, log.read_text()
        try:
            return urllib.request.urlopen(address).close()
        except OSError:
            time.sleep(0.25)
    raise AssertionError(log.read_text())


@pytest.fixture
def page():
    """A window whose errors fail the test; its last look is kept."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        window = chromium.new_page(viewport={"width": 1400, "height": 1000})
        errors = []
        window.on("console", lambda message: message.type == "error" and errors.append(message.text))
        window.on("pageerror", lambda error: errors.append(str(error)))
        yield window
        ARTEFACTS.mkdir(exist_ok=True)
        window.screenshot(path=ARTEFACTS / "attribute_browser.png")
        chromium.close()
    assert not errors


def test_class_and_components_chosen_by_mouse_change_the_picture(lab, page):
    page.goto(lab)
    page.locator(".jp-Notebook").wait_for(timeout=60_000)
    accept = page.locator(".jp-Dialog button.jp-mod-accept")  # it may ask for the kernel, which it knows
    page.add_locator_handler(accept, lambda: accept.click())
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    picture = page.locator("img.widget-image")
    picture.wait_for(timeout=180_000)
    page.get_by_text("this notebook took").last.wait_for(timeout=180_000)
    assert not page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count()
    picture.scroll_into_view_if_needed()

    def changed_by(act):
        before = picture.get_attribute("src")
        act()
        page.wait_for_function("([image, old]) => image.src !== old", arg=[picture.element_handle(), before], timeout=20_000)

    def button(name):
        return page.locator(".widget-toggle-button", has_text=name)

    classes = page.locator(".widget-toggle-buttons").first.locator("button")
    assert classes.count() >= 2, "an image with two classes, so that one can be chosen"
    changed_by(page.locator(".widget-toggle-buttons").first.locator("button:not(.mod-active)").first.click)
    components = page.locator(".widget-select-multiple select option")
    changed_by(components.nth(0).click)
    changed_by(lambda: components.nth(2).click(modifiers=["Control"]))
    changed_by(button("pseudo label").click)
    changed_by(button("visual description").click)
    changed_by(button("seed").click)
    page.get_by_text("save as PNG").click()
    page.locator(".widget-html", has_text="saved").wait_for(timeout=20_000)
