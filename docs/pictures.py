"""Draws the pictures of the method as SVG: `python docs/pictures.py` writes method.svg, coupling.svg and mixture.svg here.

Every picture has a ground of its own, so that it reads on a light page and on a dark one. Text stays text.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
INK, SOFT, GROUND = "#22262b", "#6b7480", "#fbfaf7"
FROZEN, ONE, TWO, THREE = "#7a828c", "#0072b2", "#d55e00", "#008f66"
TINT = {FROZEN: "#eceef0", ONE: "#e3f0f9", TWO: "#fdebdd", THREE: "#dff3ec", SOFT: "#ffffff"}
SERIF = "Georgia, Times New Roman, Liberation Serif, DejaVu Serif, serif"
HEAT = ("#0b0924", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf")


class Picture:
    """Shapes in the order of drawing; `svg()` is the file."""

    def __init__(self, width: int, height: int, title: str, description: str):
        self.size, self.title, self.description = (width, height), title, description
        self.shapes = []

    def add(self, tag: str, content: str = "", **attributes) -> None:
        values = "".join(f' {name.rstrip("_").replace("_", "-")}="{value}"' for name, value in attributes.items())
        self.shapes.append(f"<{tag}{values}>{content}</{tag}>" if content else f"<{tag}{values}/>")

    def text(self, x: float, y: float, words: str, size: int = 17, fill: str = INK, anchor: str = "middle", **more) -> None:
        """Lines of words; what stands between two $ is mathematics, with _{} below and ^{} above the line."""
        for number, line in enumerate(words.split("\n")):
            self.add(
                "text", _spans(line, size), x=x, y=y + 1.28 * size * number, font_size=size, fill=fill, text_anchor=anchor, **more
            )

    def box(self, x, y, width, height, words: str, colour: str, size: int = 17) -> None:
        """A part of the method; `colour` is that of the stage in which it begins to work."""
        self.add("rect", x=x, y=y, width=width, height=height, rx=9, fill=TINT[colour], stroke=colour, stroke_width=2)
        lines = words.count("\n")
        self.text(x + width / 2, y + height / 2 + 0.35 * size - 0.64 * size * lines, words, size)

    def line(self, points, colour: str, gradient: bool = False, end: bool = True, halo: bool = True) -> None:
        """A path with an arrow at its end: data solid, gradients dashed. The halo shows which of two crossing lines is above."""
        path = "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
        if halo:
            self.add("path", d=path, fill="none", stroke=GROUND, stroke_width=8)
        style = {"stroke_dasharray": "7 5"} if gradient else {}
        self.add("path", d=path, fill="none", stroke=colour, stroke_width=2.4, stroke_linejoin="round", **style)
        if end:
            (x0, y0), (x, y) = points[-2:]
            length = math.hypot(x - x0, y - y0)
            dx, dy = (x - x0) / length, (y - y0) / length
            corners = ((x + 2 * dx, y + 2 * dy), *((x - 10 * dx - s * 5.5 * dy, y - 10 * dy + s * 5.5 * dx) for s in (1, -1)))
            self.add("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners), fill=colour)

    def svg(self) -> str:
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
            ' font-family="Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif">'
        )
        ground = f'<rect width="{width}" height="{height}" rx="14" fill="{GROUND}"/>'
        about = f"<title>{escape(self.title)}</title>\n<desc>{escape(self.description)}</desc>"
        return "\n".join([head, about, ground, *self.shapes, "</svg>"]) + "\n"


def _spans(line: str, size: int) -> str:
    parts = []
    for number, part in enumerate(line.split("$")):
        if number % 2 == 0:
            parts.append(escape(part))
            continue
        for place, token in re.findall(r"([_^]?)(\{[^}]*\}|[^_^])", part):
            token, shift = escape(token.strip("{}")), {"": 0, "_": 0.28, "^": -0.42}[place] * size
            if not place:
                parts.append(f'<tspan font-family="{SERIF}" font-style="italic">{token}</tspan>')
                continue
            slope = "normal" if re.fullmatch("[a-z]{2,}", token) else "italic"
            small = f'font-size="{0.68 * size:.1f}" font-family="{SERIF}" font-style="{slope}"'
            parts.append(f'<tspan dy="{shift:.1f}" {small}>{token}</tspan><tspan dy="{-shift:.1f}">&#8203;</tspan>')
    return "".join(parts)


def boat(picture: Picture, x: float, y: float, side: float, mask: bool = False, rough: bool = False) -> None:
    """A boat on water, or its mask; `rough`: as a segmenter would draw it."""
    place = f"translate({x:g} {y:g}) scale({side / 100:g})"
    hull, sail = "M12,66 L88,66 L74,84 L26,84 Z", "M50,12 L50,60 L80,60 Z"
    if rough:
        hull, sail = (
            "M10,64 Q50,60 90,65 Q84,86 70,86 Q40,90 26,84 Q14,78 10,64 Z",
            "M46,14 Q54,10 58,24 Q78,48 82,60 Q60,64 46,62 Z",
        )
    if mask:
        inner = f'<rect width="100" height="100" fill="#10131a"/><path d="{hull} {sail}" fill="#4aa3df"/>'
        inner += "" if rough else '<rect x="47.5" y="12" width="4" height="54" fill="#4aa3df"/>'
    else:
        inner = (
            '<rect width="100" height="100" fill="#cfe4f2"/><rect y="72" width="100" height="28" fill="#3f7fb0"/>'
            f'<path d="{hull}" fill="#8a4b2a"/><path d="{sail}" fill="#fff7e3"/>'
            '<rect x="47.5" y="12" width="4" height="54" fill="#5a3a22"/><circle cx="20" cy="22" r="9" fill="#f4d35e"/>'
        )
    picture.add("g", inner + f'<rect width="100" height="100" fill="none" stroke="{INK}" stroke-width="1.5"/>', transform=place)


def patches(picture: Picture, x: float, y: float, side: float, heat: bool) -> None:
    """A grid of patches: dense features in muted colours, or a class activation map that is high on the boat."""
    count = 7
    cell = side / count
    for row in range(count):
        for column in range(count):
            u, v = (column + 0.5) / count, (row + 0.5) / count
            on_boat = max(1 - 2.4 * abs(v - 0.72) - 0.9 * abs(u - 0.5), 1 - 2.6 * abs(u - 0.56) - 1.1 * abs(v - 0.5), 0)
            if heat:
                colour = HEAT[min(int(on_boat**1.3 * 6.4), 5)]
            else:
                hue = 28 if on_boat > 0.55 else 205 if v < 0.7 else 228
                colour = f"hsl({hue}, {38 + 9 * ((3 * row + 5 * column) % 4)}%, {58 + 6 * ((2 * row + column) % 4)}%)"
            left, top = f"{x + column * cell:.1f}", f"{y + row * cell:.1f}"
            picture.add("rect", x=left, y=top, width=f"{cell:.1f}", height=f"{cell:.1f}", fill=colour, stroke=GROUND)


def star(picture: Picture, x: float, y: float, radius: float, fill: str) -> None:
    corners = [(radius if n % 2 == 0 else 0.42 * radius, math.pi * (n / 5 - 0.5)) for n in range(10)]
    points = " ".join(f"{x + r * math.cos(a):.1f},{y + r * math.sin(a):.1f}" for r, a in corners)
    picture.add("polygon", points=points, fill=fill, stroke=INK, stroke_width=1)


def cross(picture: Picture, x: float, y: float, colour: str, size: float = 6) -> None:
    d = f"M{x - size:g},{y - size:g} L{x + size:g},{y + size:g} M{x - size:g},{y + size:g} L{x + size:g},{y - size:g}"
    picture.add("path", d=d, stroke=colour, stroke_width=3, fill="none", stroke_linecap="round")


def port(picture: Picture, x: float, y: float, name: str) -> None:
    """A line that goes on at the port of the same name."""
    picture.add("circle", cx=x, cy=y, r=18, fill=GROUND, stroke=THREE, stroke_width=2, stroke_dasharray="2 3")
    picture.text(x, y + 6, name, 16)


def method() -> Picture:
    """From an image with a label to its pseudo label, and how queries become visual."""
    p = Picture(
        1280,
        1050,
        "The method: Visual Description Assembly",
        "A frozen CLIP gives dense features. A query per class makes a class activation map, refined to a pseudo label "
        "that teaches the segmenter. What the segmenter predicts gives instance prototypes; an invertible network and a "
        "Gaussian mixture learn from the reliable ones and give back attributes, from which a visual query is assembled.",
    )
    # what the segmenter is: the only part that inference needs
    p.box(330, 118, 112, 74, "adapter", ONE)
    p.box(490, 118, 112, 74, "decoder", ONE)
    p.line([(236, 302), (236, 155), (328, 155)], FROZEN)
    p.text(246, 146, "tokens", 15, SOFT, "start")
    p.line([(444, 155), (488, 155)], ONE)
    p.line([(604, 155), (998, 155)], ONE)
    boat(p, 1000, 102, 106, mask=True, rough=True)
    p.text(1053, 92, "prediction")
    p.box(700, 34, 92, 50, "$L_{con}$", THREE)
    p.line([(366, 116), (366, 50), (698, 50)], THREE)
    p.text(376, 42, "mean embedding of the predicted mask", 15, SOFT, "start")
    p.line([(746, 86), (746, 104), (408, 104), (408, 116)], THREE, gradient=True)
    p.line([(838, 59), (794, 59)], THREE)
    port(p, 858, 59, "$G_{k}$")
    p.text(884, 65, "class anchor", 16, INK, "start")
    # from the image to the pseudo label
    boat(p, 34, 318, 120)
    p.text(94, 306, "image")
    p.box(190, 304, 92, 148, "CLIP\n(frozen)", FROZEN)
    p.line([(156, 378), (188, 378)], FROZEN)
    patches(p, 330, 318, 120, heat=False)
    p.text(390, 306, "dense features $V$")
    p.line([(284, 378), (328, 378)], FROZEN)
    patches(p, 524, 318, 120, heat=True)
    p.text(584, 306, "CAM")
    p.line([(452, 378), (522, 378)], FROZEN)
    p.box(698, 332, 134, 92, "random walk,\nthen PAR", ONE)
    p.line([(646, 378), (696, 378)], ONE)
    p.line([(262, 302), (262, 268), (765, 268), (765, 330)], FROZEN)
    p.text(290, 260, "attention maps", 15, SOFT, "start")
    boat(p, 878, 322, 112, mask=True)
    p.text(934, 456, "pseudo label")
    p.line([(834, 378), (876, 378)], ONE)
    p.box(1040, 342, 126, 72, "$L_{seg}$ + 0.1 $L_{aff}$", ONE)
    p.line([(992, 378), (1038, 378)], ONE)
    p.line([(1084, 210), (1084, 340)], ONE)
    p.line([(1058, 340), (1058, 232), (546, 232), (546, 196)], ONE, gradient=True)
    p.line([(546, 232), (386, 232), (386, 196)], ONE, gradient=True)
    # text
    p.box(34, 494, 120, 40, "label: boat", FROZEN)
    p.line([(94, 440), (94, 492)], FROZEN, end=False)
    p.box(34, 588, 206, 88, "CLIP’s text tower (frozen)\n“a clean origami boat.”", FROZEN, 15)
    p.line([(94, 536), (94, 586)], FROZEN)
    p.box(440, 588, 250, 88, "query of class $k$\n$Q_{k}$ = (1 − $α_{k}$) $T_{k}$ + $α_{k}$ $A_{k}$", ONE)
    p.line([(242, 632), (438, 632)], ONE)
    p.text(340, 620, "text prototype $T_{k}$")
    p.text(340, 658, "stages 1 and 2: $Q_{k}$ = $T_{k}$", 15, ONE)
    # prototypes
    p.line([(1108, 155), (1244, 155), (1244, 632), (1224, 632)], TWO)
    p.text(1266, 420, "no gradient", 15, SOFT, "middle", transform="rotate(90 1266 420)")
    p.line([(390, 440), (390, 526), (1160, 526), (1160, 586)], TWO)
    p.line([(584, 586), (584, 442)], ONE)
    p.text(594, 486, "cos($V$, $Q_{k}$)", 17, INK, "start")
    p.box(1098, 588, 124, 88, "prototype $P_{k}$:\nmean of $V$ in\nthe prediction", TWO, 16)
    p.box(960, 588, 102, 88, "reliable?\n$s_{k}$ > 0.95", TWO, 16)
    p.line([(1096, 632), (1064, 632)], TWO)
    # through the INN into latent space
    p.line([(1011, 678), (1011, 802)], TWO)
    p.box(770, 804, 292, 44, "INN", TWO)
    p.text(1011, 832, "$f$ ↓")
    p.text(845, 832, "$g$ = $f^{−1}$ ↑")
    p.add("rect", x=770, y=886, width=292, height=138, rx=9, fill="#ffffff", stroke=TWO, stroke_width=2)
    for x, y, colour in ((845, 956, "#4aa3df"), (975, 958, "#c9a227")):
        for radius in (56, 34):
            p.add(
                "ellipse", cx=x, cy=y, rx=1.1 * radius, ry=radius, fill=colour, fill_opacity=0.16, stroke=colour, stroke_width=1
            )
    for x, y in ((820, 934), (871, 930), (874, 980), (822, 984)):
        cross(p, x, y, THREE)
    star(p, 845, 956, 12, "#4aa3df")
    star(p, 975, 958, 12, "#c9a227")
    p.line([(1011, 850), (1011, 902), (900, 944)], TWO)
    p.add("circle", cx=892, cy=947, r=5.5, fill=INK)
    p.text(900, 968, "$z$")
    p.box(1098, 902, 124, 106, "$L_{inter}$ + $L_{dis}$\nstage 3:\n+ $L_{intra}$", TWO, 16)
    p.line([(1064, 930), (1096, 930)], TWO)
    p.line([(1096, 980), (1066, 980)], TWO, gradient=True)
    p.line([(1160, 900), (1160, 826), (1066, 826)], TWO, gradient=True)
    # and back: attributes, description, query
    for below, above in ((884, 850), (802, 774), (710, 678)):
        p.line([(845, below), (845, above)], THREE)
    p.box(770, 712, 150, 60, "attributes\n$a_{k}^{i}$ = $g$($μ_{k}^{i}$)", THREE, 16)
    port(p, 958, 742, "$G_{k}$")
    p.line([(922, 742), (938, 742)], THREE)
    p.text(962, 784, "= $g$($μ_{k}$)", 16)
    p.box(770, 588, 150, 88, "visual description\n$A_{k}$ = Σ$_{i}$ $w_{k}^{i}$ $a_{k}^{i}$", THREE, 16)
    p.line([(768, 618), (692, 618)], THREE)
    p.line([(768, 930), (730, 930), (730, 656), (768, 656)], THREE)
    p.text(720, 762, "responses $w_{k}^{i}$", 17, INK, "end")
    p.line([(768, 984), (566, 984), (566, 678)], THREE)
    p.text(556, 762, "density weight $α_{k}$", 17, INK, "end")
    # legend
    for row, (colour, words) in enumerate(
        (
            (ONE, "1  text queries teach the segmenter"),
            (TWO, "2  INN and class mixture learn,\n    queries are still text"),
            (THREE, "3  attributes, fused queries"),
            (FROZEN, "frozen, in every stage"),
        )
    ):
        y = 800 + (0, 34, 90, 124)[row]
        p.add("rect", x=34, y=y - 15, width=20, height=20, rx=4, fill=TINT[colour], stroke=colour, stroke_width=2)
        p.text(66, y, words, 16, INK, "start")
    for x, words, gradient in ((34, "data", False), (162, "gradients", True)):
        p.line([(x, 962), (x + 60, 962)], INK, gradient)
        p.text(x + 72, 968, words, 16, INK, "start")
    p.text(34, 1000, "Inference: image, CLIP, adapter, decoder, prediction.", 16, INK, "start")
    p.text(34, 1024, "Stars: class centres $μ_{k}$. Crosses: attribute centres $μ_{k}^{i}$.", 16, INK, "start")
    return p


def coupling() -> Picture:
    """One of the INN's six layers."""
    p = Picture(
        1000,
        360,
        "A layer of the invertible network",
        "Channels are split in halves, where asked for after a permutation. The first half passes and decides by two networks "
        "how the second is scaled and shifted; both are joined and normalised.",
    )
    p.text(38, 168, "$x$", 20)
    p.box(78, 124, 108, 76, "permute\n(option)", SOFT)
    p.line([(54, 162), (76, 162)], INK)
    p.line([(188, 162), (226, 162), (226, 72), (766, 72), (766, 122)], INK)
    p.line([(226, 162), (226, 272), (436, 272)], INK, halo=False)
    p.text(250, 60, "$u_{1}$", 20)
    p.text(250, 300, "$u_{2}$", 20)
    p.text(700, 60, "$z_{1}$ = $u_{1}$", 20)
    for x, name, sign in ((458, "$s$", "×"), (588, "$t$", "+")):
        p.line([(x, 72), (x, 124)], TWO, halo=False)
        p.box(x - 40, 126, 80, 62, name, TWO, 21)
        p.line([(x, 190), (x, 250)], TWO)
        p.add("circle", cx=x, cy=272, r=20, fill="#ffffff", stroke=INK, stroke_width=2)
        p.text(x, 280, sign, 25)
    p.text(470, 224, "exp", 17, INK, "start")
    p.line([(480, 272), (566, 272)], INK)
    p.line([(610, 272), (766, 272), (766, 202)], INK)
    p.text(690, 300, "$z_{2}$ = $u_{2}$ $e^{s(u₁)}$ + $t$($u_{1}$)", 20)
    p.box(706, 124, 120, 76, "join", SOFT)
    p.box(852, 124, 100, 76, "ActNorm", TWO)
    for start, end in ((828, 850), (954, 986)):
        p.line([(start, 162), (end, 162)], INK)
    p.text(970, 150, "$z$", 20)
    p.text(
        34, 342, "Back again, without inverting $s$ or $t$: $u_{2}$ = ($z_{2}$ − $t$($z_{1}$)) $e^{−s(z₁)}$.", 17, INK, "start"
    )
    p.text(980, 342, "log |det $J$| of the coupling: the sum of $s$($u_{1}$).", 17, INK, "end")
    return p


def mixture() -> Picture:
    """The two levels of the mixture in latent space."""
    p = Picture(
        1000,
        430,
        "The hierarchical mixture",
        "Level one: every class is a unit Gaussian in latent space. Level two: within a class, attribute centres stand at "
        "offsets from the class centre, and a latent answers to each of them with a share.",
    )
    p.text(245, 38, "level 1: one Gaussian a class", 19)
    p.text(735, 38, "level 2: attributes within class $k$", 19)
    p.add("rect", x=30, y=56, width=430, height=300, rx=9, fill="#ffffff", stroke=TWO, stroke_width=2)
    p.add("rect", x=520, y=56, width=450, height=300, rx=9, fill="#ffffff", stroke=THREE, stroke_width=2)
    for x, y, colour, name in ((140, 150, "#c9a227", "1"), (340, 142, "#7fb069", "2"), (245, 262, "#4aa3df", "k")):
        for radius in (78, 50, 24):
            p.add("circle", cx=x, cy=y, r=radius, fill=colour, fill_opacity=0.14, stroke=colour, stroke_width=1)
        star(p, x, y, 12, colour)
        p.text(x + 16, y - 10, f"$μ_{{{name}}}$", 19, INK, "start")
    for dx, dy in ((-40, 22), (30, 40), (-16, -36), (48, -22), (10, 62), (-56, -18), (66, 18)):
        p.add("circle", cx=245 + dx, cy=262 + dy, r=3.5, fill=INK)
    for end in ((520, 57), (520, 355)):
        p.line([(294, 201 if end[1] < 200 else 323), end], SOFT, gradient=True, end=False)
    centre, latent = (700, 214), (846, 148)
    attributes = ((802, 122, 6), (610, 118, 1.2), (616, 296, 1.2), (796, 292, 2))
    for x, y, _ in attributes:
        p.add("circle", cx=x, cy=y, r=52, fill=THREE, fill_opacity=0.12, stroke=THREE, stroke_width=1)
    for x, y, share in (*attributes, (*centre, 1.2)):
        p.add("line", x1=x, y1=y, x2=latent[0], y2=latent[1], stroke="#b8860b", stroke_width=share, stroke_opacity=0.75)
    for x, y, _ in attributes:
        p.line([centre, (centre[0] + 0.88 * (x - centre[0]), centre[1] + 0.88 * (y - centre[1]))], SOFT, halo=False)
        cross(p, x, y, THREE)
    star(p, *centre, 14, "#4aa3df")
    p.text(680, 221, "$μ_{k}$ = $μ_{k}^{1}$", 19, INK, "end")
    for x, y, words, fill in ((816, 312, "$μ_{k}^{4}$", INK), (806, 106, "$μ_{k}^{2}$", INK), (768, 262, "$Δ_{k}^{4}$", SOFT)):
        p.text(x, y, words, 19, fill, "start")
    p.add("circle", cx=latent[0], cy=latent[1], r=6, fill=INK)
    p.text(858, 146, "$z$", 20, INK, "start")
    p.text(862, 190, "responses\n$w_{k}^{i}$", 17, "#8a6508", "start")
    p.text(245, 396, "$p$($z$) = Σ$_{k}$ $π_{k}$ $N$($z$; $μ_{k}$, $I$)", 20)
    p.text(745, 396, "$μ_{k}^{i}$ = stopgrad($μ_{k}$) + $Δ_{k}^{i}$ for $i$ > 1", 20)
    return p


PICTURES = {draw.__name__: draw for draw in (method, coupling, mixture)}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (HERE / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
