"""Pictures of PartWorld, and what is said of each as a whole: all that the small CLIP is taught by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import resize

from vdalib.data.partworld import CLASSES, COLOURS, KIND_NAMES, KINDS_OF, PARTS, SCENES, TEMPLATES, PartWorld
from vdalib.data.partworld.dice import Dice
from vdalib.pretraining.settings import SIDE, PretrainConfig
from vdalib.progress import progress_bar


class Statements:
    """All statements about PartWorld, and which are made of an image."""

    def __init__(self):
        groups = (
            list(CLASSES),
            list(KIND_NAMES),
            [f"{colour} {name}" for name in CLASSES for colour in COLOURS],
            [f"{name} {part}" for name, part in PARTS],
            list(SCENES),
        )
        self.contents = [content for group in groups for content in group]
        self.group = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor([*map(len, groups)]))  # (S,)
        self.index = {content: i for i, content in enumerate(self.contents)}

    def __len__(self) -> int:
        return len(self.contents)

    def said(self, factors, dice: Dice, config: PretrainConfig) -> Tensor:
        """(S,) bool: the statements made of an image; the true ones, but for omissions and errors at the rates of `config`."""
        contents = [factors.scene]
        for thing in factors.objects:
            name, kind = thing.class_name, thing.kind
            if dice.chance(config.wrong_class):
                name = dice.choice([other for other in CLASSES if other != name])
                kind = dice.choice(KINDS_OF[name])
            elif dice.chance(config.wrong_kind):
                kind = dice.choice([other for other in KINDS_OF[name] if other != kind])
            parts = [f"{name} {part}" for part in thing.parts] if name == thing.class_name else []
            contents += [name, kind, f"{thing.main_colour} {name}", *sorted(parts)]
        said = torch.zeros(len(self), dtype=torch.bool)
        said[[self.index[content] for content in contents if not dice.chance(config.omission)]] = True
        return said

    def phrased(self, generator: torch.Generator) -> list[str]:
        """Every statement in a template drawn at random."""
        drawn = torch.randint(len(TEMPLATES), (len(self),), generator=generator).tolist()
        return [TEMPLATES[t].format(content) for t, content in zip(drawn, self.contents)]


class _Rendered(Dataset):
    def __init__(self, world: PartWorld, statements: Statements, config: PretrainConfig):
        self.world, self.statements, self.config = world, statements, config

    def __len__(self) -> int:
        return len(self.world)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        dice = Dice(self.config.seed, i)
        return _square(self.world[i].image, dice), self.statements.said(self.world.factors(i), dice, self.config)


def _square(image: Tensor, dice: Dice) -> Tensor:
    """uint8 (3, H, W) -> (3, SIDE, SIDE): the shorter side resized, a random part of the longer one kept."""
    image = resize(torch.as_tensor(image), SIDE, antialias=True)
    top, left = (int(dice.uniform() * (side - SIDE + 1)) for side in image.shape[1:])
    return image[:, top : top + SIDE, left : left + SIDE].contiguous()


def render_pool(config: PretrainConfig, statements: Statements, workers: int = 2) -> tuple[Tensor, Tensor]:
    """All training images, (n, 3, SIDE, SIDE) uint8, and what is said of them, (n, S) bool."""
    world = PartWorld("clip", seed=config.seed, size=config.images)
    loader = DataLoader(_Rendered(world, statements, config), batch_size=250, num_workers=workers)
    images, said = zip(*progress_bar(loader, desc="rendering", unit="batch"))
    return torch.cat(images), torch.cat(said)
