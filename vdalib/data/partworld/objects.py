"""The ten classes and their 36 kinds: their parts, which of them a kind may lack, their poses, and how each is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from . import aircraft, birds, boats, bottles, horses, people, pets, vehicles

if TYPE_CHECKING:
    from .sketch import Sketch

Poses = dict[str, tuple[float, float]]  # name -> range of tilt in degrees, positive raises the front


class Kind(NamedTuple):
    """One kind of a class; `optional` maps a part to its chance of being absent, 1.0 if the kind has none."""

    class_name: str
    draw: Callable[[Sketch], None]
    optional: dict[str, float]
    poses: Poses


# Main part first; the kinds of a class share its parts.
CLASS_PARTS: dict[str, tuple[str, ...]] = {
    "aeroplane": ("body", "wing", "tail", "window", "engine"),
    "bird": ("body", "head", "beak", "wing", "tail"),
    "boat": ("hull", "mast", "sail", "cabin", "funnel", "oar"),
    "bottle": ("body", "neck", "cap", "label", "handle"),
    "bus": ("body", "window", "wheel", "door", "roof"),
    "car": ("body", "roof", "window", "wheel", "light"),
    "cat": ("body", "head", "ear", "leg", "tail"),
    "dog": ("body", "head", "ear", "leg", "tail"),
    "horse": ("body", "head", "leg", "mane", "tail"),
    "person": ("body", "head", "hair", "arm", "leg"),
}

_FLYING: Poses = {"level": (-4.0, 4.0), "climbing": (7.0, 12.0), "landing": (-12.0, -7.0)}
_PERCHED: Poses = {"sitting": (-12.0, 12.0), "flying": (-12.0, 12.0)}
_AFLOAT: Poses = {"level": (-4.0, 4.0), "leaning": (-10.0, -5.0)}
_UPRIGHT: Poses = {"upright": (-3.0, 3.0), "leaning": (-12.0, -6.0)}
_ROLLING: Poses = {"level": (-3.0, 3.0), "uphill": (6.0, 12.0), "downhill": (-12.0, -6.0)}
_WALKING: Poses = {"standing": (-6.0, 6.0), "running": (-10.0, 10.0), "sitting": (-6.0, 6.0)}
_GRAZING: Poses = {"standing": (-6.0, 6.0), "running": (-10.0, 10.0), "grazing": (-6.0, 6.0)}
_UPRIGHT_WALK: Poses = {"standing": (-5.0, 5.0), "walking": (-10.0, 10.0), "waving": (-8.0, 8.0)}

KINDS: dict[str, Kind] = {
    "airliner": Kind("aeroplane", aircraft.airliner, {"window": 0.15, "engine": 0.15}, _FLYING),
    "biplane": Kind("aeroplane", aircraft.biplane, {"window": 0.15}, _FLYING),
    "fighter": Kind("aeroplane", aircraft.fighter, {"window": 0.15, "engine": 0.2}, _FLYING),
    "glider": Kind("aeroplane", aircraft.glider, {"engine": 1.0}, _FLYING),
    "crow": Kind("bird", birds.crow, {"tail": 0.1, "wing": 0.05}, _PERCHED),
    "gull": Kind("bird", birds.gull, {"tail": 0.15, "wing": 0.1}, _PERCHED),
    "parrot": Kind("bird", birds.parrot, {"tail": 0.15, "wing": 0.1}, _PERCHED),
    "sparrow": Kind("bird", birds.sparrow, {"tail": 0.15, "wing": 0.1}, _PERCHED),
    "canoe": Kind("boat", boats.canoe, {"mast": 1.0, "sail": 1.0, "cabin": 1.0, "funnel": 1.0}, _AFLOAT),
    "sailboat": Kind("boat", boats.sailboat, {"sail": 0.1, "cabin": 0.5, "funnel": 1.0, "oar": 1.0}, _AFLOAT),
    "steamer": Kind("boat", boats.steamer, {"sail": 1.0, "mast": 0.2, "oar": 1.0}, _AFLOAT),
    "tugboat": Kind("boat", boats.tugboat, {"sail": 1.0, "mast": 0.4, "oar": 1.0}, _AFLOAT),
    "carafe": Kind("bottle", bottles.carafe, {"cap": 0.3, "label": 0.5, "handle": 1.0}, _UPRIGHT),
    "flask": Kind("bottle", bottles.flask, {"cap": 0.3, "label": 0.4, "handle": 1.0}, _UPRIGHT),
    "jug": Kind("bottle", bottles.jug, {"cap": 1.0, "label": 0.4}, _UPRIGHT),
    "vial": Kind("bottle", bottles.vial, {"cap": 0.1, "label": 0.2, "handle": 1.0}, _UPRIGHT),
    "coach": Kind("bus", vehicles.coach, {"door": 0.2, "roof": 0.2}, _ROLLING),
    "minibus": Kind("bus", vehicles.minibus, {"door": 0.2, "roof": 0.2}, _ROLLING),
    "tram": Kind("bus", vehicles.tram, {"door": 0.2, "roof": 0.1}, _ROLLING),
    "hatchback": Kind("car", vehicles.hatchback, {"light": 0.2}, _ROLLING),
    "jeep": Kind("car", vehicles.jeep, {"light": 0.2, "roof": 0.2}, _ROLLING),
    "racer": Kind("car", vehicles.racer, {"light": 0.2, "roof": 0.1}, _ROLLING),
    "van": Kind("car", vehicles.van, {"light": 0.2}, _ROLLING),
    "lynx": Kind("cat", pets.lynx, {"ear": 0.1, "tail": 0.15}, _WALKING),
    "siamese": Kind("cat", pets.siamese, {"ear": 0.1, "tail": 0.15}, _WALKING),
    "tabby": Kind("cat", pets.tabby, {"ear": 0.1, "tail": 0.15}, _WALKING),
    "hound": Kind("dog", pets.hound, {"ear": 0.1, "tail": 0.15}, _WALKING),
    "poodle": Kind("dog", pets.poodle, {"ear": 0.1, "tail": 0.15}, _WALKING),
    "terrier": Kind("dog", pets.terrier, {"ear": 0.1, "tail": 0.15}, _WALKING),
    "pony": Kind("horse", horses.pony, {"mane": 0.1, "tail": 0.15}, _GRAZING),
    "stallion": Kind("horse", horses.stallion, {"mane": 0.1, "tail": 0.15}, _GRAZING),
    "zebra": Kind("horse", horses.zebra, {"mane": 0.1, "tail": 0.15}, _GRAZING),
    "boxer": Kind("person", people.boxer, {"hair": 0.15}, _UPRIGHT_WALK),
    "clown": Kind("person", people.clown, {"hair": 0.1}, _UPRIGHT_WALK),
    "dancer": Kind("person", people.dancer, {"hair": 0.15}, _UPRIGHT_WALK),
    "skater": Kind("person", people.skater, {"hair": 0.15}, _UPRIGHT_WALK),
}
KIND_NAMES: tuple[str, ...] = tuple(KINDS)
CLASSES: tuple[str, ...] = tuple(CLASS_PARTS)
KINDS_OF: dict[str, tuple[str, ...]] = {c: tuple(k for k, kind in KINDS.items() if kind.class_name == c) for c in CLASSES}
PARTS: tuple[tuple[str, str], ...] = tuple((name, part) for name, parts in CLASS_PARTS.items() for part in parts)
PART_ID: dict[tuple[str, str], int] = {pair: index + 1 for index, pair in enumerate(PARTS)}
