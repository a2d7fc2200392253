"""Text only: every query is the class's text prototype, from the first step to the last. A control."""

from __future__ import annotations

from vdalib.methods.frozen_clip import FrozenClipMethod


class TextOnly(FrozenClipMethod):
    """The segmenter taught by text prompts alone, which is VDA's first stage for the whole of the schedule."""
