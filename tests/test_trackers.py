"""Trackers hear every row of metrics.jsonl once, however often a training stops; none need be installed."""

import sys
from types import SimpleNamespace

import accelerate.tracking
import pytest
from accelerate.utils import LoggerType
from small_runs import ONE_OF_EACH, rows, start

pytestmark = pytest.mark.usefixtures("random_clip")


def told(row):
    return {name: value for name, value in row.items() if name not in ("step", "time")}


class Wandb(SimpleNamespace):
    """Stands in for the package, under accelerate's own tracker."""

    def __init__(self):
        super().__init__(runs=[], config=SimpleNamespace(update=lambda values, **_: self.runs[-1].config.update(values)))

    def init(self, project):
        run = SimpleNamespace(project=project, config={}, heard=[], finished=0)
        run.log = lambda values, step: run.heard.append((step, told(values)))
        run.finish = lambda: setattr(run, "finished", run.finished + 1)
        self.runs.append(run)
        return run


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: [LoggerType.WANDB])
    monkeypatch.setitem(sys.modules, "wandb", Wandb())
    return sys.modules["wandb"]


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_whose_package_is_missing_is_refused_before_anything_is_written(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", list)
    with pytest.raises(ValueError, match=f"tracker: {tracker} is not installed; `pip install {tracker}`, or tracker=null"):
        start(tmp_path / "run", {"tracker": tracker})
    assert not (tmp_path / "run").exists()


def test_a_tracker_hears_settings_and_every_row_once(wandb, tmp_path):
    trainer = start(tmp_path, {"tracker": "wandb"})
    trainer.fit(until=3)
    trainer.fit(until=5)
    start(tmp_path, {"tracker": "wandb"}).fit()  # from the checkpoint after step 4
    heard = [run.heard for run in wandb.runs]
    assert [[step for step, _ in of_run] for of_run in heard] == [[0, 1, 2], [3, 4], [4, 5, 6, 7, 8]]
    expected = {row["step"]: told(row) for row in rows(tmp_path)}
    assert len(expected) == 9 and all(expected[step] == values for of_run in heard for step, values in of_run)
    for run in wandb.runs:
        assert run.project == "vdalib" and run.finished == 1 and run.config["schedule"]["total_steps"] == 9


def test_a_tracker_is_closed_where_training_fails(wandb, tmp_path):
    trainer = start(tmp_path, {"tracker": "wandb"})
    with pytest.raises(ValueError, match="is not finite"):
        trainer.method.segmenter.decoder.classify.bias.data.fill_(float("nan"))
        trainer.fit()
    assert [run.finished for run in wandb.runs] == [1]


def test_tensorboard_shows_the_metrics_of_a_run_that_went_back_to_a_checkpoint(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    changes = ONE_OF_EACH | {"tracker": "tensorboard", "schedule.total_steps": 6, "schedule.checkpoint_every": 4}
    start(tmp_path, changes).fit(until=3)  # the last checkpoint is that after step 2
    start(tmp_path, changes).fit()
    events = EventAccumulator(str(tmp_path / "vdalib")).Reload()
    for name in ("segmentation", "affinity", "learning_rate"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(row["step"], pytest.approx(row[name])) for row in rows(tmp_path)]
