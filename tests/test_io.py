import json
import os
import stat
import subprocess
import sys
import zlib

import pytest
import torch
from safetensors.torch import save_file

from vdalib import io
from vdalib.io import atomic_path, write_json


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "notes.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("all")
        assert temporary.suffix == ".txt" and temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2]}


@pytest.mark.parametrize("name", ["n" * 251 + ".txt", "猫" * 83 + ".jpeg", "a." + "n" * 253])
def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("all")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_longer_name_is_refused_with_its_own_cure(tmp_path):
    with pytest.raises(OSError, match="nothing was written there; shorten its name"), atomic_path(tmp_path / ("n" * 256)) as path:
        path.write_text("all")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_files_have_the_permissions_of_the_umask_also_those_of_safetensors(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
        write_json(tmp_path / "b.json", 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_what_a_killed_process_left_is_removed_by_the_next_and_a_living_ones_is_not(tmp_path):
    killed = (
        "import os, sys; from vdalib.io import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path: path.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "a.txt")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    other = f".{zlib.crc32(b'another machine'):08x}-1-00000000.partial.txt"
    for name in (other, ".mine.partial.txt", f".{io._machine()}-{os.getppid()}-00000000.partial.txt"):
        (tmp_path / name).write_text("not ours to remove")
    kept = {path.name for path in tmp_path.iterdir() if "remove" in path.read_text()}
    with atomic_path(tmp_path / "b.txt") as path:
        path.write_text("all")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"b.txt"}


def test_what_another_machine_left_is_removed_after_a_day(tmp_path):
    other = tmp_path / f".{zlib.crc32(b'another machine'):08x}-1-00000000.partial.txt"
    other.write_text("half")
    os.utime(other, (0, 0))
    write_json(tmp_path / "b.json", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
