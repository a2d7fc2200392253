"""The bank of textual attributes that ExCEL distils from sentences, as a part of a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vdalib.clip.sentences import Texts, texts_of
from vdalib.clip.text import attribute_clusters, enriched_text
from vdalib.config import ClipConfig, Config

SEED = 0  # of k-means [P]: the bank is a function of the sentences alone, whatever seed a run has


class AttributeBank(nn.Module):
    """k-means centres of all classes' sentences; all of it are buffers, so that a checkpoint keeps it.

    centres: (A, D), not normalised.
    members: (K, A) long, how many sentences of a class fell to a centre: which attributes classes share.
    fingerprint: (32,) uint8, SHA-256 of the sentences; a state of other ones is refused with a ValueError.

    Source: [P] ExCEL.
    """

    def __init__(self, texts: Texts, embedded: Tensor, num_classes: int, attributes: int):
        super().__init__()
        self.source = texts.source
        centres, found = attribute_clusters(embedded, attributes, SEED)
        members = torch.zeros(num_classes, attributes, dtype=torch.long, device=embedded.device)
        classes = torch.tensor(texts.classes, device=embedded.device)
        members.index_put_((classes, found), torch.ones_like(found), accumulate=True)
        self.register_buffer("centres", centres)
        self.register_buffer("members", members)
        self.register_buffer("seed", torch.tensor(SEED, device=embedded.device))
        self.register_buffer(
            "fingerprint", torch.tensor([*bytes.fromhex(texts.sha256)], dtype=torch.uint8, device=embedded.device)
        )

    @classmethod
    def from_config(cls, config: Config, class_names: Sequence[str], clip) -> AttributeBank | None:
        """From `clip.sentences`, embedded by a FrozenCLIP; None without. Raises what `texts_of` raises, and ValueError for
        sentences too long for the text tower or fewer than `clip.attributes`."""
        texts = texts_of(config, class_names)
        if texts is None:
            return None
        texts.require_enough(config.clip.attributes)
        texts.require_fitting(clip.tokenizer)
        return cls(texts, clip.encode_text(texts.texts), len(class_names), config.clip.attributes)

    def enriched(self, prototypes: Tensor, config: ClipConfig) -> Tensor:
        """Prototypes (K, D) with the bank's attributes, (K, D) unit."""
        return enriched_text(
            prototypes, self.centres, config.attribute_share, config.enrichment_weight, config.enrichment_temperature
        )

    def _load_from_state_dict(self, state_dict, prefix, *arguments) -> None:
        saved = state_dict.get(prefix + "fingerprint")
        if saved is not None and not torch.equal(saved.cpu(), self.fingerprint.cpu()):
            there, found = (bytes(value.tolist()).hex()[:12] for value in (saved, self.fingerprint))
            raise ValueError(
                f"clip.sentences: {self.source}: SHA-256 {found}..., the run began with {there}...; "
                "restore the file, or use another run directory"
            )
        super()._load_from_state_dict(state_dict, prefix, *arguments)
