import json

import pytest

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
