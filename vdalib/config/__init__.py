"""Every setting of a run: dataclasses that check themselves (`settings`, `schema`), and presets in YAML."""

from vdalib.config.settings import (
    ClipConfig,
    Config,
    DataConfig,
    InferenceConfig,
    RefineConfig,
    ScheduleConfig,
    SegmenterConfig,
    parse_overrides,
    preset_names,
)

__all__ = [
    "ClipConfig",
    "Config",
    "DataConfig",
    "InferenceConfig",
    "RefineConfig",
    "ScheduleConfig",
    "SegmenterConfig",
    "parse_overrides",
    "preset_names",
]
