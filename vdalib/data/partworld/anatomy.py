"""What the ten classes and their 36 kinds are made of: parts, which of them a kind may lack, and poses."""

from __future__ import annotations

Poses = dict[str, tuple[float, float]]  # name -> range of tilt in degrees, positive raises the front

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

# Class -> kind -> part -> its chance of being absent, 1.0 if the kind has none.
OPTIONAL: dict[str, dict[str, dict[str, float]]] = {
    "aeroplane": {
        "airliner": {"window": 0.15, "engine": 0.15},
        "biplane": {"window": 0.15},
        "fighter": {"window": 0.15, "engine": 0.2},
        "glider": {"engine": 1.0},
    },
    "bird": {
        "crow": {"tail": 0.1, "wing": 0.05},
        "gull": {"tail": 0.15, "wing": 0.1},
        "parrot": {"tail": 0.15, "wing": 0.1},
        "sparrow": {"tail": 0.15, "wing": 0.1},
    },
    "boat": {
        "canoe": {"mast": 1.0, "sail": 1.0, "cabin": 1.0, "funnel": 1.0},
        "sailboat": {"sail": 0.1, "cabin": 0.5, "funnel": 1.0, "oar": 1.0},
        "steamer": {"sail": 1.0, "mast": 0.2, "oar": 1.0},
        "tugboat": {"sail": 1.0, "mast": 0.4, "oar": 1.0},
    },
    "bottle": {
        "carafe": {"cap": 0.3, "label": 0.5, "handle": 1.0},
        "flask": {"cap": 0.3, "label": 0.4, "handle": 1.0},
        "jug": {"cap": 1.0, "label": 0.4},
        "vial": {"cap": 0.1, "label": 0.2, "handle": 1.0},
    },
    "bus": {
        "coach": {"door": 0.2, "roof": 0.2},
        "minibus": {"door": 0.2, "roof": 0.2},
        "tram": {"door": 0.2, "roof": 0.1},
    },
    "car": {
        "hatchback": {"light": 0.2},
        "jeep": {"light": 0.2, "roof": 0.2},
        "racer": {"light": 0.2, "roof": 0.1},
        "van": {"light": 0.2},
    },
    "cat": {
        "lynx": {"ear": 0.1, "tail": 0.15},
        "siamese": {"ear": 0.1, "tail": 0.15},
        "tabby": {"ear": 0.1, "tail": 0.15},
    },
    "dog": {
        "hound": {"ear": 0.1, "tail": 0.15},
        "poodle": {"ear": 0.1, "tail": 0.15},
        "terrier": {"ear": 0.1, "tail": 0.15},
    },
    "horse": {
        "pony": {"mane": 0.1, "tail": 0.15},
        "stallion": {"mane": 0.1, "tail": 0.15},
        "zebra": {"mane": 0.1, "tail": 0.15},
    },
    "person": {
        "boxer": {"hair": 0.15},
        "clown": {"hair": 0.1},
        "dancer": {"hair": 0.15},
        "skater": {"hair": 0.15},
    },
}

_ROLLING: Poses = {"level": (-3.0, 3.0), "uphill": (6.0, 12.0), "downhill": (-12.0, -6.0)}
_WALKING: Poses = {"standing": (-6.0, 6.0), "running": (-10.0, 10.0), "sitting": (-6.0, 6.0)}
POSES: dict[str, Poses] = {
    "aeroplane": {"level": (-4.0, 4.0), "climbing": (7.0, 12.0), "landing": (-12.0, -7.0)},
    "bird": {"sitting": (-12.0, 12.0), "flying": (-12.0, 12.0)},
    "boat": {"level": (-4.0, 4.0), "leaning": (-10.0, -5.0)},
    "bottle": {"upright": (-3.0, 3.0), "leaning": (-12.0, -6.0)},
    "bus": _ROLLING,
    "car": _ROLLING,
    "cat": _WALKING,
    "dog": _WALKING,
    "horse": {"standing": (-6.0, 6.0), "running": (-10.0, 10.0), "grazing": (-6.0, 6.0)},
    "person": {"standing": (-5.0, 5.0), "walking": (-10.0, 10.0), "waving": (-8.0, 8.0)},
}

CLASSES: tuple[str, ...] = tuple(CLASS_PARTS)
KINDS_OF: dict[str, tuple[str, ...]] = {name: tuple(kinds) for name, kinds in OPTIONAL.items()}
CLASS_OF: dict[str, str] = {kind: name for name, kinds in OPTIONAL.items() for kind in kinds}
KIND_NAMES: tuple[str, ...] = tuple(CLASS_OF)
PARTS: tuple[tuple[str, str], ...] = tuple((name, part) for name, parts in CLASS_PARTS.items() for part in parts)
PART_ID: dict[tuple[str, str], int] = {pair: index + 1 for index, pair in enumerate(PARTS)}
