"""Trains the small CLIP of PartWorld from statements about whole pictures alone: `python -m vdalib pretrain-clip`.

A vision transformer of this size does not find the classes by itself from a hundred thousand images, so the evidence is found by
a convolutional network first and then taught to the transformer, patch by patch:

1. *Teacher*: a small convolutional network and the text tower learn which statements ("a photo of a red dog", "a clean origami
   poodle", "a drawing of a dog head") are said of an image. The score of a statement is the mean of its strongest places: of
   few at one step, to find small objects, of many at another, to find the whole of large ones.
2. *Student*: an open_clip vision transformer learns at every patch the teacher's vector there, and at its class token which
   statements the teacher confirms of those that were said. What no statement speaks of, such as texture, is part of what it
   learns at patches: `UNSAID` dimensions of the embedding in which every text is zero hold what the teacher's own features show.
   The teacher's vectors are first carried along the image's colours (PAR), for they fade and bleed at the borders of objects.

What may be said is what a caption says: classes, kinds, colours, visible parts, scene; no mask, box or position is read. As on
the web, what is said is incomplete and sometimes wrong: rates of omission and error are settings.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vdalib.clip.dense import dense_forward
from vdalib.clip.text import ReducedTokenizer, reduced_vocabulary
from vdalib.data.partworld import TEMPLATES
from vdalib.io import atomic_path
from vdalib.pretraining.settings import MODEL, PATCH, UNSAID, WORDS, PretrainConfig
from vdalib.pretraining.statements import Statements, render_pool
from vdalib.pretraining.teacher import Teacher
from vdalib.progress import progress_bar
from vdalib.segmentation.par import pixel_adaptive_refinement

GROUP_WEIGHTS = (1.0, 1.0, 0.5, 1.0, 0.25)  # of classes, kinds, coloured classes, parts of classes, scenes
SURVEYED = 600  # images whose features tell what no statement speaks of


def _autocast() -> torch.autocast:
    """bf16 where the CPU has instructions for it; without them it takes more than twice the time of full precision."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def balanced_bce(logits: Tensor, target: Tensor, group: Tensor) -> Tensor:
    """Binary cross entropy over statements (last dimension); in each group evidence for and against weigh alike."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    total = logits.new_zeros(())
    for g, weight in enumerate(GROUP_WEIGHTS):
        part, t = loss[..., group == g], target[..., group == g]
        total = total + weight * ((part * t).sum() / t.sum().clamp_min(1) + (part * (1 - t)).sum() / (1 - t).sum().clamp_min(1))
    return total


def _schedule(optimizers: list[torch.optim.Optimizer], steps: int, warmup: int) -> list[torch.optim.lr_scheduler.LambdaLR]:
    def factor(step: int) -> float:
        return min((step + 1) / warmup, (steps - step) / (steps - warmup))

    return [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]


def _optimizers(module: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside transformer blocks and convolutions, AdamW for all else."""
    matrices, others = [], []
    for name, parameter in module.named_parameters():
        (matrices if ("resblocks" in name or "trunk" in name) and parameter.ndim == 2 else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=lr, weight_decay=0.01)]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"))
    return optimizers


class _Batches:
    """Endless random batches with mirror images: each of `maps` (B, ..., W), uint8 taken as 0..1, and (B, S) float said."""

    def __init__(self, *maps: Tensor, said: Tensor, batch_size: int, seed: int):
        self.maps, self.said, self.batch_size = maps, said, batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self):
        while True:
            order = torch.randperm(len(self.said), generator=self.generator)
            for chosen in order.split(self.batch_size)[: len(order) // self.batch_size]:
                mirror = (torch.rand(len(chosen), generator=self.generator) < 0.5)[:, None, None, None]
                maps = [values[chosen].float() / (255 if values.dtype == torch.uint8 else 1) for values in self.maps]
                yield *[torch.where(mirror, values.flip(-1), values) for values in maps], self.said[chosen].float()


def train_teacher(teacher: Teacher, clip, tokenizer, batches, statements: Statements, config: PretrainConfig, log) -> None:
    """Stage 1: convolutional teacher and the CLIP's text tower, from statements true or false of the whole image."""
    text_parameters = nn.ModuleList([clip.transformer, clip.token_embedding, clip.ln_final])
    optimizers = _optimizers(text_parameters, config.teacher_lr / 2)
    loose = [clip.positional_embedding, clip.text_projection, clip.logit_scale, clip.logit_bias]
    optimizers += _optimizers(teacher, config.teacher_lr)
    optimizers.append(torch.optim.AdamW(loose, lr=config.teacher_lr, weight_decay=0.01))
    schedules = _schedule(optimizers, config.teacher_steps, warmup=50)
    generator = torch.Generator().manual_seed(config.seed)
    for step, (images, said) in zip(bar := progress_bar(range(config.teacher_steps), desc="teacher"), batches):
        with _autocast():
            text = clip.encode_text(tokenizer(statements.phrased(generator)), normalize=True).float()
            places = teacher(images.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)
        logits = clip.logit_scale.exp() * places @ text[:, :WORDS].T + clip.logit_bias  # (B, N, S)
        strongest = config.strongest[int(torch.randint(len(config.strongest), (), generator=generator))]
        loss = balanced_bce(score(logits, strongest), said, statements.group)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules):
            optimizer.step()
            schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
            log("teacher", step, loss=loss.item())


def score(places: Tensor, strongest: int) -> Tensor:
    """Logits at every place (B, N, S) -> of the image (B, S): the mean of the strongest places."""
    return places.topk(strongest, dim=1).values.mean(1)


def verdict(places: Tensor, said: Tensor, strongest: tuple[int, ...]) -> Tensor:
    """How far the teacher's logits (B, N, S) confirm statements of an image: (B, S) in 0..1, zero where `said` (B, S) is."""
    return torch.stack([torch.sigmoid(score(places, number)) for number in strongest]).mean(0) * said


@torch.no_grad()
def lessons(teacher: Teacher, images: Tensor, config: PretrainConfig) -> Tensor:
    """What the student learns at the patches of images, (n, 3, H, W) uint8 -> (n, D, H/8, W/8) half, L2-normalised.

    The teacher's vector beside the first UNSAID principal components of its features, both carried along colours.
    """
    seen = teacher.look(images[:SURVEYED].float() / 255)[1].movedim(1, -1).flatten(0, 2)
    mean = seen.mean(0)
    axes = torch.linalg.eigh(torch.cov(seen.T)).eigenvectors[:, -UNSAID:]  # (192, UNSAID)
    axes = axes * config.unsaid / ((seen - mean) @ axes).norm(dim=1).mean()
    found = torch.empty(len(images), WORDS + UNSAID, *(side // PATCH for side in images.shape[2:]), dtype=torch.half)
    for part, result in zip(progress_bar(images.split(config.batch_size), desc="lessons"), found.split(config.batch_size)):
        part = part.float() / 255
        with _autocast():
            places, near = teacher.look(part.contiguous(memory_format=torch.channels_last))
        unsaid = ((near.movedim(1, -1) - mean) @ axes).movedim(-1, 1)
        small = F.avg_pool2d(part, PATCH // 2)
        both = F.interpolate(torch.cat([places, unsaid], 1), size=small.shape[2:], mode="bilinear")
        refined = F.avg_pool2d(pixel_adaptive_refinement(small, both, iterations=10, dilations=(1, 2, 4)), 2)
        result.copy_(F.normalize(refined, dim=1))
    return found


def train_student(clip, batches, tokenizer, statements, config, log, save) -> None:
    """Stage 2: the vision transformer, from the teacher's vectors at the patches and from its verdict at the class token."""
    with torch.no_grad():
        table = torch.stack(
            [
                clip.encode_text(tokenizer([template.format(content) for content in statements.contents]), normalize=True)
                for template in TEMPLATES
            ]
        )  # (templates, S, D)
    text, scale, bias = F.normalize(table.mean(0), dim=-1), clip.logit_scale.exp().item(), clip.logit_bias.item()
    optimizers = _optimizers(clip.visual, config.student_lr)
    optimizers.append(torch.optim.AdamW([clip.logit_scale, clip.logit_bias], lr=config.student_lr / 4, weight_decay=0.0))
    schedules = _schedule(optimizers, config.crop_steps + config.student_steps, warmup=100)
    mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    generator = torch.Generator().manual_seed(config.seed + 1)
    steps = range(config.crop_steps + config.student_steps)
    for step, (images, target, said) in zip(bar := progress_bar(steps, desc="student"), batches):
        if step < config.crop_steps:
            side = config.crop // PATCH
            top, left = torch.randint(target.shape[-1] - side + 1, (2,), generator=generator).tolist()
            target = target[..., top : top + side, left : left + side]
            images = images[..., top * PATCH : (top + side) * PATCH, left * PATCH : (left + side) * PATCH]
        spoken = F.normalize(target[:, :WORDS], dim=1).flatten(2).transpose(1, 2)
        confirmed = verdict(scale * spoken @ text[:, :WORDS].T + bias, said, config.strongest)
        drawn = torch.randint(len(TEMPLATES), (len(statements),), generator=generator)
        phrased = table[drawn, torch.arange(len(statements))].T  # (D, S)
        with _autocast():
            features = dense_forward(clip.visual, (images - mean) / std, calibration="static")
        at_patches = 1 - (features.patches * target).sum(1).mean()
        of_image = balanced_bce(clip.logit_scale.exp() * features.cls @ phrased + clip.logit_bias, confirmed, statements.group)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        (config.patches * at_patches + of_image).backward()
        for optimizer, schedule in zip(optimizers, schedules):
            optimizer.step()
            schedule.step()
        if step % 20 == 0:
            bar.set_postfix(patches=f"{at_patches.item():.3f}", image=f"{of_image.item():.3f}")
            log("student", step, patches=at_patches.item(), image=of_image.item())
        if step % 200 == 199:
            save()


def pretrain(out: Path, config: PretrainConfig | None = None) -> None:
    """Train teacher and student and write clip.json, vocabulary.json, clip.safetensors (fp16), pretraining.json and log.jsonl.

    The rendered images and the teacher are kept in `out` too, and used again if they are there. Raises ValueError where they were
    made with other settings.
    """
    config = config or PretrainConfig()
    settings, about = json.dumps(asdict(config), indent=1), out / "pretraining.json"
    pool, taught = (out / f"{name}.safetensors" for name in ("pool", "teacher"))
    if (pool.exists() or taught.exists()) and not (about.exists() and about.read_text() == settings):
        raise ValueError(
            f"{about}: {pool.name} and {taught.name} were made with other settings; delete them or choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    statements = Statements()
    kept = reduced_vocabulary([template.format(content) for template in TEMPLATES for content in statements.contents])
    tokenizer = ReducedTokenizer(kept, MODEL["text_cfg"]["context_length"])
    model = {**MODEL, "text_cfg": {**MODEL["text_cfg"], "vocab_size": len(kept)}}
    (out / "clip.json").write_text(json.dumps(model, indent=1))
    (out / "vocabulary.json").write_text(json.dumps(kept))
    about.write_text(settings)
    clip = CLIP(**model)
    with torch.no_grad():
        clip.text_projection[:, WORDS:] = 0  # and so they stay: no gradient reaches them
    if not pool.exists():
        with atomic_path(pool) as path:
            save_file(dict(zip(("images", "said"), render_pool(config, statements))), path)
    tensors = load_file(pool)
    images, said = tensors["images"], tensors["said"]

    log_file = out / "log.jsonl"
    earlier = log_file.read_text().splitlines(keepends=True) if taught.exists() and log_file.exists() else []
    with open(log_file, "w", buffering=1) as file:
        file.writelines(line for line in earlier if line.startswith('{"phase": "teacher"') and line.endswith("}\n"))

        def log(phase: str, step: int, **values: float) -> None:
            file.write(json.dumps({"phase": phase, "step": step, **{k: round(v, 4) for k, v in values.items()}}) + "\n")

        def save() -> None:
            with atomic_path(out / "clip.safetensors") as path:
                save_file({k: v.detach().half().contiguous() for k, v in clip.state_dict().items()}, path)

        teacher = Teacher(WORDS).to(memory_format=torch.channels_last)
        both = nn.ModuleDict({"teacher": teacher, "clip": clip})
        if taught.exists():
            both.load_state_dict(load_file(taught))
        else:
            batches = _Batches(images, said=said, batch_size=config.batch_size, seed=config.seed)
            train_teacher(teacher, clip, tokenizer, batches, statements, config, log)
            with atomic_path(taught) as path:
                save_file({k: v.contiguous() for k, v in both.state_dict().items()}, path)
        places = lessons(teacher.eval(), images, config)
        batches = _Batches(images, places, said=said, batch_size=config.batch_size, seed=config.seed + 1)
        train_student(clip, batches, tokenizer, statements, config, log, save)
        save()
