from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from vdalib import inference
from vdalib.config import Config
from vdalib.data.images import read_mask, save_mask
from vdalib.inference import Predictor, multi_scale_logits


class Linear(nn.Module):
    """Stands in for a network: a linear map of each patch's mean colour plus a slope in x for mirroring to cancel."""

    patch_size = 4

    def __init__(self, num_classes=2, slope=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, num_classes + 1, generator=generator))
        self.slope, self.seen = slope, []

    @property
    def trained(self):
        return self

    def forward(self, images):
        assert not images.shape[-2] % 4 and not images.shape[-1] % 4
        self.seen.append(tuple(images.shape))
        logits = torch.einsum("bchw,ck->bkhw", F.avg_pool2d(images, 4), self.weight)
        return logits + self.slope * torch.linspace(-1, 1, logits.shape[-1])


def images(height=12, width=20, batch=2):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def by_hand(network, picture, height, width):
    """Logits of one view, at the input's size."""
    patches = picture.unflatten(2, (-1, 4)).unflatten(4, (-1, 4)).mean((3, 5))  # (B, 3, h, w)
    logits = torch.einsum("bchw,ck->bkhw", patches, network.weight)
    logits = logits + network.slope * torch.linspace(-1, 1, patches.shape[3])
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)


def test_one_scale_without_mirror_is_the_network_itself():
    network, batch = Linear(slope=0.3), images()
    logits = multi_scale_logits(network, batch, (1.0,), flip=False)
    torch.testing.assert_close(logits, by_hand(network, batch, 12, 20))


def test_logits_are_averaged_over_scales_and_mirror_images():
    network, batch = Linear(slope=0.3), images()
    logits = multi_scale_logits(network, batch, (1.0, 2.0), flip=True)
    views = [batch, F.interpolate(batch, (24, 40), mode="bilinear", antialias=True)]
    total = sum(by_hand(network, x, 12, 20) + by_hand(network, x.flip(-1), 12, 20).flip(-1) for x in views)
    torch.testing.assert_close(logits, total / 4)
    assert network.seen == [(4, 3, 12, 20), (4, 3, 24, 40)]


def test_mirroring_makes_the_answer_equivariant():
    network, batch = Linear(slope=5.0), images()
    straight = multi_scale_logits(network, batch, (1.0,), flip=True)
    mirrored = multi_scale_logits(network, batch.flip(-1), (1.0,), flip=True)
    torch.testing.assert_close(straight, mirrored.flip(-1))


def test_every_scale_is_rounded_to_whole_patches():
    network = Linear()
    logits = multi_scale_logits(network, images(13, 3, 1), (0.7, 1.0, 1.5), flip=False)
    assert logits.shape == (1, 3, 13, 3)
    assert [shape[2:] for shape in network.seen] == [(8, 4), (12, 4), (20, 4)]


def test_size_sets_the_area_and_keeps_the_aspect():
    network = Linear()
    multi_scale_logits(network, images(100, 400, 1), (1.0, 0.5), flip=False, size=80)
    assert [shape[2:] for shape in network.seen] == [(40, 160), (20, 80)]


def test_square_leaves_the_aspect_and_answers_at_the_images_own_size():
    network = Linear()
    logits = multi_scale_logits(network, images(10, 40, 1), (1.0, 1.25), flip=False, size=16, square=True)
    assert [shape[2:] for shape in network.seen] == [(16, 16), (20, 20)] and logits.shape == (1, 3, 10, 40)


@pytest.mark.parametrize("over_mirrors", ["mean", "sum", "max"])
@pytest.mark.parametrize("over_scales", ["mean", "sum", "max"])
def test_mirrors_and_scales_are_put_together_as_said(over_mirrors, over_scales):
    network, batch = Linear(slope=0.3), images()
    fuse = {"mean": lambda x: x.mean(0), "sum": lambda x: x.sum(0), "max": lambda x: x.amax(0)}
    views = [batch, F.interpolate(batch, (24, 40), mode="bilinear", antialias=True)]
    pairs = [torch.stack([by_hand(network, x, 12, 20), by_hand(network, x.flip(-1), 12, 20).flip(-1)]) for x in views]
    expected = fuse[over_scales](torch.stack([fuse[over_mirrors](pair) for pair in pairs]))
    found = multi_scale_logits(network, batch, (1.0, 2.0), True, over_mirrors=over_mirrors, over_scales=over_scales)
    torch.testing.assert_close(found, expected)


def test_no_gradient_is_kept():
    assert not multi_scale_logits(Linear(), images(), (1.0,), flip=True).requires_grad


def predictor(**overrides):
    config = Config.from_preset("partworld", {"inference.scales": [1.0, 1.5], **overrides})
    return Predictor(Linear(), ("cat", "dog"), config)


def test_tensors_arrays_and_pil_images_of_any_size_give_the_same_label_map():
    pixels = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    model = predictor()
    maps = [model.predict(x) for x in (pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1))]
    assert maps[0].shape == (23, 37) and maps[0].dtype == np.uint8 and maps[0].max() <= 2
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    assert model.predict(pixels[:1, :1], crf=False).shape == (1, 1)


def test_a_prediction_of_tied_probabilities_is_that_of_argmax(monkeypatch):
    scores = torch.randint(0, 3, (3, 9, 11), generator=torch.Generator().manual_seed(0)).float()
    model = predictor()
    monkeypatch.setattr(model, "probabilities", lambda image, **options: scores)
    np.testing.assert_array_equal(model.predict(None), scores.argmax(0).numpy())


def test_a_predictor_puts_views_together_as_its_settings_say():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    how = {"size": 20, "square": True, "over_mirrors": "sum", "over_scales": "max"}
    model = predictor(**{f"inference.{name}": value for name, value in how.items()})
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = multi_scale_logits(model.network, batch, (1.0, 1.5), True, **how)[0].softmax(0)
    torch.testing.assert_close(model.probabilities(pixels), expected)


def test_switches_leave_out_scales_and_crf():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    model = predictor()
    single = model.probabilities(pixels, multi_scale=False)
    assert model.network.seen == [(1, 3, 24, 24)]
    np.testing.assert_array_equal(model.predict(pixels, multi_scale=False, crf=False), single.argmax(0).numpy())
    torch.testing.assert_close(single.sum(0), torch.ones(24, 24))


def test_bf16_runs_and_stays_close():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    half = predictor(precision="bf16").probabilities(pixels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, predictor().probabilities(pixels), atol=0.02, rtol=0)


def test_images_of_another_kind_are_refused():
    for wrong in (torch.zeros(3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"image: found torch.* expected RGB as uint8 \(3, H, W\)"):
            predictor().predict(wrong)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.yaml: missing; .* is not the directory of a trained run"):
        Predictor.from_run(tmp_path)
    Config().save(tmp_path / "config.yaml")
    with pytest.raises(FileNotFoundError, match="segmenter.safetensors: missing"):
        Predictor.from_run(tmp_path)


def test_a_run_is_loaded_from_its_configuration_and_weights_alone(tmp_path, monkeypatch):
    def build_network(config, names):
        assert config.segmenter.width == 64 and len(names) == 10
        return Linear(len(names))

    monkeypatch.setattr(inference, "method_class", lambda name: SimpleNamespace(build_network=build_network))
    trained = Linear(10)
    nn.init.constant_(trained.weight, 0)
    trained.weight.data[:, 4] = 1.0
    Config.from_preset("partworld", {"segmenter.width": 64}).save(tmp_path / "config.yaml")
    save_file(trained.state_dict(), tmp_path / "segmenter.safetensors")

    model = Predictor.from_run(tmp_path)
    assert model.class_names[3] == "bottle"
    assert (model.predict(np.full((9, 9, 3), 200, np.uint8)) == 4).all()


def test_a_predictor_holds_no_text_tower(reference):
    clip = Predictor.from_run(reference).network.clip
    weights = {name.split(".")[1] for name, _ in clip.named_parameters()}
    assert weights == {"visual"}


def test_saved_masks_are_palette_files_that_come_back(tmp_path):
    mask = np.arange(21, dtype=np.uint8).reshape(3, 7)
    save_mask(tmp_path / "out" / "a.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "a.png", 20), mask)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]
