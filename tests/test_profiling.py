"""Costs by part: FLOPs against closed forms, memory against known tensors, and marks that change nothing."""

import time

import pytest
import torch
import torch.nn.functional as F
from small_runs import STAGE_3_AT_ONCE, copy_of, start
from torch.profiler import record_function

from vdalib.data.loader import training_batches
from vdalib.evaluation import profiling


def test_flops_of_products_attention_and_backward_are_the_closed_forms():
    x, weight = torch.rand(6, 4), torch.rand(4, 5, requires_grad=True)
    q = torch.rand(2, 3, 7, 8)  # (B, heads, N, d)

    def step():
        with record_function("clip"):
            F.scaled_dot_product_attention(q, q, q)
        with record_function("decoder"):
            y = x @ weight
        with record_function("segmenter backward"):
            y.sum().backward()
        x @ weight.detach()

    work = profiling.part_work(step, repeats=2)
    assert work["clip"].flops == 2 * 2 * (2 * 3) * 7 * 7 * 8  # q k and a v
    assert work["decoder"].flops == work["segmenter backward"].flops == work["other"].flops == 2 * 6 * 4 * 5
    assert work["optimiser"].flops == 0


def test_nested_marks_are_counted_once():
    x = torch.rand(3, 3)

    def step():
        with record_function("cam and affinity"):
            x @ x
            with record_function("par"):
                x @ x
            with record_function("not one of ours"):
                x @ x

    work = profiling.part_work(step)
    assert (work["cam and affinity"].flops, work["par"].flops) == (2 * 54, 54)


def test_peak_bytes_are_of_the_tensors_alive():
    def step():
        with record_function("clip"):
            kept = torch.zeros(1000)
            for _ in range(5):
                torch.zeros(500)  # gone at once
        with record_function("decoder"):
            view = kept[:10]
            del kept, view
            torch.zeros(100)

    work = profiling.part_work(step)
    assert (work["clip"].peak_bytes, work["decoder"].peak_bytes) == (6000, 4000)


def test_views_of_what_was_there_before_are_not_made_by_the_step():
    weight, x = torch.rand(100, 100, requires_grad=True), torch.rand(1, 100)

    def step():
        with record_function("clip"):
            F.linear(x, weight)  # takes a transposed view of the weight

    assert profiling.part_work(step)["clip"].peak_bytes == 400


@pytest.fixture(scope="module")
def trainer(tmp_path_factory, random_clip):
    return start(tmp_path_factory.mktemp("run"), STAGE_3_AT_ONCE | {"mixture.batch_size": 2})


def batch_of(trainer):
    return next(iter(training_batches(trainer.dataset, trainer.config, 0, 1, 0)))


@pytest.mark.slow
def test_every_part_of_a_stage_3_step_is_marked(trainer):
    batch = batch_of(trainer)
    trainer.train_step(batch)
    spent = profiling.part_seconds(lambda: trainer.train_step(batch), 2)
    assert set(spent) == {*profiling.PARTS, "other"}
    assert all(spent[part] > 0 for part in profiling.PARTS)
    work = profiling.part_work(lambda: trainer.train_step(batch))
    for part in ("clip", "adapter", "decoder", "segmenter backward", "inn and assembly", "cam and affinity"):
        assert work[part].flops > 0, part


@pytest.mark.parametrize("measure", [profiling.part_work, lambda step: profiling.part_seconds(step, 1)])
def test_measuring_changes_no_weight(tmp_path, random_clip, measure):
    plain, measured = (start(tmp_path / name, STAGE_3_AT_ONCE) for name in ("plain", "measured"))
    batch = batch_of(plain)
    plain.train_step(batch)
    measure(lambda: measured.train_step(batch))
    expected = copy_of(plain.method.segmenter)
    for name, value in copy_of(measured.method.segmenter).items():  # attention is written out where FLOPs are counted
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_a_moment_belongs_to_the_innermost_mark_and_all_moments_add_up():
    def step():
        with record_function("clip"):
            time.sleep(0.02)
            with record_function("clip"), record_function("a mark of someone else"):
                time.sleep(0.02)
            with record_function("par"):
                time.sleep(0.02)
        time.sleep(0.02)

    started = time.perf_counter()
    spent = profiling.part_seconds(step, 2)
    elapsed = (time.perf_counter() - started) / 2
    assert spent["clip"] > 1.5 * spent["par"] > 0.02 and spent["other"] >= 0.02
    assert 0.9 * elapsed < sum(spent.values()) <= elapsed
    before = dict(spent)
    step()
    assert spent == before, "nobody listens any more"
