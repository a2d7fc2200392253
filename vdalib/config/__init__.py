"""Every setting of a run: dataclasses that check themselves (`settings`, `schema`), the methods by name (`methods`), presets
and files of YAML (`sources`, `reading`)."""

from vdalib.config.methods import NoOptions, method_class
from vdalib.config.schema import Count, NonNegative, Positive, Section, Share, Steps
from vdalib.config.settings import (
    ClipConfig,
    Config,
    DataConfig,
    InferenceConfig,
    RefineConfig,
    ScheduleConfig,
    SegmenterConfig,
)
from vdalib.config.sources import parse_overrides, preset_names

__all__ = [
    "ClipConfig",
    "Config",
    "Count",
    "DataConfig",
    "InferenceConfig",
    "NoOptions",
    "NonNegative",
    "Positive",
    "RefineConfig",
    "ScheduleConfig",
    "Section",
    "SegmenterConfig",
    "Share",
    "Steps",
    "method_class",
    "parse_overrides",
    "preset_names",
]
