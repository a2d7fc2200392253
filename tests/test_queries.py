"""benchmarks/queries.py: descriptions of prototypes beside plain loops, and what a run of it says."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import run

from vdalib.evaluation.measuring import collect_prototypes
from vdalib.evaluation.run import Run
from vdalib.explore.ablation import ladder

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
    ways = queries.descriptions(opened, vectors, classes)
    assert torch.equal(ways["the prototype itself"](vectors, classes), vectors)
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


def test_a_report_has_every_query_and_the_prototype_is_its_own_best_description(queries, run_dir):
    report = queries.measure(run_dir)
    assert list(report["seeds"])[2:] == list(report["closeness"]) and report["closeness"]["the prototype itself"] == 1
    assert report["closeness"]["class mean"] <= report["closeness"]["nearest of 2 k-means centres"] < 1
    assert all(0 <= value <= 100 for value in report["seeds"].values())
    entries = [{"row": "all", "seed": seed, **report} for seed in range(2)]
    table = ladder(entries)
    assert table.startswith("Runs of the row *all*:\n") and table.count("±") == 8 + 7 + 7 + 6
