"""The slider without a kernel: it holds its own pictures, and its pictures are those of the queries it names."""

import base64
import io
import re

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from PIL import Image  # noqa: E402

from vdalib.evaluation.run import Run, whole_images  # noqa: E402
from vdalib.explore.flipbook import flipbook, query_path  # noqa: E402


@pytest.fixture
def html():
    figure, axis = plt.subplots(figsize=(1, 1))
    axis.set_axis_off()
    picture = axis.imshow([[0.0]], cmap="gray", vmin=0, vmax=3)
    axis.set_position([0, 0, 1, 1])
    return flipbook(figure, lambda i: picture.set_data([[float(i)]]), 4, dpi=40)


def test_a_flipbook_has_every_frame_in_it_as_jpeg(html):
    frames = re.findall(r'data:image/jpeg;base64,([^"]+)"', html)
    pictures = [Image.open(io.BytesIO(base64.b64decode(frame.replace("\\\n", "")))).convert("L") for frame in frames]
    assert [picture.size for picture in pictures] == [(40, 40)] * 4
    assert [round(picture.getpixel((20, 20)) / 85) for picture in pictures] == [0, 1, 2, 3]


def test_a_flipbook_closes_its_figure():
    before = plt.get_fignums()
    flipbook(plt.figure(figsize=(1, 1)), lambda i: None, 2, dpi=10)
    assert plt.get_fignums() == before


def test_a_flipbook_asks_no_other_host_and_its_buttons_have_signs(html):
    assert "://" not in html and "fa-" not in html
    signs = re.findall(r"<button[^>]*>\s*(.*?)\s*</button>", html)
    assert len(signs) == 9 and all(len(sign) == 1 for sign in signs)


def test_a_query_path_leads_from_the_texts_seed_to_that_of_the_description(reference):
    run = Run.load(reference)
    batch = next(whole_images(run.dataset("train"), [0]))
    seen, k = run.evidence(batch.images, batch.labels), int(batch.labels[0].nonzero()[0])
    description = F.normalize(torch.randn(run.clip.dim, generator=torch.Generator().manual_seed(0)), dim=0)
    path = query_path(seen, k, description, (0, 0.5, 1))
    queries = seen.text_queries.clone()
    torch.testing.assert_close(path[0][0], seen.seeds_of(queries)[0, k])
    assert torch.equal(path[0][1], seen.pseudo_label_of(queries)[0])
    queries[0, k] = description
    torch.testing.assert_close(path[2][0], seen.seeds_of(queries)[0, k])
    assert not torch.allclose(path[0][0], path[2][0], atol=0.05)
    queries[0, k] = (F.normalize(seen.text_queries[0, k], dim=0) + description) / 2
    torch.testing.assert_close(path[1][0], seen.seeds_of(queries)[0, k])
