"""SeCo, separate and conquer (Yang et al., CVPR 2024): tagged patches learn from category prototypes and from a reservoir.

What it does in a step is `SeCo.loss_terms`; its own parts are below, those that it shares with ToCo in `tokens`.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from vdalib.attributes.losses import Total, whole
from vdalib.config.methods import SecoOptions
from vdalib.data.images import VOID
from vdalib.methods.parts import ASPP, ProjectionHead, crops, draw_places, momentum_update
from vdalib.methods.tokens import StepOutput, TokenMethod, generators, mean_cosine, require_room
from vdalib.segmentation.class_cam import three_way_labels
from vdalib.segmentation.losses import token_contrast
from vdalib.training.devices import autocast
from vdalib.training.step import Step

UNDECIDED, BACKGROUND = -1, 0  # tags and regions; classes are 1..K
TAGGED_SHARE = 0.2  # of a patch's area; with no more confident and uncertain places it is background


class SeCo(TokenMethod):
    """Cut the picture into small patches, tag each with its class, and let two stores of knowledge teach them, tag by tag.

    memory: `encoder` and `projection`, slow copies of the student's, which make the keys; `prototypes`, a vector per class;
        `reservoir`, the last keys with their tags.
    Source: [P] SeCo; each slip of the published code that is not an option is mended.
    """

    Options = SecoOptions
    photometric = False

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        width, keys = self.network.backbone.width, config.schedule.batch_size * (2 + self.options.patches)
        require_room("patch_size", self.options.patch_size, self.options.patches, config.data.crop, self.network.patch_size)
        if self.options.reservoir < keys:
            raise ValueError(f"options.reservoir: {self.options.reservoir} is less than the {keys} keys of a step; choose more")
        self.prototypes, self.reservoir = PrototypeBank(len(class_names), width), Reservoir(self.options.reservoir, width)
        self.memory = nn.ModuleDict(
            {
                "encoder": deepcopy(self.network.backbone),
                "projection": deepcopy(self.model.projection),
                "prototypes": self.prototypes,
                "reservoir": self.reservoir,
            }
        )
        self.memory.requires_grad_(False).to(device)

    @staticmethod
    def decoder(options: SecoOptions, width: int, num_outputs: int) -> nn.Module:
        return ASPP(width, num_outputs, options.decoder_dilations)

    @staticmethod
    def projection(options: SecoOptions, width: int) -> nn.Module:
        return ProjectionHead(width, options.projection, width)

    def starts(self) -> dict[str, int]:
        return {
            "classification": 0,
            "contrast": self.options.contrast_from,
            "knowledge": self.options.knowledge_from,
            "segmentation": self.options.segmentation_from,
        }

    def loss_terms(self, batch: dict[str, Tensor], step: Step) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        options, number = self.options, step.number
        contrast, segment = number >= options.contrast_from, number >= options.segmentation_from
        knows = number >= options.knowledge_from
        images, labels, valid = batch["main"], batch["labels"], batch["valid"]

        # Separate: where the classes are, as the weights stand; small patches from where that is undecided, with their tags.
        cam, auxiliary = self.cams(images, labels)
        places, tags = self.decomposed(cam if number >= options.tags_from else auxiliary, batch)  # (B, n, 2), (B, 2+n)

        # One forward of all views, and the image-level losses.
        second = batch["second"] if knows or options.global_keys == "student" else None
        output = self.forward(step.model, images, second, self.cut(images, places) if knows else None, segment=segment)
        terms = self.classification_terms(output, labels, step)
        if number >= options.prototypes_from:
            tokens = step.gather(output.cls[:, 0].contiguous())
            self.prototypes.update(tokens, step.gather(labels), options.prototype_momentum, not options.as_published)

        # Conquer: queries of the student, keys of its slow copy from the same places; what the two stores know of their tags.
        tags = tags.flatten()
        keys, key_tags = step.gather(self.keys(output, batch, places)), step.gather(tags)  # (B (2+n), D) of all processes
        if options.as_published:
            self.reservoir.put(keys, key_tags)
        if knows:
            terms |= self.knowledge_terms(output.projected.flatten(0, 1), tags, keys, key_tags, step)

        # Tokens to which the auxiliary CAM gives one label should be alike.
        if contrast:
            marks = self.token_labels(auxiliary, labels, output.patches.shape[2:], valid)
            terms["patch_contrast"] = token_contrast(output.patches, marks, step.total)

        # The CAM, refined along the picture's own colours, teaches the decoder.
        if segment:
            target = self.target(cam, auxiliary, images, labels, valid, number)
            terms |= self.segmentation_terms(output.masks, target, images, valid, step)
        return terms, (mean_cosine(output.patches), keys, key_tags)

    def decomposed(self, cam: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Places of patches (B, n, 2) and tags (B, 2+n): of the two whole views, then of the patches."""
        options, labels = self.options, batch["labels"]
        regions = three_way_labels(cam, labels, options.high, options.low, batch["valid"], UNDECIDED)
        places, tags = [], []
        for region, label, generator in zip(regions, labels, generators(batch["seed"])):
            single = options.single_class == "cam" or label.sum() == 1
            found, patches, image = decompose(region, options.patches, options.patch_size, generator, single)
            places.append(found)
            tags.append(F.pad(patches, (2, 0), value=image))
        return torch.stack(places), torch.stack(tags)

    def cut(self, images: Tensor, places: Tensor) -> Tensor:
        """Patches (B, n, 3, s, s)."""
        return torch.stack([crops(image, centres, self.options.patch_size) for image, centres in zip(images, places)])

    @torch.no_grad()
    def keys(self, output: StepOutput, batch: dict[str, Tensor], places: Tensor) -> Tensor:
        """(B (2+n), D), unit, in the order of the queries."""
        encoder, projection = self.memory["encoder"], self.memory["projection"]
        batch_size = len(places)
        with autocast(self.device, self.config.precision), record_function("keys"):
            if self.options.global_keys == "student":
                views = output.cls
            else:
                views = encoder(torch.cat([batch["main"], batch["second"]])).cls.unflatten(0, (2, batch_size)).transpose(0, 1)
            patches = encoder(self.cut(batch["source"], places).flatten(0, 1)).cls.unflatten(0, (batch_size, -1))
            return projection(torch.cat([views, patches], dim=1)).float().flatten(0, 1)

    def knowledge_terms(self, queries: Tensor, tags: Tensor, keys: Tensor, key_tags: Tensor, step: Step) -> dict[str, Tensor]:
        """L_lil and L_lig; keys and their tags are those of all processes, queries and tags this one's."""
        options = self.options
        held, held_tags = self.reservoir.contents()
        pool, pool_tags = torch.cat([keys, held]), torch.cat([key_tags, held_tags])
        if options.as_published:
            reservoir, tags = published_contrast(queries, tags, pool, pool_tags, total=step.total)
            key_tags = step.gather(tags)  # as the noise filter left them
        else:
            known = tags if options.background_attracts else tags.masked_fill(tags == BACKGROUND, UNDECIDED)
            reservoir = supervised_contrast(queries, known, pool, pool_tags, total=step.total)
        present = torch.zeros_like(self.prototypes.images, dtype=torch.bool)
        present[key_tags[key_tags > 0] - 1] = True
        settled = self.prototypes.images >= options.prototype_images
        prototype = prototype_contrast(queries, tags, self.prototypes.vectors, present & settled, total=step.total)
        return {"prototype": prototype, "reservoir": reservoir}

    def after_step(self, seen: tuple[Tensor, ...], step: Step) -> dict[str, Tensor]:
        """The slow copies follow, this step's keys go into the reservoir."""
        cosines, *keys = seen
        if not self.options.as_published:  # there they went in before the losses
            self.reservoir.put(*keys)
        momentum_update(self.memory["encoder"], self.network.backbone, self.options.teacher_momentum)
        momentum_update(self.memory["projection"], self.model.projection, self.options.teacher_momentum)
        return {"token_cosine": step.gather(cosines).mean()}


def decompose(
    regions: Tensor, patches: int, size: int, generator: torch.Generator, single: bool = True
) -> tuple[Tensor, Tensor, int]:
    """Places of an image's patches, their tags, and the tag of the image.

    Centres are drawn among uncertain places. If one class alone is confident somewhere, uncertain places count as it. A patch is
    background if a fifth of it or less is confident or uncertain; else the class that it holds; undecided with none or several.

    regions: (S, S) int64: 0 background, 1..K a class, -1 uncertain, 255 outside the picture.
    single: False: uncertain places never count as a class (the image has several).
    -> places (n, 2), row and column of the centres; tags (n,) int64 in -1..K; the image's tag, its only confident class or -1.
    """
    valid = regions != VOID
    regions = regions.where(valid, BACKGROUND)
    uncertain = regions == UNDECIDED
    confident = regions.masked_fill(uncertain, BACKGROUND)
    found = confident.unique()
    found = found[found != BACKGROUND].tolist()
    if len(found) == 1 and single:
        confident = confident.masked_fill(uncertain, found[0])
    places = draw_places(uncertain, valid, patches, size // 2, generator)
    windows = crops(torch.stack([confident, (regions != BACKGROUND).long()]), places, size)  # (n, 2, size, size)
    return places, patch_tags(windows[:, 0], windows[:, 1]), found[0] if len(found) == 1 else UNDECIDED


def patch_tags(confident: Tensor, occupied: Tensor) -> Tensor:
    """Tags (n,) int64 of patches.

    confident: (n, s, s) int64, 0 or the class 1..K. occupied: (n, s, s), 1 where confident or uncertain.
    """
    confident, share = confident.flatten(1), occupied.flatten(1).float().mean(1)
    largest = confident.amax(1)
    smallest = torch.where(confident > 0, confident, largest[:, None]).amin(1)
    tags = torch.where((largest > 0) & (smallest == largest), largest, UNDECIDED)
    return tags.masked_fill(share <= TAGGED_SHARE, BACKGROUND)


class PrototypeBank(nn.Module):
    """A unit vector per class, the running mean of class tokens of pictures that show this class alone.

    vectors: (K, D). images: (K,), how many pictures each has seen.
    """

    def __init__(self, num_classes: int, dim: int):
        super().__init__()
        self.register_buffer("vectors", torch.randn(num_classes, dim))
        self.register_buffer("images", torch.zeros(num_classes, dtype=torch.long))

    @torch.no_grad()
    def update(self, tokens: Tensor, labels: Tensor, momentum: float, normalise: bool = True) -> None:
        """tokens: (B, D), in the order of the batch of all processes. labels: (B, K) bool; pictures of one class count.

        normalise: tokens to unit length first; False as published, where a token of norm 28 outweighs the memory.
        """
        tokens = F.normalize(tokens.float(), dim=1) if normalise else tokens.float()
        for token, label in zip(tokens, labels):
            if label.sum() == 1:
                self.vectors[label] = momentum * self.vectors[label] + (1 - momentum) * token
                self.images += label
        self.vectors.copy_(F.normalize(self.vectors, dim=1))


class Reservoir(nn.Module):
    """The last Q tagged keys, oldest overwritten first; empty at the start.

    keys: (Q, D). tags: (Q,) int64. written: (), keys that ever came in.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("tags", torch.zeros(size, dtype=torch.long))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def put(self, keys: Tensor, tags: Tensor) -> None:
        """keys: (A, D), tags: (A,), A at most Q."""
        rows = (self.written + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[rows], self.tags[rows] = keys.float(), tags
        self.written += len(keys)

    def contents(self) -> tuple[Tensor, Tensor]:
        """The keys (n, D) and tags (n,) held, n at most Q."""
        held = min(int(self.written), len(self.keys))
        return self.keys[:held], self.tags[:held]


def prototype_contrast(
    queries: Tensor,
    tags: Tensor,
    prototypes: Tensor,
    present: Tensor | None = None,
    temperature: float = 0.1,
    total: Total = whole,
) -> Tensor:
    """L_lig: queries near the prototype of their class, among the classes present; the mean over queries tagged with one.

    queries: (A, D), unit. tags: (A,) int64 in -1..K. prototypes: (K, D), unit, no gradient.
    present: (K,) bool, the classes that compete; None = those among `tags`. Queries of other classes are left out.
    """
    if present is None:
        present = torch.zeros(len(prototypes), dtype=torch.bool, device=tags.device)
        present[tags[tags > 0] - 1] = True
    classes = (tags - 1).clamp_min(0)
    counted = (tags > 0) & present[classes]
    logits = queries @ prototypes.detach().to(queries.dtype).T / temperature  # (A, K)
    likelihood = logits.masked_fill(~present, -torch.inf).log_softmax(1)[counted, classes[counted]]
    return -likelihood.sum() / total(counted.sum()).clamp_min(1)


def supervised_contrast(
    queries: Tensor, tags: Tensor, keys: Tensor, key_tags: Tensor, temperature: float = 0.08, total: Total = whole
) -> Tensor:
    """L_lil: queries near the keys of their tag, the mean over queries that are decided and have such a key.

    -1/|A'| sum_a 1/|pos_a| sum_{z in pos_a} ( s_az - log sum_z' exp s_az' ), s = q.z / temperature. Background is a tag as others
    are. Undecided keys are in no sum. The published noise filter is left out: it practically never fires.

    queries: (A, D) and keys: (Z, D), unit. tags: (A,) and key_tags: (Z,) int64, -1 undecided, 0 background, 1..K.
    """
    decided = key_tags != UNDECIDED
    scores = (queries @ keys.detach().to(queries.dtype).T / temperature).masked_fill(~decided, -torch.inf)  # (A, Z)
    positive = (tags[:, None] == key_tags) & decided
    counted = positive.any(1)
    likelihood = scores[counted].log_softmax(1).masked_fill(~positive[counted], 0)
    rows = likelihood.sum(1) / positive[counted].sum(1)
    return -rows.sum() / total(counted.sum()).clamp_min(1)


def published_contrast(
    queries: Tensor, tags: Tensor, keys: Tensor, key_tags: Tensor, temperature: float = 0.08, total: Total = whole
) -> tuple[Tensor, Tensor]:
    """L_lil as the published code has it, with the tags that its noise filter leaves: SeCo sec. 7, steps 1 to 5.

    Its size grows with the number of keys. Shapes are those of `supervised_contrast`; A is the batch of all processes.
    -> the loss, and tags (A,) with background in place of the filtered ones.
    """
    scores = queries @ keys.detach().to(queries.dtype).T / temperature
    scores = scores - scores.amax(1, keepdim=True).detach()
    scores = scores * (tags != UNDECIDED)[:, None]
    attracted = scores * (tags[:, None] == key_tags)
    below = attracted < attracted.mean(1, keepdim=True)
    noisy = below.sum(1) / (~below).sum(1) > 10
    attracted = attracted * ~noisy[:, None]
    tags = tags.masked_fill(noisy, BACKGROUND)
    repelled = scores.exp()
    repelled = (repelled * (repelled != 1) * (key_tags != UNDECIDED)).sum(1)  # an entry of exactly 1 is the row's maximum
    rows = attracted.sum(1) - len(keys) * (repelled + 1e-12).log()
    kept = rows[(repelled > 0) & (rows < 0)]
    count = total((attracted != 0).sum())
    rows = total(torch.tensor(float(len(queries)), device=queries.device))
    return -kept.sum() * (count > 0) / count.clamp_min(1) / rows, tags
