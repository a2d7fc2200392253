"""The frozen CLIP as a module: prompts, reduced vocabulary, text prototypes, and where weights come from."""

import json
import weakref
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from small_runs import Poison

open_clip = pytest.importorskip("open_clip")
from open_clip.model import CLIP  # noqa: E402

from vdalib.clip import FrozenCLIP, loading  # noqa: E402
from vdalib.clip.dense import dense_forward  # noqa: E402
from vdalib.clip.text import ReducedTokenizer, reduced_vocabulary, render_prompts  # noqa: E402

WORDS = ["a clean origami dog.", "a clean origami cat.", "a clean origami bird.", "a photo of a zeppelin!"]


def last_layer(layers, grid):
    return layers[-1].transpose(1, 2).unflatten(2, grid)


def test_templates_are_filled_names_outermost():
    assert render_prompts(["dog", "cat"], ["a {}.", "the {}!"]) == [
        "a dog.",
        "the dog!",
        "a cat.",
        "the cat!",
    ]


@pytest.mark.parametrize("template", ["a dog.", "a {} and a {}.", "a {name}.", "a {} {"])
def test_a_template_without_exactly_one_place_is_refused(template):
    with pytest.raises(ValueError, match="clip.templates: expected '{}' exactly once"):
        render_prompts(["dog"], [template])


def test_no_template_is_refused():
    with pytest.raises(ValueError, match="clip.templates: expected at least one"):
        render_prompts(["dog"], [])


def test_reduced_tokenizer_keeps_the_order_of_ids_and_the_end_of_text_on_top():
    kept, full = reduced_vocabulary(WORDS), open_clip.tokenizer.SimpleTokenizer()
    reduced = ReducedTokenizer(kept, context_length=12)
    ours, theirs = reduced(WORDS), full(WORDS, context_length=12)
    assert ours.shape == theirs.shape and ours.dtype == torch.long
    torch.testing.assert_close(torch.tensor(kept)[ours], theirs)
    assert reduced.vocab_size == len(kept) == ours.max() + 1
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1)) and (ours.max(-1).values == reduced.eot_token_id).all()
    assert torch.equal(reduced(WORDS[0]), ours[:1])


def test_a_word_outside_the_vocabulary_is_named():
    tokenizer = ReducedTokenizer(reduced_vocabulary(WORDS), context_length=12)
    with pytest.raises(ValueError, match="'a clean origami giraffe.': the word 'giraffe' is outside"):
        tokenizer(["a clean origami dog.", "a clean origami giraffe."])


def test_a_prompt_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected at most 6 tokens, got 7"):
        ReducedTokenizer(reduced_vocabulary(WORDS), context_length=6)("a clean origami dog.")


@pytest.mark.parametrize("spoil", [lambda ids: ids[::-1], lambda ids: ids[:-1], lambda ids: ids[1:]])
def test_a_vocabulary_without_order_or_special_ids_is_refused(spoil):
    with pytest.raises(ValueError, match="kept_ids: expected ascending"):
        ReducedTokenizer(spoil(reduced_vocabulary(WORDS)), context_length=12)


def model_config(vocabulary):
    return {
        "embed_dim": 16,
        "init_logit_bias": -4.0,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 24, "layers": 4, "head_width": 8},
        "text_cfg": {"context_length": 12, "width": 16, "heads": 2, "layers": 2, "vocab_size": vocabulary},
    }


def clip_config(**changes):
    values = dict(model="partworld", pretrained="partworld", calibration="static", calibrated_blocks=3)
    values |= dict(share_heads=False, affinity_blocks=2, position_resize="bicubic", templates=("a clean origami {}.",))
    return SimpleNamespace(**values | changes)


@pytest.fixture
def small_clip(tmp_path, monkeypatch):
    """A random small CLIP on disk where the package expects PartWorld's; the model itself is returned."""
    kept = reduced_vocabulary(WORDS)
    torch.manual_seed(3)
    model = CLIP(**model_config(len(kept))).eval()
    (tmp_path / "clip.json").write_text(json.dumps(model_config(len(kept))))
    (tmp_path / "vocabulary.json").write_text(json.dumps(kept))
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "clip.safetensors")
    model.load_state_dict(state)
    monkeypatch.setattr(loading, "SMALL_CLIP", tmp_path)
    return model


@pytest.fixture
def tiny(monkeypatch):
    """Name of a tiny architecture in open_clip's registry, removed again afterwards."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", model_config(49408))
    return "tiny"


def test_the_small_clip_is_read_from_its_folder_and_sees_images_normalised_as_clip_does(small_clip):
    clip = FrozenCLIP.from_config(clip_config())
    assert (clip.dim, clip.token_width, clip.num_layers, clip.patch_size) == (16, 24, 4, 8)
    assert clip.native_size == (32, 32) and clip.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)
    images = torch.rand(2, 3, 32, 48)
    features = clip.encode_image(images)
    mean, std = (torch.tensor(v)[:, None, None] for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    expected = dense_forward(small_clip.visual, (images - mean) / std, calibrated_blocks=3, affinity_blocks=2)
    torch.testing.assert_close(features.patches, expected.patches)
    torch.testing.assert_close(features.attention, expected.attention)
    assert clip.encode_image(images, attention=False).attention is None


def test_the_learnable_calibration_is_used_where_features_are_given(small_clip):
    clip, images = FrozenCLIP.from_config(clip_config(calibration="learnable")), torch.rand(2, 3, 32, 32)
    without, given = clip.encode_image(images), clip.encode_image(images, embed=last_layer)
    assert not torch.allclose(without.patches, given.patches, atol=1e-4)


def test_layers_alone_are_the_layers_of_the_full_encoding(small_clip):
    clip, images = FrozenCLIP.from_config(clip_config()), torch.rand(2, 3, 32, 32)
    layers, grid = clip.encode_layers(images)
    torch.testing.assert_close(layers, clip.encode_image(images).layers)
    assert grid == (4, 4)


def test_it_never_trains(small_clip):
    clip = FrozenCLIP.from_config(clip_config())
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    clip.train()
    assert not any(module.training for module in clip.modules())
    features = clip.encode_image(torch.rand(1, 3, 32, 32, requires_grad=True))
    assert not features.patches.requires_grad and not clip.encode_text(["a dog"]).requires_grad
    outer = torch.nn.ModuleDict({"clip": clip}).train()
    assert outer.training and not outer["clip"].training


def test_integer_images_are_refused(small_clip):
    with pytest.raises(ValueError, match="images: expected floating-point values in 0..1, got torch.uint8"):
        FrozenCLIP.from_config(clip_config()).encode_image(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_impossible_options_are_refused_at_once(small_clip):
    with pytest.raises(ValueError, match="affinity_blocks: expected 0 to 4"):
        FrozenCLIP.from_config(clip_config(affinity_blocks=6))


def test_text_prototypes_are_normalised_means_of_normalised_prompts(small_clip):
    clip = FrozenCLIP.from_config(clip_config())
    names, templates = ["dog", "cat", "bird"], ("a clean origami {}.", "a photo of a {}!")
    tokenizer = ReducedTokenizer(reduced_vocabulary(WORDS), context_length=12)
    for name, prototype in zip(names, clip.text_prototypes(names, templates)):
        total = torch.zeros(16)
        for template in templates:
            vector = small_clip.encode_text(tokenizer(template.replace("{}", name)))[0].detach()
            total += vector / vector.norm()
        torch.testing.assert_close(prototype, total / total.norm())
    torch.testing.assert_close(clip.text_prototypes(names), clip.encode_text(WORDS[:3]))


def test_many_texts_are_encoded_as_one_by_one(small_clip):
    clip = FrozenCLIP.from_config(clip_config())
    together = clip.encode_text(["dog", "cat"] * 150)
    torch.testing.assert_close(together[[0, 299]], torch.cat([clip.encode_text(["dog"]), clip.encode_text(["cat"])]))


def test_positions_are_resized_alike_for_features_and_layers_alone(small_clip):
    images, found = torch.rand(1, 3, 32, 48), {}
    for resize in ("bicubic", "bilinear"):
        clip = FrozenCLIP.from_config(clip_config(position_resize=resize))
        found[resize] = clip.encode_image(images).layers
        torch.testing.assert_close(clip.encode_layers(images)[0], found[resize])
    assert not torch.allclose(found["bicubic"][0], found["bilinear"][0])


def test_a_dropped_text_tower_leaves_images_as_they_were_and_says_how_to_get_another(small_clip):
    clip, images = FrozenCLIP.from_config(clip_config()), torch.rand(1, 3, 32, 32)
    before, tower = clip.encode_image(images).patches, weakref.ref(clip.model.token_embedding.weight)
    visual = sum(parameter.numel() for parameter in clip.model.visual.parameters())
    clip.drop_text()
    assert torch.equal(clip.encode_image(images).patches, before)
    assert sum(parameter.numel() for parameter in clip.parameters()) == visual and tower() is None
    assert not any(module.training for module in clip.modules())
    clip.drop_text()  # nothing left to drop
    for ask in (clip.encode_text, clip.text_prototypes):
        with pytest.raises(RuntimeError, match="no text tower.*make another by FrozenCLIP.from_config.config.clip."):
            ask(["dog"])


def test_random_weights_where_none_are_asked_for(small_clip):
    torch.manual_seed(11)
    loaded = loading.load_clip("partworld", None)
    assert not torch.equal(loaded.model.visual.proj, small_clip.visual.proj)


@pytest.mark.parametrize("name", ["clip.json", "vocabulary.json", "clip.safetensors"])
def test_a_missing_file_of_the_small_clip_is_named_with_the_cure(small_clip, tmp_path, name):
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: missing file of the small CLIP .*pretrain-clip"):
        FrozenCLIP.from_config(clip_config())


def test_a_vocabulary_of_another_model_is_refused(small_clip, tmp_path):
    (tmp_path / "vocabulary.json").write_text(json.dumps(reduced_vocabulary(WORDS[:1])))
    with pytest.raises(ValueError, match="vocabulary.json: expected .* ids .*, got"):
        FrozenCLIP.from_config(clip_config())


def test_a_tag_brings_its_own_mean_and_deviation(tiny, tmp_path, monkeypatch):
    torch.manual_seed(4)
    model = open_clip.create_model(tiny).eval()
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    tag = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "file": str(tmp_path / "tiny.safetensors")}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny, {"mine": tag})
    clip = FrozenCLIP.from_config(clip_config(model=tiny, pretrained="mine"))
    images = torch.rand(1, 3, 32, 32)
    normalised = torch.stack([(images[:, c] - tag["mean"][c]) / tag["std"][c] for c in range(3)], dim=1)
    expected = dense_forward(model.visual, normalised, calibrated_blocks=3).patches
    torch.testing.assert_close(clip.encode_image(images).patches, expected)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_come_from_a_file_with_the_mean_of_openai(tiny, tmp_path, suffix):
    torch.manual_seed(4)
    model, file = open_clip.create_model(tiny), tmp_path / f"tiny.{suffix}"
    save_file(model.state_dict(), file) if suffix == "safetensors" else torch.save(model.state_dict(), file)
    loaded = loading.load_clip(tiny, str(file))
    torch.testing.assert_close(loaded.model.state_dict(), model.state_dict())
    assert loaded.mean == open_clip.OPENAI_DATASET_MEAN and loaded.std == open_clip.OPENAI_DATASET_STD


def test_a_torch_file_that_holds_code_is_refused_and_the_code_is_not_run(tiny, tmp_path):
    torch.save({"state_dict": Poison(tmp_path / "run")}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="evil.pt: cannot be read as weights of this model"):
        loading.load_clip(tiny, str(tmp_path / "evil.pt"))
    assert not (tmp_path / "run").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "run").exists(), "else the poison is none"


def test_weights_of_another_architecture_are_refused(tiny, tmp_path):
    save_file({"visual.proj": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="other.safetensors: cannot be read as weights of this model .KeyError"):
        loading.load_clip(tiny, str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize(
    "model, pretrained, right",
    [
        ("ViT-B-16", "openai", "trained with QuickGELU, but .* use clip.model 'ViT-B-16-quickgelu'"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "trained with GELU, but .* use clip.model 'ViT-B-16'"),
    ],
)
def test_an_activation_that_does_not_fit_the_weights_is_an_error(model, pretrained, right):
    with pytest.raises(ValueError, match=right):
        loading.load_clip(model, pretrained)


def test_a_download_that_fails_tells_the_cure(monkeypatch):
    def unreachable(tag):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", unreachable)
    with pytest.raises(
        RuntimeError,
        match="could not be downloaded .no route to host.; fetch timm.* elsewhere and give the weight file .*HF_HUB_CACHE",
    ):
        loading.load_clip("ViT-B-16-quickgelu", "openai")


def test_unknown_models_tags_and_files_are_refused():
    with pytest.raises(ValueError, match="clip.model: expected 'partworld' or .* got 'ViT-B-61'; the nearest: .*ViT-B-16"):
        loading.load_clip("ViT-B-61", "openai")
    with pytest.raises(ValueError, match="clip.pretrained: 'open' is neither a file nor a tag .*known tags: openai"):
        loading.load_clip("ViT-B-16-quickgelu", "open")
    with pytest.raises(FileNotFoundError, match="clip.pretrained: no weight file 'weights/clip.safetensors'"):
        loading.load_clip("ViT-B-16-quickgelu", "weights/clip.safetensors")


def test_the_small_clip_of_the_repository_loads():
    if not (loading.SMALL_CLIP / "clip.safetensors").is_file():
        pytest.skip("data/partworld/clip.safetensors is not there: make it by `python -m vdalib pretrain-clip`")
    clip = FrozenCLIP(loading.load_clip("partworld", "partworld"))
    features = clip.encode_image(torch.rand(1, 3, *clip.native_size))
    assert features.patches.shape[1] == clip.dim and features.patches.isfinite().all()
