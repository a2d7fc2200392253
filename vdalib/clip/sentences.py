"""Sentences about classes, which ExCEL enriches its prompts with: a file that somebody wrote, or a rule of a small world."""

from __future__ import annotations

import csv
import hashlib
import re
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from vdalib.config import Config

RECOMMENDED = 20  # sentences a class [P]
_COLUMNS = ("class", "sentence", "kind")


class Sentence(NamedTuple):
    """What a file says of a class: lower case, one final stop. line: of the file, from 1."""

    class_index: int
    text: str
    line: int


@dataclass(frozen=True)
class Texts:
    """What is embedded: n texts, the class of each, where each comes from; the SHA-256 of their source, hexadecimal."""

    texts: tuple[str, ...]
    classes: tuple[int, ...]
    places: tuple[str, ...]
    source: str
    sha256: str

    def require_fitting(self, tokenizer: Callable) -> None:
        """ValueError for the first text that the tokenizer would cut short."""
        limit, encode = tokenizer.context_length, getattr(tokenizer, "encode", None) or tokenizer.tokenizer.encode
        for text, place in zip(self.texts, self.places):
            count = len(encode(text)) + 2  # start and end
            if count > limit:
                raise ValueError(f"{place}: {text!r} has {count} tokens, the text tower takes {limit}; shorten the sentence")

    def require_enough(self, attributes: int) -> None:
        """ValueError where there are fewer different texts than `clip.attributes`."""
        if (found := len({*self.texts})) < attributes:
            raise ValueError(
                f"{self.source}: found {found} sentences, expected at least clip.attributes = {attributes}; "
                f"write more, or set clip.attributes to {max(round(0.28 * found), 1)} (ExCEL's share)"
            )


def texts_of(config: Config, class_names: Sequence[str]) -> Texts | None:
    """The texts that `clip.sentences` asks for, None without; all that is wrong with them raises ValueError."""
    settings = config.clip
    if settings.sentences is None:
        return None
    if settings.sentences == "builtin" and config.data.name == "partworld":
        return partworld_texts(class_names, settings.templates[0])
    path = Path(settings.sentences)
    if settings.sentences == "builtin":
        if config.data.name != "voc12":
            raise ValueError(
                f"clip.sentences: builtin ones are there for voc12 and partworld, found data.name {config.data.name!r}; "
                f"write a file with the columns class,sentence, about {RECOMMENDED} sentences a class"
            )
        path = resources.files("vdalib.data") / "voc_sentences.csv"
    sentences, template = read_sentences(path, class_names), settings.templates[0]
    return Texts(
        tuple(whole_text(one.text, class_names[one.class_index], template, settings.sentence_template) for one in sentences),
        tuple(one.class_index for one in sentences),
        tuple(f"{path} line {one.line}" for one in sentences),
        str(path),
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def whole_text(sentence: str, class_name: str, template: str, sentence_template: str) -> str:
    """A sentence as it is embedded, lower case: after the class's prompt, unless the template says otherwise.

    >>> whole_text("it has a wet nose.", "dog", "a clean origami {}.", "{name_prompt} {sentence}")
    'a clean origami dog. it has a wet nose.'
    """
    name_prompt = template.format(class_name.replace("_", " "))
    return sentence_template.format(name_prompt=name_prompt, sentence=sentence).lower()


def class_statements(classes: Sequence[str], parts: Sequence[tuple[str, str]], colours: Sequence[str]) -> list[tuple[str, str]]:
    """All that a small world's CLIP can be told of its classes, (class, words): name, coloured name, name with a part ([R] ours).

    A pure function of the world's tables; scenes stay out, they are the background.

    >>> class_statements(["dog", "bus"], [("dog", "tail"), ("bus", "door")], ["red"])
    [('dog', 'dog'), ('dog', 'red dog'), ('dog', 'dog tail'), ('bus', 'bus'), ('bus', 'red bus'), ('bus', 'bus door')]
    """
    return [
        (name, words)
        for name in classes
        for words in (
            name,
            *(f"{colour} {name}" for colour in colours),
            *(f"{name} {part}" for owner, part in parts if owner == name),
        )
    ]


def partworld_texts(class_names: Sequence[str], template: str) -> Texts:
    """PartWorld's statements of classes or kinds in a template, whole texts without a prompt: its text tower holds 16 tokens."""
    from vdalib.data.partworld import COLOURS, KINDS, PARTS

    of_kinds = [(name, part) for name, kind in KINDS.items() for part in kind.parts]
    statements = class_statements(class_names, (*PARTS, *of_kinds), COLOURS)
    texts = tuple(template.format(words).lower() for _, words in statements)
    return Texts(
        texts,
        tuple(class_names.index(name) for name, _ in statements),
        tuple(f"PartWorld's statement {words!r}" for _, words in statements),
        "PartWorld's statements",
        hashlib.sha256("\n".join(texts).encode()).hexdigest(),
    )


def read_sentences(path: Path, class_names: Sequence[str]) -> list[Sentence]:
    """A CSV file with the columns class, sentence and perhaps kind, UTF-8; blank lines and lines that begin with # are skipped.

    Raises FileNotFoundError without the file and ValueError for all that is wrong in it, with line and cure; warns of classes
    with few sentences and of sentences that name another class.
    """
    index = {name.replace("_", " "): place for place, name in enumerate(class_names)}
    found, first = [], {}
    rows = _rows(path)
    _, header = next(rows, (1, []))
    header = [name.strip().lower() for name in header]
    if sorted(header) not in (sorted(_COLUMNS[:2]), sorted(_COLUMNS)):
        raise ValueError(
            f"{path}: columns: found {','.join(header) or 'none'}, expected class,sentence and perhaps kind, separated by commas"
            "; correct the first line"
        )
    for line, row in rows:
        where = f"{path} line {line}"
        if len(row) != len(header):
            raise ValueError(
                f"{where}: found {len(row)} fields, expected {len(header)} ({','.join(header)}); "
                "put a sentence with commas in quotes"
            )
        values = dict(zip(header, map(str.strip, row)))
        name, words = values["class"].replace("_", " "), " ".join(values["sentence"].split())
        if name not in index:
            near = ", ".join(get_close_matches(name, [*index], n=3, cutoff=0.5) or index)
            raise ValueError(f"{where}: unknown class {values['class']!r}; the nearest: {near}")
        text = words.lower().rstrip(" .") + "."
        if text == ".":
            raise ValueError(f"{where}: the sentence is empty; write one, or take the line out")
        if (index[name], text) in first:
            raise ValueError(f"{where}: {words!r} stands in line {first[index[name], text]} for {name!r} already; take one out")
        first[index[name], text] = line
        found.append(Sentence(index[name], text, line))
    counts = Counter(one.class_index for one in found)
    missing = [name for name, place in index.items() if not counts[place]]
    if missing:
        raise ValueError(f"{path}: no sentence for {', '.join(missing)}; write about {RECOMMENDED} for each class")
    _warn_of_few(path, index, counts)
    _warn_of_other_names(path, index, found)
    return found


def _rows(path: Path):
    """(line, fields) of every row that says something."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"clip.sentences: {path}: no such file; write one with the columns class,sentence") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as CSV UTF-8") from error
    lines = ["\n" if line.lstrip().startswith("#") else line for line in text.splitlines(keepends=True)]
    reader = csv.reader(lines, strict=True)
    try:
        for row in reader:
            if any(value.strip() for value in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path} line {reader.line_num}: {error}; check the quotes") from error


def _warn_of_few(path: Path, index: dict[str, int], counts: Counter) -> None:
    median = statistics.median(counts.values())
    few = [f"{name} ({counts[place]})" for name, place in index.items() if counts[place] < median / 2]
    if few:
        cure = f"write about {RECOMMENDED} for each class"
        warnings.warn(f"{path}: {', '.join(few)}: less than half the median of {median:g} sentences; {cure}", stacklevel=2)


def _warn_of_other_names(path: Path, index: dict[str, int], found: list[Sentence]) -> None:
    names = {place: re.compile(rf"\b{re.escape(name.lower())}s?\b") for name, place in index.items()}
    named = [(one, place) for one in found for place, name in names.items() if place != one.class_index and name.search(one.text)]
    if named:
        (one, place), classes = named[0], [*index]
        message = (
            f"{path}: {len(named)} sentences name another class, first line {one.line}: {one.text!r} of "
            f"{classes[one.class_index]!r} names {classes[place]!r}; say what is seen of the class itself"
        )
        warnings.warn(message, stacklevel=2)
