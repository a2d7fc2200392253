"""The small methods beside VDA: text alone, and the class's running mean or nearest k-means centre instead of an assembly."""

import pytest
import torch
import torch.nn.functional as F
from small_runs import assert_same_run, rows, run, same, start, weights

from vdalib.evaluation.run import Run
from vdalib.methods.class_mean import RunningMeans

pytestmark = pytest.mark.usefixtures("random_clip")
MEAN = {"method": "class_mean", "options.weight": 0.75}


@pytest.fixture(scope="module")
def mean_run(tmp_path_factory, random_clip):
    return run(tmp_path_factory.mktemp("mean"), MEAN).run_dir


def test_one_centre_is_the_mean_of_all_that_its_class_has_met():
    vectors, classes = torch.randn(40, 6), torch.arange(40) % 3
    found = RunningMeans(4, 1, 6)
    for part in torch.arange(40).split(7):
        found.update(vectors[part], classes[part])
    expected = torch.stack([vectors[classes == k].mean(0) for k in range(3)])
    torch.testing.assert_close(found.centres()[:3, 0], expected)
    torch.testing.assert_close(found.means()[:3], expected)
    torch.testing.assert_close(found.nearest(vectors, classes), expected[classes])
    assert found.met.tolist() == [14, 13, 13, 0]


def test_several_centres_find_the_clusters_of_a_class():
    torch.manual_seed(0)
    clusters = 9 * torch.eye(6)[:3]
    vectors = clusters.repeat(12, 1) + 0.01 * torch.randn(36, 6)
    found, classes = RunningMeans(2, 3, 6), torch.ones(36, dtype=torch.long)
    found.update(vectors, classes)
    torch.testing.assert_close(found.nearest(vectors, classes), vectors.view(12, 3, 6).mean(0).repeat(12, 1))
    torch.testing.assert_close(found.means()[1], vectors.mean(0))
    assert (found.counts[0] == 0).all() and (found.counts[1] == 12).all()


def test_a_centre_that_won_nothing_is_nobodys_nearest():
    found = RunningMeans(1, 5, 2)
    found.update(torch.tensor([[8.0, 8.0]]), torch.tensor([0]))
    assert found.nearest(torch.zeros(1, 2), torch.tensor([0])).tolist() == [[8.0, 8.0]]


def test_its_query_lies_between_text_and_mean_by_the_weight(mean_run):
    method = Run.load(mean_run).method
    classes = method.memory.met.nonzero()[:, 0]
    text, mean = method.labeller.class_text[classes], F.normalize(method.memory.means()[classes], dim=-1)
    queries = method.fused(torch.randn(len(classes), text.shape[1]), classes)
    torch.testing.assert_close(queries, 0.25 * text + 0.75 * mean)
    assert len(classes) and "contrastive" in rows(mean_run)[-1]


@pytest.mark.parametrize("stop", [5, 8])
def test_a_run_with_means_resumes_bit_for_bit(mean_run, tmp_path, stop):
    run(tmp_path, MEAN, until=stop)
    start(tmp_path, MEAN).fit()
    assert_same_run(tmp_path, mean_run)


def test_text_alone_trains_the_segmenter_as_vda_does_without_fusion_and_enhancement(tmp_path):
    off = {"assembly.fusion": False, "assembly.enhancement": False}
    ours, theirs = run(tmp_path / "text", {"method": "text"}).run_dir, run(tmp_path / "vda", off).run_dir
    assert not weights(ours, "memory")
    assert same(weights(ours, "segmenter"), weights(theirs, "segmenter"))


def test_a_class_that_the_mixture_never_met_keeps_its_text(tmp_path):
    method = start(tmp_path, {"mixture.batch_size": 64}).method
    text, dim = method.labeller.class_text, method.clip.dim
    classes = torch.arange(len(text))
    assert torch.equal(method.fused(torch.randn(len(text), dim), classes), text) and torch.equal(method.anchors(), text)
    method.mixture_step(F.normalize(torch.randn(8, 1, dim), dim=2), torch.full((8,), 3), intra=False)
    changed = (method.fused(torch.randn(len(text), dim), classes) != text).any(1)
    assert changed.nonzero()[:, 0].tolist() == (method.anchors() != text).any(1).nonzero()[:, 0].tolist() == [3]
