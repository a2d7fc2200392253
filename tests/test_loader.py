from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from vdalib.config import Config
from vdalib.data.loader import TrainingView, training_batches
from vdalib.data.sample import Sample


class Noise:
    """Images of different sizes; every pixel's colours say which image it is and where it is."""

    class_names = ("cat", "dog")

    def __init__(self, size=7):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        shape = (20 + 3 * i, 31 - 2 * i)
        ramp = torch.linspace(0, 255, shape[1]).expand(shape)
        image = torch.stack([torch.full(shape, 10.0 * i), ramp, ramp.flip(1)]).to(torch.uint8)
        return Sample(tv_tensors.Image(image), torch.tensor([i % 2 == 0, True]), f"{i}")

    def mask(self, i):
        raise AssertionError("training must not look at a mask")


def config(**schedule):
    base = Config.from_preset("partworld", {"data.crop": 24, "seed": 5})
    return replace(base, schedule=replace(base.schedule, **{"batch_size": 4, **schedule}))


def view(crop=24, scale=(0.5, 2.0), seed=0, size=7):
    return TrainingView(Noise(size), crop, scale, seed)


def batches(steps=6, start=0, processes=1, process=0, workers=0):
    settings = config(segmenter_steps=1, inter_steps=1, total_steps=steps)
    settings = replace(settings, data=replace(settings.data, workers=workers))
    return list(training_batches(Noise(), settings, start, processes, process))


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_batch_has_the_promised_shapes_types_and_ranges():
    batch = batches()[0]
    assert batch["images"].shape == (4, 3, 24, 24) and batch["images"].dtype == torch.float32
    assert 0 <= batch["images"].min() <= batch["images"].max() <= 1
    assert type(batch["images"]) is torch.Tensor
    assert batch["labels"].shape == (4, 2) and batch["labels"].dtype == torch.bool
    assert batch["index"].shape == (4,) and batch["index"].dtype == torch.int64
    assert batch["valid"].shape == (4, 24, 24) and batch["valid"].dtype == torch.bool


def test_labels_belong_to_their_image():
    for batch in batches():
        for index, labels in zip(batch["index"].tolist(), batch["labels"]):
            assert labels.tolist() == [index % 2 == 0, True]


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own():
    samples = view()
    epochs = [[samples.index(n) for n in range(7 * e, 7 * e + 7)] for e in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert epochs != [[view(seed=1).index(n) for n in range(7 * e, 7 * e + 7)] for e in range(4)]


def test_a_sample_depends_on_seed_and_number_only():
    first, second = view(), view()
    for n in (20, 3, 11):
        torch.manual_seed(n)
        expected = first[n]
        torch.manual_seed(0)
        second[n + 1]
        assert torch.equal(second[n]["images"], expected["images"])
    assert not torch.equal(view(seed=1)[3]["images"], view(seed=0)[3]["images"])


def test_starting_at_a_step_gives_the_batches_of_the_run_that_never_stopped():
    whole = batches(steps=6)
    assert len(whole) == 6
    for batch, expected in zip(batches(steps=6, start=3), whole[3:], strict=True):
        assert_same(batch, expected)


def test_processes_share_each_global_batch_in_order():
    whole = batches()
    shares = [batches(processes=2, process=p) for p in range(2)]
    for expected, *parts in zip(whole, *shares, strict=True):
        assert_same({name: torch.cat([part[name] for part in parts]) for name in expected}, expected)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(workers):
    for batch, expected in zip(batches(steps=4, start=1, workers=workers), batches(steps=4, start=1), strict=True):
        assert_same(batch, expected)


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_prefetch_and_pinned_memory_are_the_data_loaders(workers, cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    settings = replace(config(), data=replace(config().data, workers=workers))
    loader = training_batches(Noise(), settings)
    assert type(loader) is DataLoader and loader.num_workers == workers
    assert loader.pin_memory is cuda
    assert loader.prefetch_factor == DataLoader(Noise(), num_workers=workers).prefetch_factor == (2 if workers else None)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_is_marked_and_has_the_mean_colour_of_the_image():
    sample = view(crop=100, scale=(1.0, 1.0))[2]
    image, valid = sample["images"] * 255, sample["valid"]
    index = sample["index"]
    shape = (20 + 3 * index, 31 - 2 * index)
    rows, columns = valid.any(1).nonzero()[:, 0], valid.any(0).nonzero()[:, 0]
    assert (len(rows), len(columns)) == shape and valid.sum() == shape[0] * shape[1]
    inside = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    original = Noise()[index].image.float()
    assert any(torch.equal(inside.round(), version) for version in (original, original.flip(2)))
    mean = original.mean((1, 2)).round()
    assert torch.allclose(image[:, ~valid], mean[:, None].expand(-1, int((~valid).sum())), atol=1e-3)


def test_images_larger_than_the_window_are_cropped_at_every_place():
    samples = view(crop=10, scale=(1.0, 1.0), size=1)
    lefts = set()
    for n in range(200):
        sample = samples[n]
        assert sample["valid"].all()
        lefts.add(round(sample["images"][1, 0].min().item() * 255))
    assert len(lefts) == 31 - 10 + 1


def test_flip_comes_half_of_the_time_and_scales_cover_their_range():
    samples = view(crop=200, scale=(0.5, 2.0), size=1)
    heights, flips = [], 0
    for n in range(300):
        sample = samples[n]
        row = sample["images"][1][sample["valid"]]
        flips += bool(row[0] > row[-1])
        heights.append(int(sample["valid"].any(1).sum()) / 20)
    assert 0.4 < flips / 300 < 0.6
    assert min(heights) == pytest.approx(0.5, abs=0.06) and max(heights) == pytest.approx(2.0, abs=0.06)
    assert sum(heights) / 300 == pytest.approx(1.25, abs=0.1)


def test_pictures_that_are_scaled_to_nothing_are_padding_and_no_error():
    item = view(scale=(1e-3, 2e-3))[0]
    assert 0 < item["valid"].sum() <= 4


def test_batches_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="schedule.batch_size: 4 images cannot be shared by 3 processes; choose a multiple"):
        batches(processes=3)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="dataset: it is empty"):
        view(size=0)
