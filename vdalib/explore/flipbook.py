"""A figure that moves under a slider without a kernel: pictures computed beforehand, in HTML that asks no other host."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from torch import Tensor

_SIGNS = {  # of matplotlib's buttons, in place of an icon font from the network
    "minus": "−",
    "fast-backward": "«",
    "step-backward": "◁",
    "play fa-flip-horizontal": "◀",
    "pause": "‖",
    "play": "▶",
    "step-forward": "▷",
    "fast-forward": "»",
    "plus": "+",
}


def flipbook(figure: Figure, draw: Callable[[int], object], frames: int, seconds: float = 0.5, dpi: int = 70) -> str:
    """HTML with a slider over `frames` pictures of the figure; `draw(i)` makes it the i-th. The figure is closed.

    seconds: a frame lasts when played. dpi: of the JPEG frames, which are a part of the HTML.
    """
    figure.set_dpi(dpi)
    animation = FuncAnimation(figure, draw, frames, interval=1000 * seconds, init_func=lambda: None)
    with plt.rc_context({"animation.frame_format": "jpeg", "savefig.dpi": "figure"}):
        html = animation.to_jshtml(default_mode="once")
    plt.close(figure)
    html = re.sub(r"<link[^>]*>", "", html)
    return re.sub(r'<i class="fa fa-([^"]*)"></i>', lambda icon: _SIGNS[icon[1]], html)


def query_path(seen, k: int, description: Tensor, alphas: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
    """What queries (1 - alpha) T + alpha A make of one image: for each alpha its seed (h, w) of class k and pseudo label (H, W).

    seen: ClipEvidence of one image. description: (D,), A of unit length. The other classes ask by text.
    """
    text = F.normalize(seen.text_queries[0, k], dim=0)
    path = []
    for alpha in alphas:
        queries = seen.text_queries.clone()
        queries[0, k] = torch.lerp(text, description, alpha)
        path.append((seen.seeds_of(queries)[0, k], seen.pseudo_label_of(queries)[0]))
    return path
