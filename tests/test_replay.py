"""The options `mixture.replay`, `mixture.start` and `flow.coupling` [R]: updates on recent prototypes, where attributes start."""

import pytest
import torch
from small_runs import assert_same_run, copy_of, run, same, start, weights

from vdalib.attributes.flow import ActNorm, InvertibleNetwork
from vdalib.attributes.mixture import HierarchicalGMM
from vdalib.evaluation.run import Run
from vdalib.methods.vda import Recent

pytestmark = pytest.mark.usefixtures("random_clip")
REPLAY = {"mixture.replay": 3, "mixture.recent": 12, "mixture.start": "kmeans", "mixture.patch_attributes": 2}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, random_clip):
    return run(tmp_path_factory.mktemp("replay"), REPLAY).run_dir


@pytest.mark.parametrize("sizes", [(3, 4), (5, 5, 2), (13,), (4, 30)])
def test_the_ring_keeps_the_last_ones(sizes):
    ring, everything = Recent(5, 1, 1), torch.arange(float(sum(sizes)))
    for part in everything.split(sizes):
        ring.put(part[:, None, None], part.long() % 3)
    vectors, classes = ring.take()
    assert sorted(vectors.flatten().tolist()) == everything[-5:].tolist()
    assert torch.equal(classes, vectors.flatten().long() % 3)


def test_balanced_draws_show_every_class_alike_and_others_every_prototype():
    ring = Recent(50, 1, 1)
    ring.put(torch.arange(40.0)[:, None, None], torch.tensor([0] * 36 + [2] * 4))
    torch.manual_seed(0)
    for balanced, expected in ((False, 0.1), (True, 0.5)):
        vectors, classes = ring.draw(4000, balanced)
        assert (classes == 2).float().mean() == pytest.approx(expected, abs=0.03)
        assert torch.equal(classes == 2, vectors.flatten() >= 36)
        assert len(vectors.unique()) == 40


def test_every_full_batch_brings_replay_further_updates_on_prototypes_already_met(tmp_path, monkeypatch):
    trainer, seen = start(tmp_path, REPLAY), []
    step = trainer.method.mixture_step

    def watched(vectors, classes, intra, fresh=True):
        seen.append((fresh, vectors.clone()))
        return step(vectors, classes, intra, fresh)

    monkeypatch.setattr(trainer.method, "mixture_step", watched)
    trainer.fit(until=6)
    assert seen and [fresh for fresh, _ in seen] == [True, False, False, False] * (len(seen) // 4)
    met = torch.cat([vectors for fresh, vectors in seen if fresh])
    for _, vectors in seen:
        assert (vectors[:, None] == met).flatten(2).all(-1).any(1).all()
    assert trainer.method.mixture.gmm.met.sum() == len(met)  # centres start from fresh ones alone


def test_the_kmeans_start_comes_when_stage_3_begins_and_only_then(tmp_path, monkeypatch):
    trainer, calls = start(tmp_path, REPLAY), []
    monkeypatch.setattr(trainer.method, "_start_attributes", lambda: calls.append(trainer.step))
    trainer.fit()
    assert calls == [trainer.method.stage_ends[1]]


def test_attributes_start_at_the_clusters_of_their_class():
    gmm = HierarchicalGMM(3, 4, 6)
    with torch.no_grad():
        gmm.class_centres.normal_()
    before, clusters, dice = gmm.offsets.detach().clone(), 9 * torch.eye(6)[:3], torch.Generator().manual_seed(0)
    z = clusters.repeat(13, 1) + 0.01 * torch.randn(39, 6, generator=dice)
    gmm.initialise_attributes(torch.cat([z, -clusters[:2]]), torch.tensor([1] * 39 + [2] * 2))
    assert torch.equal(gmm.offsets[[0, 2]], before[[0, 2]])  # nothing seen; less than M - 1 seen
    found = gmm.attribute_centres()[1].detach()
    assert torch.equal(found[0], gmm.class_centres[1])
    assert (torch.cdist(clusters, found[1:]).amin(1) < 0.1).all()
    HierarchicalGMM(3, 1, 6).initialise_attributes(clusters, torch.ones(3, dtype=torch.long))


def test_replay_and_start_train_the_mixture_and_not_the_first_stage(replayed, tmp_path):
    plain = run(tmp_path, REPLAY | {"mixture.replay": 0, "mixture.start": "random"}).run_dir
    assert {name.partition(".")[0] for name in weights(replayed, "memory").keys() - weights(plain, "memory").keys()} == {"recent"}
    first, other = (Run.load(folder, 3).method for folder in (replayed, plain))
    assert same(copy_of(first.model), copy_of(other.model)) and same(copy_of(first.mixture), copy_of(other.mixture))
    assert not same(Run.load(replayed, 6).mixture.state_dict(), Run.load(plain, 6).mixture.state_dict())


@pytest.mark.parametrize("stop", [5, 7])
def test_a_run_with_replay_resumes_bit_for_bit(replayed, tmp_path, stop):
    run(tmp_path, REPLAY, until=stop)
    start(tmp_path, REPLAY).fit()
    assert_same_run(tmp_path, replayed)


def test_without_couplings_the_flow_is_affine_in_every_channel():
    torch.manual_seed(0)
    flow = InvertibleNetwork(8, steps=3, mixing="none", coupling="none")
    assert [type(layer) for step in flow for layer in step] == [ActNorm] * 3
    x = torch.randn(32, 8) * 3 + 1
    z, log_det = flow.train()(x)
    torch.testing.assert_close(z, (x - x.mean(0)) / x.std(0, correction=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_det, -x.std(0, correction=0).log().sum().expand(32))
    torch.testing.assert_close(flow.inverse(z), x)
    with pytest.raises(ValueError, match="coupling: expected one of affine, none, found 'additive'"):
        InvertibleNetwork(8, coupling="additive")
