"""What methods on a frozen CLIP share: when the adapter joins, whose labels the affinity loss takes, what is kept of CLIP."""

import pytest
import torch
import torch.nn.functional as F
from small_runs import start

from vdalib.segmentation.losses import affinity_loss
from vdalib.segmentation.segmenter import patch_affinity
from vdalib.training.devices import autocast
from vdalib.training.step import Step

pytestmark = pytest.mark.usefixtures("random_clip")
WALK = {"clip.calibration": "learnable", "clip.affinity_blocks": 3, "refine.random_walk": True}
TOTAL = 9  # steps of QUICK


def a_batch(dataset, count=2):
    images = torch.stack([dataset[i].image[:, :48, :48] for i in range(count)]).float() / 255
    return images, torch.stack([dataset[i].labels for i in range(count)])


@pytest.mark.parametrize("method", ["text", "vda"])
@pytest.mark.parametrize("joins, first", [(0.5, 5), (3 / 9, 3), (1.0, 9)], ids=["middle", "third", "never"])
def test_the_adapter_steers_neither_calibration_nor_walk_before_its_share_of_the_schedule(tmp_path, method, joins, first):
    trainer = start(tmp_path, WALK | {"method": method, "schedule.adapter_joins": joins, "assembly.fusion": False})
    batch = a_batch(trainer.dataset)
    static = start(tmp_path / "static", {"clip.affinity_blocks": 3, "refine.random_walk": True})
    plain = static.method.evidence(*batch, 1).features.patches

    def seen(step):
        found = trainer.method.evidence(*batch, step + 1)  # as the weights after step `step` see it
        walked = trainer.method.refined(found, found.labels[:, :, None, None] * torch.rand(6, 6).sort().values)
        return found.features.patches, walked

    torch.manual_seed(0)
    before = [seen(step) for step in range(TOTAL)]
    torch.nn.init.normal_(trainer.method.segmenter.adapter.compress.weight)
    torch.manual_seed(0)
    after = [seen(step) for step in range(TOTAL)]
    for step, ((patches, walked), (others, otherwise)) in enumerate(zip(before, after)):
        assert torch.equal(patches, plain) == (step < first)
        assert torch.equal(patches, others) == torch.equal(walked, otherwise) == (step < first)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_adapter_runs_once_for_training_with_dropout_and_for_calibration_without(tmp_path, precision):
    changes = {"clip.calibration": "learnable", "schedule.adapter_joins": 0.5, "segmenter.dropout": 0.5, "precision": precision}
    trainer, calls = start(tmp_path, changes), []
    method, adapter = trainer.method, trainer.method.segmenter.adapter
    images, labels = a_batch(trainer.dataset)
    trainer.model.train()
    adapter.compress.register_forward_hook(lambda *_: calls.append(None))
    _, seen = method.loss_terms(
        {"images": images, "labels": labels, "valid": torch.ones(2, 48, 48, dtype=torch.bool)},
        Step(5, TOTAL, 0, trainer.model),
    )
    assert len(calls) == 1 and seen.embedding.requires_grad and not seen.features.patches.requires_grad
    adapter.eval()
    with torch.no_grad(), autocast(method.device, precision):
        expected = method.clip.encode_image(images, attention=True, embed=adapter)
    assert torch.equal(seen.features.patches, expected.patches)
    assert (seen.embedding == 0).flatten(2).all(2).any()  # channels that dropout took


@pytest.mark.parametrize("joins", [None, 0.5])
def test_the_affinity_loss_takes_the_decoders_prediction_from_its_share_on(tmp_path, joins):
    trainer = start(tmp_path, {"schedule.prediction_joins": joins, "segmenter.dropout": 0.0})
    trainer.method.segmenter.decoder.classify.bias.data.zero_()
    images, labels = a_batch(trainer.dataset)
    valid = torch.ones(2, 48, 48, dtype=torch.bool)
    valid[0, :16] = False
    for step in range(TOTAL):
        moment = Step(step, TOTAL, 0, trainer.model)
        terms, seen = trainer.method.loss_terms({"images": images, "labels": labels, "valid": valid}, moment)
        label_maps = seen.pseudo_label
        if joins is not None and step >= 5:
            large = F.interpolate(seen.logits, (48, 48), mode="bilinear", align_corners=False).detach().numpy()
            predicted = torch.from_numpy(large.argmax(1))
            assert (predicted != label_maps)[valid].any() and predicted.unique().numel() > 1
            label_maps = torch.where(valid, predicted, 255)
        at_grid = label_maps[:, ::8, ::8]  # nearest: the first pixel of each patch
        expected = affinity_loss(patch_affinity(seen.embedding), at_grid)
        torch.testing.assert_close(terms["affinity"], expected)


def test_the_text_tower_is_gone_once_the_prompts_are_embedded(tmp_path):
    method = start(tmp_path).method
    assert {name.split(".")[1] for name, _ in method.clip.named_parameters()} == {"visual"}
    assert method.labeller.class_text.shape == (len(method.class_names), method.clip.dim)
