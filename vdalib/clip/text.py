"""Prompts, and the reduced vocabulary of the small CLIP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


def render_prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every name in every template, names outermost; ValueError unless each template holds one '{}'."""
    if not templates:
        raise ValueError("clip.templates: expected at least one template such as 'a clean origami {}.', got none")
    for template in templates:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise ValueError(f"clip.templates: expected '{{}}' exactly once, where the class name goes; got '{template}'")
    return [template.format(name) for name in names for template in templates]


def attribute_clusters(sentences: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """ExCEL's bank of textual attributes [P], and into which of them each sentence falls, (n,) long.

    The bank, (count, D), are k-means centres of sentence embeddings (n, D), n >= count: means, not normalised. Ten starts, double
    precision, one thread: the same sentences give the same bank.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = KMeans(count, n_init=10, random_state=seed).fit(sentences.double().cpu().numpy())
    members = torch.from_numpy(found.labels_).long().to(sentences.device)
    return torch.from_numpy(found.cluster_centers_).to(sentences), members


def enriched_text(prototypes: Tensor, bank: Tensor, share: float = 0.9, weight: float = 1.0, temperature: float = 1.0) -> Tensor:
    """T_k = normalise(t_k + weight sum_j softmax_j(t_k . a_j / temperature) a_j), (K, D): ExCEL's text enrichment [P] annex.

    prototypes: t_k (K, D), unit. bank: a_j (A, D) of `attribute_clusters`. share: of the attributes, those most like t_k; the
    other int((1 - share) A) a class does without. temperature: 1 is [P], where cosines make nearly equal weights; less is more
    selective [R] ours.
    """
    similarity = prototypes @ bank.T  # (K, A)
    left_out = int((1 - share) * len(bank) + 1e-9)  # 1 - 0.9 is a little less than a tenth
    kept = similarity.topk(len(bank) - left_out, dim=1)
    attributes = torch.einsum("ka,kad->kd", (kept.values / temperature).softmax(1), bank[kept.indices])
    return F.normalize(prototypes + weight * attributes, dim=1)


def reduced_vocabulary(texts: Iterable[str]) -> list[int]:
    """Ids of open_clip's SimpleTokenizer that `texts` need, ascending, with padding (0), start and end."""
    bpe = _bpe()
    kept = {0, *bpe.all_special_ids}
    for text in texts:
        kept.update(bpe.encode(text))
    return sorted(kept)


class ReducedTokenizer:
    """open_clip's SimpleTokenizer with only `kept_ids` (of `reduced_vocabulary`), renumbered in their order.

    The order keeps padding at 0 and end of text at the largest id, by which CLIP's text tower finds the end.

    tokenizer(texts): str or list of n -> (n, context_length) long, zero-padded. Raises ValueError for a word
    outside the vocabulary and for a text that does not fit: cut short, a prompt would lose its class name.
    """

    def __init__(self, kept_ids: Sequence[int], context_length: int):
        special = {0, *_bpe().all_special_ids}
        if list(kept_ids) != sorted(set(kept_ids)) or not special <= set(kept_ids):
            raise ValueError(
                f"kept_ids: expected ascending, distinct ids that include {sorted(special)}; make them by reduced_vocabulary"
            )
        self.context_length = context_length
        self.vocab_size = len(kept_ids)
        self._new_id = {old: new for new, old in enumerate(kept_ids)}
        self.sot_token_id, self.eot_token_id = (self._new_id[i] for i in _bpe().all_special_ids)

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(tokens, texts):
            ids = [self.sot_token_id, *self.encode(text), self.eot_token_id]
            if len(ids) > self.context_length:
                raise ValueError(f"prompt '{text}': expected at most {self.context_length} tokens, got {len(ids)}; shorten it")
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def encode(self, text: str) -> list[int]:
        """The text's ids, without start and end."""
        bpe, ids = _bpe(), []
        for word in bpe.pat.findall(bpe.clean_fn(text)):
            pieces = _word_ids(word)
            if not all(piece in self._new_id for piece in pieces):
                raise ValueError(
                    f"prompt '{text}': the word '{word}' is outside the small CLIP's vocabulary; "
                    "use PartWorld's words (in names of classes and clip.background_prompts, such as sky, water, grass, road), "
                    "or a full CLIP (clip.model, clip.pretrained)"
                )
            ids += [self._new_id[piece] for piece in pieces]
        return ids


@cache
def _word_ids(word: str) -> tuple[int, ...]:
    return tuple(_bpe().encode(word))


@cache
def _bpe():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
