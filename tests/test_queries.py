"""benchmarks/queries.py: descriptions of prototypes beside plain loops, and what a run of it says."""

import importlib
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import run

from vdalib.evaluation.measuring import collect_prototypes, measure_run
from vdalib.evaluation.run import Run
from vdalib.explore.ablation import fits, gaps, ladder
from vdalib.io import save_tensors

pytestmark = pytest.mark.usefixtures("random_clip")


@pytest.fixture
def queries(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("queries")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, random_clip):
    return run(tmp_path_factory.mktemp("run"), {"mixture.attributes": 2}).run_dir


@pytest.fixture(scope="module")
def opened(run_dir):
    return Run.load(run_dir)


def test_descriptions_are_those_of_a_plain_loop(queries, opened):
    found = collect_prototypes(opened, opened.dataset("train"))
    vectors, classes = found.prototypes[found.reliable].float(), found.classes[found.reliable]
    ways = queries.descriptions(opened, (vectors, classes), (vectors[:3], classes[:3]))
    assert torch.equal(ways["the prototype itself"](vectors, classes), vectors)
    first = vectors[:3][classes[:3] == classes[0]].numpy()
    np.testing.assert_allclose(ways["class mean, of whole images"](vectors[:1], classes[:1])[0], first.mean(0), atol=1e-5)
    own = vectors[classes == classes[0]].numpy()
    np.testing.assert_allclose(ways["class mean"](vectors, classes)[0], own.mean(0), atol=1e-5)
    near = ways["nearest of 2 k-means centres"](vectors, classes)
    by_class = queries.centres(vectors, classes, 2)
    for vector, k, described in zip(vectors, classes.tolist(), near):
        distances = [float((vector - centre).norm()) for centre in by_class[k]]
        assert torch.equal(described, by_class[k][int(np.argmin(distances))])
    latent = ways["nearest of 2 k-means centres, in latent space"](vectors, classes)
    z, _ = opened.mixture.flow.eval()(vectors)
    in_latent = queries.centres(z.detach(), classes, 2)
    back, _ = opened.mixture.flow(latent)
    for point, k, described in zip(z, classes.tolist(), back):
        closest = min(in_latent[k], key=lambda centre: float((point - centre).norm()))
        torch.testing.assert_close(described, closest, atol=1e-3, rtol=1e-3)


def test_nats_are_those_of_the_mixture_through_the_jacobian(queries, opened):
    vectors, classes = queries.reliable_prototypes(opened, "train")
    flow, gmm = opened.method.mixture.flow.eval(), opened.method.mixture.gmm
    expected = []
    for vector, k in zip(vectors[:4], classes[:4].tolist()):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], vector)
        normal = torch.distributions.MultivariateNormal(gmm.attribute_centres()[k], torch.eye(len(vector)))
        density = (gmm.log_attribute_weights[k] + normal.log_prob(flow(vector[None])[0])).logsumexp(0)
        constant = len(vector) / 2 * math.log(2 * math.pi)
        expected.append(-(density + constant + jacobian.slogdet().logabsdet).item() / len(vector))
    assert queries.nats(opened, vectors[:4], classes[:4]) == pytest.approx(np.mean(expected), abs=1e-4)


def test_a_report_has_every_query_and_the_prototype_is_its_own_best_description(queries, run_dir):
    report = queries.measure(run_dir)
    assert [*report["seeds"]] == [queries.ALONE, *list(report["closeness"])[:3], queries.WEIGHED, *list(report["closeness"])[3:]]
    assert report["closeness"]["the prototype itself"] == 1
    assert report["closeness"]["class mean, of whole images"] >= report["closeness"]["class mean"]  # of the measured vectors
    assert report["closeness"]["class mean"] <= report["closeness"]["nearest of 2 k-means centres"] < 1
    assert all(0 <= value <= 100 for value in report["seeds"].values())
    assert list(report["nats"]) == ["fitted to", "training images", "held-out images"]
    entries = [{"row": "all", "seed": seed, **report} for seed in range(2)]
    table = ladder(entries)
    assert table.startswith("Runs of the row *all*:\n") and table.count("±") == 10 + 9 + 9 + 8
    assert fits([{**entry, "nats": {"a": 1.0 + entry["seed"], "b": None}} for entry in entries]).splitlines()[-1] == (
        "| all | 1.50 ± 0.50 |  |"
    )


def test_without_replay_means_and_centres_are_of_whole_images_alone(queries, tmp_path):
    report = queries.measure(run(tmp_path, {"mixture.attributes": 2, "mixture.replay": 0}).run_dir)
    assert report["nats"]["fitted to"] is None and report["nats"]["training images"] is not None
    of_means = [name for name in report["seeds"] if name.startswith(("class mean", "nearest"))]
    assert len(of_means) == 3 and all(name.endswith(", of whole images") for name in of_means)


def test_a_class_that_the_mixture_never_met_is_asked_by_text_as_the_run_asks(queries, run_dir, tmp_path):
    unmet = shutil.copytree(run_dir, tmp_path / "unmet")
    memory = load_file(unmet / "memory.safetensors")
    met = next(value for key, value in memory.items() if key.endswith("gmm.met"))
    met[int(met.argmax())] = 0
    save_tensors(unmet / "memory.safetensors", memory)
    for folder in (run_dir, unmet):
        own = measure_run(folder, multi_scale_crf=False).table["seed_miou"]
        assert queries.measure(folder)["seeds"][queries.WEIGHED] == pytest.approx(own, abs=0.006)


def test_gaps_are_paired_within_a_row_and_between_rows():
    clip = "nearest of 8 k-means centres"
    names = ["none, text alone", "class mean", "class centre of the mixture", "attributes of the mixture, assembled", "weighed"]
    names += [f"{clip}, in latent space", clip, "class mean, of whole images", f"{clip}, of whole images", "own"]
    clips = {("all", seed): clip for seed, clip in enumerate((7, 9, 11, 13, 10, 10))}
    clips |= {("x", seed): clip for seed, clip in enumerate((3, 9, 9, 5, 4), start=1)}
    runs = [
        {"row": row, "seed": seed, "seeds": dict(zip(names, [9, 0, 2, 5, 0, 4, value, 0, 8, 0]))}
        for (row, seed), value in clips.items()
    ]
    lines = gaps(runs).splitlines()
    assert lines[0] == "| seeds, points of mIoU | *all* | *x* | *x* minus *all* |"
    assert lines[4] == f"| {clip} **minus** {clip}, in latent space | **+6.00 ± 0.82** | +2.00 ± 1.26 | **-4.60 ± 0.75** |"
    backwards = gaps(runs[::-1]).splitlines()
    assert backwards[0] == "| seeds, points of mIoU | *x* | *all* | *x* minus *all* |"
    assert backwards[4] == f"| {clip} **minus** {clip}, in latent space | +2.00 ± 1.26 | **+6.00 ± 0.82** | **-4.60 ± 0.75** |"
    for entry in runs[6:]:
        del entry["seeds"][clip]
    assert gaps(runs).splitlines()[4] == f"| {clip} **minus** {clip}, in latent space | **+6.00 ± 0.82** |  |  |"
