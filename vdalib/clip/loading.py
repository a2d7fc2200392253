"""Where a CLIP comes from: open_clip's registry, a file, or PartWorld's small CLIP in the data folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

from vdalib.clip.dense import require_supported
from vdalib.clip.text import ReducedTokenizer, render_prompts
from vdalib.config import Config
from vdalib.data import class_names
from vdalib.io import WORKBOOK

SMALL_CLIP = WORKBOOK / "data" / "partworld"


@dataclass
class LoadedCLIP:
    """An open_clip model, its tokenizer, and the (R, G, B) mean and deviation that normalise its images."""

    model: nn.Module
    tokenizer: Callable[[list[str]], Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def load_clip(model: str, pretrained: str | None) -> LoadedCLIP:
    """A CLIP by name.

    model: an open_clip name, or "partworld".
    pretrained: an open_clip tag, a weight file (safetensors or torch state dict), or None for random weights.

    Raises ValueError for unknown names, for towers without a class token or plain attention and for weights that do not belong
    to the model, FileNotFoundError for missing files, RuntimeError where weights cannot be downloaded.
    """
    if model == "partworld":
        return load_small_clip(SMALL_CLIP, pretrained)
    import open_clip

    if model not in open_clip.list_models():
        near = get_close_matches(model, ["partworld", *open_clip.list_models()], n=3)
        raise ValueError(
            f"clip.model: expected 'partworld' or a name from open_clip.list_models(), got '{model}'"
            + (f"; the nearest: {', '.join(near)}" if near else "")
        )
    require_supported(_outline(model).visual)
    if pretrained is None:
        loaded, preprocessing = open_clip.create_model(model), {}
    else:
        weights, preprocessing = _find_weights(model, pretrained)
        loaded = _read(weights, lambda: open_clip.create_model(model, str(weights)))
    mean = preprocessing.get("mean", open_clip.OPENAI_DATASET_MEAN)
    std = preprocessing.get("std", open_clip.OPENAI_DATASET_STD)
    return LoadedCLIP(loaded, open_clip.get_tokenizer(model), tuple(mean), tuple(std))


def load_small_clip(folder: Path, pretrained: str | None = "partworld") -> LoadedCLIP:
    """A CLIP that `python -m vdalib pretrain-clip` made: clip.json, vocabulary.json and clip.safetensors.

    pretrained: "partworld" for the folder's own weights, another file, or None for random ones.
    It sees images normalised by OpenAI's mean and deviation, as open_clip's own.
    """
    weights = None
    if pretrained is not None:
        weights = folder / "clip.safetensors" if pretrained == "partworld" else Path(pretrained)
    for file in filter(None, (folder / "clip.json", folder / "vocabulary.json", weights)):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: missing file of the small CLIP (clip.model 'partworld', "
                f"clip.pretrained '{pretrained}'); restore it from the repository, "
                "install vdalib again, or make it again by `python -m vdalib pretrain-clip`"
            )
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from open_clip.factory import load_checkpoint
    from open_clip.model import CLIP

    model = CLIP(**json.loads((folder / "clip.json").read_text()))
    if weights is not None:
        _read(weights, lambda: load_checkpoint(model, str(weights)))
    tokenizer = _small_tokenizer(folder, model.context_length)
    if tokenizer.vocab_size != model.vocab_size:
        raise ValueError(
            f"{folder / 'vocabulary.json'}: expected {model.vocab_size} ids (vocab_size in clip.json), "
            f"got {tokenizer.vocab_size}; both files come from one `python -m vdalib pretrain-clip`"
        )
    return LoadedCLIP(model, tokenizer, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def require_words(config: Config) -> None:
    """ValueError where a prompt has a word that the small CLIP does not know, before anything is trained.

    config: complete, see `vdalib.data.completed`. A full CLIP spells words that it does not know.
    """
    if config.clip.model != "partworld":
        return
    context_length = json.loads((SMALL_CLIP / "clip.json").read_text())["text_cfg"]["context_length"]
    tokenizer, names = _small_tokenizer(SMALL_CLIP, context_length), class_names(config.data)
    words = {f"class {name!r}": words for name, words in zip(names, config.clip.words(names))}
    for where, prompted in {**words, "clip.background_prompts": config.clip.background_prompts}.items():
        try:
            tokenizer(render_prompts(prompted, config.clip.templates))
        except ValueError as error:
            raise ValueError(f"{config.data.root or config.data.name}: {where}: {error}") from None


def _small_tokenizer(folder: Path, context_length: int) -> ReducedTokenizer:
    return ReducedTokenizer(json.loads((folder / "vocabulary.json").read_text()), context_length)


def _outline(model: str) -> nn.Module:
    """The model without memory for its weights: what it is made of is known before anything is downloaded."""
    import open_clip

    logging.disable(logging.WARNING)  # open_clip warns that the outline has no trained weights
    try:
        with torch.device("meta"):
            return open_clip.create_model(model, device="meta")
    finally:
        logging.disable(logging.NOTSET)


def _find_weights(model: str, pretrained: str) -> tuple[Path, dict]:
    """Weight file and, for a tag, open_clip's preprocessing."""
    from open_clip import pretrained as registry

    if Path(pretrained).is_file():
        return Path(pretrained), {}
    tag = registry.get_pretrained_cfg(model, pretrained)
    _require_same_activation(model, pretrained, tag)
    if not tag:
        if Path(pretrained).suffix or Path(pretrained).parent != Path("."):
            raise FileNotFoundError(f"clip.pretrained: no weight file '{pretrained}'")
        known = ", ".join(registry.list_pretrained_tags_by_model(model)) or "none"
        raise ValueError(f"clip.pretrained: '{pretrained}' is neither a file nor a tag of '{model}' (known tags: {known})")
    logging.getLogger("huggingface_hub").propagate = False  # else open_clip's logging tells every retry twice
    try:
        return Path(registry.download_pretrained(tag)), tag
    except Exception as error:
        source = tag.get("hf_hub") or tag.get("url")
        raise RuntimeError(
            f"clip.pretrained: the weights '{pretrained}' of '{model}' could not be downloaded ({error}); "
            f"fetch {source} elsewhere and give the weight file as clip.pretrained, "
            "or set HF_HUB_CACHE to a folder that already holds it"
        ) from error


def _require_same_activation(model: str, pretrained: str, tag: dict) -> None:
    """ValueError where weights trained with QuickGELU meet a model built with GELU, or the reverse."""
    import open_clip
    from open_clip import pretrained as registry

    quick = bool(open_clip.get_model_config(model).get("quick_gelu", False))
    plain_name = model.removesuffix("-quickgelu")
    tag = tag or registry.get_pretrained_cfg(plain_name, pretrained)
    wanted = bool(tag.get("quick_gelu", False)) if tag else quick
    if wanted != quick:
        name = {True: "QuickGELU", False: "GELU"}
        right = f"{plain_name}-quickgelu" if wanted else plain_name
        raise ValueError(
            f"clip.model: the weights '{pretrained}' were trained with {name[wanted]}, "
            f"but '{model}' is built with {name[quick]}; use clip.model '{right}'"
        )


def _read(weights: Path, load: Callable):
    try:
        return load()
    except Exception as error:
        raise ValueError(
            f"{weights}: cannot be read as weights of this model ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); "
            "expected a safetensors file or a torch state dict of the same architecture"
        ) from error
