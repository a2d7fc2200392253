"""Bad input of every kind that people have: each is named in one line with file, place and cure, and nothing is half-written.

A row of the table says what is wrong, how a good folder is changed to be so, and a pattern that the error must have. What
`prepare` reads goes through the command line, which must end with that line and status 1.
"""

import hashlib
import re
import shutil

import numpy as np
import pytest
from bad_datasets import DATASETS
from bad_files import AREAS, COMMANDS
from bad_folders import FOLDERS
from bad_pictures import PICTURES
from bad_settings import OVERRIDES, SETTINGS

from vdalib.config import Config, parse_overrides
from vdalib.data.folder import prepare_folder
from vdalib.data.images import read_mask

CURE = "; |expected|known:|missing"  # what to do, or what would be right
SIGNS = '"|,|;|:|#|{|}|[|]|<|>|&a |*a |- |%|\t|\n|\0|1e400|NaN|null|no|!!int |99999999999999999999'.split("|")
TABLE = PICTURES | FOLDERS | DATASETS | SETTINGS


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """area -> a good folder; that each is good is what makes the table say anything."""
    folders = {}
    for area, (write, act) in AREAS.items():
        folders[area] = tmp_path_factory.mktemp("good") / area
        if area != "coco":
            folders[area].mkdir()
        write(folders[area])
        tried = shutil.copytree(folders[area], tmp_path_factory.mktemp("tried") / area)
        if area == "prepared":
            prepare_folder(tried)
        act(tried)
    return folders


def contents(root):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("area", "change", "said"),
    [pytest.param(area, change, said, id=f"{area}: {what}") for area, rows in TABLE.items() for what, change, said in rows],
)
def test_it_is_named_in_one_line_with_its_cure_and_nothing_is_half_written(good, tmp_path, area, change, said):
    root = shutil.copytree(good[area], tmp_path / "it")
    if area == "prepared":
        prepare_folder(root)
    change(root)
    before = contents(root)
    message = error_of(area, root)
    assert re.search(said, message), message
    assert "\n" not in message and len(message) < 1000, message
    assert str(root) in message and re.search(CURE, message), message
    require_nothing_half_written(before, contents(root))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("area", AREAS)
def test_whatever_happens_to_a_file_it_is_read_or_named(good, tmp_path, area):
    dice = np.random.default_rng(list(area.encode()))
    for trial in range(30):
        root = shutil.copytree(good[area], tmp_path / str(trial))
        if area == "prepared":
            prepare_folder(root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        file = files[dice.integers(len(files))]
        file.write_bytes(damaged(file.read_bytes(), dice))
        before = contents(root)
        message = error_of(area, root, or_none=True)
        if message is not None:
            assert str(root) in message.splitlines()[0] and re.search(CURE, message), f"{file}: {message}"
            require_nothing_half_written(before, contents(root))


def damaged(content, dice):
    """Bytes with one to four of: a byte changed, a stretch lost or doubled, a sign of some format put in, the end cut."""
    content = bytearray(content)
    for _ in range(dice.integers(1, 5)):
        place, length = dice.integers(len(content) + 1), dice.integers(1, 40)
        changes = [bytes([dice.integers(256)]), b"", 2 * content[place : place + length], dice.choice(SIGNS).encode()]
        kind = dice.integers(5)
        if kind == 4:
            del content[place:]
        else:
            content[place : place + (1, length, length, 0)[kind]] = changes[kind]
    return bytes(content)


def error_of(area, root, or_none=False):
    """What is said of a bad folder, None where nothing is; `prepare` says it on the command line."""
    try:
        AREAS[area][1](root)
    except (SystemExit, ValueError, OSError) as error:
        assert isinstance(error, SystemExit) == (area in COMMANDS)
        assert area not in COMMANDS or str(error).startswith("error: ")  # a text ends a program with status 1
        return str(error)
    assert or_none, f"{area}: nothing was said"
    return None


def require_nothing_half_written(before, after):
    new = {path for path in after if path not in before}
    assert all(after[path] == content for path, content in before.items())
    assert all(path.match("masks/*/*.png") for path in new)  # COCO's masks of other images, each whole
    for path in new:
        read_mask(path, 80)


@pytest.mark.parametrize(("word", "said"), OVERRIDES, ids=[word[:30] for word, _ in OVERRIDES])
def test_a_wrong_setting_on_the_command_line_is_named_in_one_line(word, said):
    with pytest.raises(ValueError) as raised:
        Config.from_preset("voc12", parse_overrides([word]))
    message = str(raised.value)
    assert re.search(said, message) and "\n" not in message and len(message) < 1000, message


def test_the_table_is_as_large_as_it_says():
    assert sum(len(rows) for rows in TABLE.values()) + len(OVERRIDES) >= 300
