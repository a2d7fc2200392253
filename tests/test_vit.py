"""The trained transformer: the same tokens as its maker's, and the maps on them."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from vdalib.clip.loading import load_clip
from vdalib.methods.vit import IMAGENET_MEAN, IMAGENET_STD, TokenSegmenter, VisionTransformer

TINY = "vit_tiny_patch16_224"


def normalised(images, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import timm

    torch.manual_seed(0)
    model = timm.create_model(TINY)
    path = tmp_path_factory.mktemp("vit") / "tiny.safetensors"
    save_file(model.state_dict(), path)
    return model.eval(), path


def test_a_file_of_timms_weights_gives_timms_tokens(weights):
    model, path = weights
    ours = VisionTransformer.from_timm(TINY, str(path))
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = model.forward_features(normalised(images))
        _, layers = model.forward_intermediates(normalised(images), indices=[9], norm=False)
        found = ours(images)
    torch.testing.assert_close(found.cls, expected[:, 0])
    torch.testing.assert_close(found.patches.flatten(2).transpose(1, 2), expected[:, 1:])
    torch.testing.assert_close(found.auxiliary, layers[0])  # the 10th block of 12, without a LayerNorm


def test_another_size_resizes_the_position_bicubically_and_leaves_the_class_tokens(weights):
    model, path = weights
    ours = VisionTransformer.from_timm(TINY, str(path))
    grid = ours.position[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    expected = F.interpolate(grid, (6, 4), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    found = ours._position((6, 4))
    assert torch.equal(found[:, 1:], expected) and torch.equal(found[:, :1], model.pos_embed[:, :1])
    assert "position" not in dict(ours.named_parameters())
    assert ours(torch.rand(1, 3, 101, 64)).patches.shape == (1, 192, 6, 4)  # 101 px: the last 5 are left out


@pytest.mark.usefixtures("random_clip")
def test_on_partworld_the_small_clips_tower_is_the_start():
    ours = VisionTransformer.from_clip("partworld", "partworld", auxiliary_block=-2)
    loaded = load_clip("partworld", "partworld")
    tower, images = loaded.model.visual.eval(), torch.rand(2, 3, 96, 96)
    tower.output_tokens, tower.proj = True, None
    with torch.no_grad():
        cls, patches = tower(normalised(images, loaded.mean, loaded.std))
        found = ours(images)
    torch.testing.assert_close(found.cls, cls)
    torch.testing.assert_close(
        found.patches.flatten(2).transpose(1, 2), tower.ln_post(patches) if tower.final_ln_after_pool else patches
    )


@pytest.mark.parametrize(
    "name, pretrained, expected",
    [
        ("resnet18", None, "is no plain vision transformer"),
        ("vit_huge_nonsense", None, "is neither 'clip' nor a model of timm"),
        (TINY, "no_such_tag", "is neither a file nor a tag of 'vit_tiny_patch16_224'"),
        ("deit_tiny_distilled_patch16_224", None, "is no plain vision transformer"),
        ("deit3_small_patch16_224", None, "is no plain vision transformer"),
        ("vit_tiny_patch16_384", "FILE", "cannot be read as weights of this model"),
    ],
)
def test_what_cannot_serve_is_refused(name, pretrained, expected, weights):
    with pytest.raises(ValueError, match=expected):
        VisionTransformer.from_timm(name, str(weights[1]) if pretrained == "FILE" else pretrained)


def test_an_impossible_auxiliary_block_is_refused():
    with pytest.raises(ValueError, match="backbone.auxiliary_block: expected -12 to -1 for 12 blocks, got -13"):
        VisionTransformer.from_timm(TINY, None, -13)


@pytest.mark.usefixtures("random_clip")
def test_cams_are_those_of_the_images_classes_from_both_classifiers_without_gradient():
    torch.manual_seed(0)
    network = TokenSegmenter(VisionTransformer.from_clip("partworld", "partworld"), 5, torch.nn.Identity())
    images = torch.rand(2, 3, 48, 48)
    labels = torch.tensor([[True, False, True, False, False], [False, False, False, True, False]])
    cam, auxiliary = network.cams(images, labels, (1.0,))
    assert not cam.requires_grad and cam.shape == auxiliary.shape == (2, 5, 48, 48)
    assert torch.equal(cam.amax((2, 3)) > 0, labels) and torch.equal(auxiliary.amax((2, 3)) > 0, labels)
    straight, mirrored = network.backbone(images), network.backbone(images.flip(3))
    for found, head, which in ((cam, network.classifier, 1), (auxiliary, network.auxiliary_classifier, 2)):
        for i, k in labels.nonzero().tolist():
            maps = [torch.einsum("chw,c->hw", tokens[which][i], head.weight[k])[None, None] for tokens in (straight, mirrored)]
            one, other = (F.interpolate(m, (48, 48), mode="bilinear", align_corners=False)[0, 0] for m in maps)
            best = one.maximum(other.flip(1)).clamp_min(0)
            torch.testing.assert_close(found[i, k], (best - best.min()) / ((best - best.min()).max() + 1e-5))
    nothing = network.cams(images, torch.zeros(2, 5, dtype=torch.bool), (1.0,))
    assert not nothing[0].any() and not nothing[1].any()
