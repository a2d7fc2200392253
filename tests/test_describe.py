"""Every setting has a meaning, read from the comment beside it."""

from dataclasses import dataclass, field

import pytest

from vdalib.config import Config, preset_names
from vdalib.config.describe import Setting, described, field_comments
from vdalib.config.methods import BUILT_IN
from vdalib.config.schema import Section
from vdalib.config.sources import preset_comment


@dataclass(frozen=True)
class InnerConfig(Section):
    """A part of it [A] sec. 1."""

    width: int = 3  # px
    text: str = "# no comment"  # a word [R]


@dataclass(frozen=True)
class OuterConfig(Section):
    """All of it."""

    # said above, in
    # two lines
    first: tuple[int, ...] = (1, 2)
    silent: int = 0
    inner: InnerConfig = field(default_factory=InnerConfig)
    many: dict[str, int] = field(default_factory=dict)  # at the end [N] and [P]


def test_comments_beside_and_above_a_field_are_its_meaning():
    assert field_comments(OuterConfig) == {
        "first": "said above, in two lines",
        "silent": "",
        "inner": "",
        "many": "at the end [N] and [P]",
    }
    assert [*described(OuterConfig(first=[3]))] == [
        Setting("first", [3], [1, 2], "said above, in two lines", ""),
        Setting("silent", 0, 0, "", ""),
        Setting("inner.width", 3, 3, "px", "[A]"),
        Setting("inner.text", "# no comment", "# no comment", "a word [R]", "[R]"),
        Setting("many", {}, {}, "at the end [N] and [P]", "[N] [P]"),
    ]


@pytest.mark.parametrize("method", BUILT_IN)
def test_every_setting_says_what_it_is(method):
    for setting in described(Config.from_dict({"method": method})):
        assert len(setting.meaning) > 1 and "\n" not in setting.meaning, setting.name


def test_comments_of_inherited_fields_are_found_and_replaced():
    @dataclass(frozen=True)
    class FurtherConfig(InnerConfig):
        text: str = "more"  # another word

    assert field_comments(FurtherConfig) == {"width": "px", "text": "another word"}


def test_every_preset_says_what_it_is_for():
    for name in preset_names():
        assert len(preset_comment(name).split()) > 5 and not preset_comment(name).startswith("base:")
