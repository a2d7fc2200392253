"""Where settings come from: packaged presets, YAML files, the words of a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from vdalib.config.reading import parse_yaml, read_yaml, shown, with_absolute
from vdalib.config.schema import did_you_mean, merged

_FOLDERS, _FILES = ("data.root", "data.labels", "data.masks"), ("clip.pretrained", "clip.sentences", "backbone.pretrained")
PATHS = _FOLDERS + _FILES  # that may lie in the run directory
_HABITS = ("data.workers", "schedule.keep", "schedule.checkpoint_every", "schedule.validate_every", "tracker")
OUTWARD = ("preset", *_FOLDERS, *_HABITS)  # where a run lies, what it keeps, how often it is looked at: not what it computes
_PRESETS = resources.files("vdalib.config") / "presets"


def preset_names() -> tuple[str, ...]:
    """The packaged presets."""
    return tuple(sorted(file.name.removesuffix(".yaml") for file in _PRESETS.iterdir() if file.name.endswith(".yaml")))


def preset_comment(name: str) -> str:
    """What a packaged preset is for: the comment in its first line."""
    text = (_PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    return text.partition("\n")[0].lstrip("# ")


def resolved(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides for use from another folder: paths are absolute. A tag, such as "openai", is one where no file has its name."""

    def is_path(name: str, value: Any) -> bool:
        return isinstance(value, str) and (name in _FOLDERS or (name in _FILES and Path(value).is_file()))

    return {name: str(Path(value).resolve()) if is_path(name, value) else value for name, value in overrides.items()}


def preset_paths(source: str | Path) -> dict[str, Any]:
    """The relative paths that a YAML preset names, as overrides for use from another folder."""
    values, named = read_settings(source), {}
    for name in PATHS:
        section, _, key = name.partition(".")
        if isinstance(inside := values.get(section), dict) and isinstance(inside.get(key), str):
            named[name] = inside[key]
    return {name: path for name, path in resolved(named).items() if path != named[name]}


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """Command-line words as overrides, values read as YAML.

    >>> parse_overrides(["schedule.batch_size=8", "inference.scales=[1.0]"])
    {'schedule.batch_size': 8, 'inference.scales': [1.0]}
    """
    overrides = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise ValueError(f"override {argument!r}: expected KEY=VALUE, for example schedule.batch_size=8")
        overrides[key] = parse_yaml(value, key)
    return overrides


def read_settings(source: str | Path) -> dict[str, Any]:
    """The values of a preset or file, those of its base underneath.

    ValueError for a file that holds no settings, FileNotFoundError for a source that is neither.
    """
    if source in preset_names():
        values, name = parse_yaml((_PRESETS / f"{source}.yaml").read_text(encoding="utf-8"), str(source)), str(source)
    elif os.path.isfile(source):
        values, name = read_yaml(source), Path(source).stem
    else:
        raise FileNotFoundError(f"{source!s}: neither a YAML file nor a preset ({did_you_mean(str(source), preset_names())})")
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ValueError(f"{source}: expected settings such as `schedule: {{batch_size: 8}}`, found {shown(values)}")
    base = values.pop("base", None)
    if base is not None and base not in preset_names():
        raise ValueError(f"{source}: base: unknown preset {shown(base)} ({did_you_mean(str(base), preset_names())})")
    values = with_absolute(values, PATHS, Path(source).absolute().parent)
    return merged(read_settings(base) if base else {}, {"preset": name} | values)
