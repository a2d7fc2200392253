"""What the four compared methods have on the small world other than published is listed, rightly and in full."""

import re
from pathlib import Path

import pytest

from vdalib.config import Config
from vdalib.config.describe import described

PAGE = Path(__file__).parents[1] / "docs" / "own_methods.md"
ROW = re.compile(r"^\| ([\w, ]+) \| `([\w.]+)` \| (.+?) \| (.+?) \|", re.MULTILINE)
METHODS = ("excel", "weclip", "toco", "seco")
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not a source checkout")


def shown(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def settings(preset):
    return {one.name: shown(one.value) for one in described(Config.from_preset(preset)) if one.name != "preset"}


@pytest.mark.parametrize("method", METHODS)
def test_what_the_small_world_changes_is_listed(method):
    published, here, shared = settings(f"{method}-voc12"), settings(method), settings("partworld")
    changed = {name: (published[name], here[name]) for name in here if here[name] not in (published[name], shared.get(name))}
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    listed = {name: (voc, small) for methods, name, voc, small in rows if method in methods.split(", ")}
    assert listed == changed


@pytest.mark.parametrize("name", ["toco", "seco"])
def test_moments_are_the_published_shares_of_the_preset_schedule(name):
    published, here = Config.from_preset(f"{name}-voc12"), Config.from_preset(name)
    whole, steps = published.schedule.total_steps, here.schedule.total_steps
    later = Config.from_preset("toco-coco14") if name == "toco" else published  # ToCo's contrasts wait, as on COCO
    moments = [key for key in vars(here.options) if key.endswith("_from")]
    for key in moments:
        expected = getattr(later.options, key) / later.schedule.total_steps * steps
        assert getattr(here.options, key) == pytest.approx(expected, abs=1), key
    assert here.schedule.lr_warmup == pytest.approx(published.schedule.lr_warmup / whole * steps, abs=1)
    if name == "seco":
        memory = 1 / (1 - here.options.teacher_momentum)
        assert memory / steps == pytest.approx(0.05, rel=0.1)


def test_sizes_on_the_small_world_keep_what_must_not_scale():
    toco, seco = (Config.from_preset(name).options for name in ("toco", "seco"))
    assert toco.projection[2] == 4 * toco.projection[1], "or the temperature of class token contrast changes"
    keys = Config.from_preset("seco").schedule.batch_size * (2 + seco.patches)
    assert seco.reservoir % keys == 0 and 5 <= seco.reservoir / keys <= 8 and seco.reservoir >= 20 * 10
    assert max(seco.decoder_dilations) < Config.from_preset("seco").data.crop // 8
