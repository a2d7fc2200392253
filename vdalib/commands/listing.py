"""What can be chosen: presets and settings, each with its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from vdalib.config import Config, preset_names
from vdalib.config.describe import described
from vdalib.config.sources import preset_comment


def preset_lines() -> Iterator[str]:
    """A line for each packaged preset: name and meaning."""
    names = preset_names()
    width = max(map(len, names))
    for name in names:
        yield f"{name:<{width}}  {preset_comment(name)}"


def setting_lines(config: Config, prefixes: Sequence[str] = ()) -> Iterator[str]:
    """A line for each setting whose name begins with one of `prefixes` (all, if none): value, meaning, trust tags.

    Raises ValueError for a prefix that no setting has.
    """
    known = [*described(config)]
    names = [setting.name for setting in known]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            near = [name for name in names if prefix.rpartition(".")[2] in name]
            near = near or get_close_matches(prefix, [*dict.fromkeys(name.partition(".")[0] for name in names), *names], n=1)
            cure = f"did you mean {' or '.join(near)}?" if near else "`vdalib settings` lists all"
            raise ValueError(f"no setting begins with {prefix!r}; {cure}")
    chosen = [setting for setting in known if not prefixes or setting.name.startswith(tuple(prefixes))]
    width = None if prefixes else 24
    names, values = [setting.name for setting in chosen], [_shown(setting.value, width) for setting in chosen]
    widths = max(map(len, names)), max(map(len, values))
    for name, value, setting in zip(names, values, chosen):
        default = "" if setting.value == setting.default else f"(default {_shown(setting.default, width)}) "
        tags = f" {setting.source}" * ("[" not in setting.meaning)
        yield f"{name:<{widths[0]}}  {value:<{widths[1]}}  {default}{setting.meaning}{tags}".rstrip()


def _shown(value: object, width: int | None) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if width is None or len(text) <= width else f"{text[: width - 3]}..."
