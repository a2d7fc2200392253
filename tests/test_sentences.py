"""Sentences for text enrichment: the file's checks, the built-in ones, the bank that is made of them."""

import hashlib
import warnings

import pytest
import torch
import torch.nn.functional as F

from vdalib.clip.enrichment import AttributeBank
from vdalib.clip.sentences import class_statements, read_sentences, texts_of, whole_text
from vdalib.clip.text import attribute_clusters, enriched_text
from vdalib.config import ClipConfig, Config
from vdalib.data.coco import COCO_CLASSES
from vdalib.data.partworld import CLASSES, COLOURS, KIND_NAMES, KINDS, PARTS
from vdalib.data.voc import VOC_CLASSES

NAMES = ("dog", "bus", "dining table")


def file(tmp_path, *lines, header="class,sentence,kind"):
    path = tmp_path / "said.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def refused(path, message, names=NAMES):
    with pytest.raises(ValueError, match=message) as error:
        read_sentences(path, names)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_as_a_spreadsheet_writes_it_is_read(tmp_path):
    path = tmp_path / "said.csv"
    path.write_bytes(
        b'\xef\xbb\xbf# dogs and others\r\nsentence,class\r\n\r\nIt has a wet black nose,dog\r\n"It is long, and red.",bus\r\n'
        b" # a remark, with commas,\r\n,\r\nit has  four legs . ,dining_table\r\n"
    )
    found = read_sentences(path, NAMES)
    assert [(one.class_index, one.text, one.line) for one in found] == [
        (0, "it has a wet black nose.", 4),
        (1, "it is long, and red.", 5),
        (2, "it has four legs.", 8),
    ]


def test_what_is_embedded():
    prompt = "a clean origami {}."
    whole = whole_text("it has legs.", "dining_table", prompt, "{name_prompt} {sentence}")
    assert whole == "a clean origami dining table. it has legs."
    assert whole_text("a red bus.", "bus", prompt, "{sentence}") == "a red bus."


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["dgo,it has a nose,part"], "line 2: unknown class 'dgo'; the nearest: dog"),
        (["xyz,it has a nose,part"], "line 2: unknown class 'xyz'; the nearest: dog, bus, dining table"),
        (["dog,it has a nose,part"], "no sentence for bus, dining table; write about 20"),
        (
            ["dog,a,", "bus,It is red.,", "# -", "bus,it is  red,colour"],
            "line 5: 'it is  ?red' stands in line 3 for 'bus' already",
        ),
        (["dog, ,part"], "line 2: the sentence is empty; write one"),
        (["dog,.,part"], "line 2: the sentence is empty"),
        (["dog,it is black, white and tan,colour"], "line 2: found 4 fields, expected 3 .*in quotes"),
        (["dog,it is black"], "line 2: found 2 fields, expected 3"),
        (['dog,"it is black,colour'], "line 2: .*check the quotes"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_the_cure(tmp_path, lines, message):
    refused(file(tmp_path, *lines), message)


@pytest.mark.parametrize("header", ["class;sentence", "class,text", "class,sentence,colour", "dog,it has a nose", ""])
def test_other_columns_are_refused(tmp_path, header):
    refused(file(tmp_path, header=header), "columns: found .*, expected class,sentence and perhaps kind, separated by commas")


def test_a_missing_file_and_another_encoding_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="clip.sentences: .*gone.csv: no such file; write one"):
        read_sentences(tmp_path / "gone.csv", NAMES)
    path = tmp_path / "said.csv"
    path.write_bytes("class,sentence\ndog,it has a café\n".encode("latin-1"))
    refused(path, "not UTF-8 .*save it as CSV UTF-8")


def test_few_sentences_and_other_classes_names_are_warned_of(tmp_path):
    many = [f"{name},it has {n} spots," for name in ("dog", "bus") for n in range(4)]
    with pytest.warns(UserWarning, match=r"dining table \(1\): less than half the median of 4 sentences"):
        read_sentences(file(tmp_path, *many, "dining table,it has legs,"), NAMES)
    lines = ["dog,it chases buses,", "dog,it runs after a bus,", "bus,it has a dogleg,", "dining table,it stands in the middle,"]
    with pytest.warns(UserWarning, match="1 sentences name another class, first line 3: 'it runs after a bus.' of 'dog'"):
        read_sentences(file(tmp_path, *lines), NAMES)


def config(tmp_path=None, *lines, data="folder", **clip):
    if lines:
        clip["sentences"] = str(file(tmp_path, *lines, header="class,sentence"))
    return Config.from_dict({"data": {"name": data, "root": "."}, "clip": clip})


def test_texts_of_a_file_and_their_fingerprint(tmp_path):
    given = config(tmp_path, "dog,It barks", "bus,it is red.", "dining table,it has legs")
    texts = texts_of(given, NAMES)
    assert texts.texts[0] == "a clean origami dog. it barks." and texts.classes == (0, 1, 2)
    assert texts.places[1].endswith("said.csv line 3")
    assert texts.sha256 == hashlib.sha256((tmp_path / "said.csv").read_bytes()).hexdigest()
    assert texts_of(config(), NAMES) is None


def test_too_few_sentences_and_too_long_ones_are_refused(tmp_path):
    from open_clip.tokenizer import SimpleTokenizer

    texts = texts_of(config(tmp_path, "dog,it barks", "bus,it is red", "dining table,it has " + "long " * 66 + "legs"), NAMES)
    texts.require_enough(3)
    with pytest.raises(ValueError, match="said.csv: found 3 sentences, expected at least clip.attributes = 4"):
        texts.require_enough(4)
    with pytest.raises(ValueError, match=r"said.csv line 4: .* has 78 tokens, the text tower takes 77; shorten"):
        texts.require_fitting(SimpleTokenizer())  # 2 + 7 of the prompt, 69 of the sentence
    again = texts_of(config(tmp_path, "dog,it barks", "bus,it is red", "dining table,it has " + "long " * 65 + "legs"), NAMES)
    again.require_fitting(SimpleTokenizer())


def test_vocs_own_sentences_pass_every_check_and_name_no_background():
    from open_clip.tokenizer import SimpleTokenizer

    voc = Config.from_preset("voc12", {"clip.sentences": "builtin"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = texts_of(voc, VOC_CLASSES)
    assert [texts.classes.count(k) for k in range(20)] == [20] * 20 and len(set(texts.texts)) == 400
    texts.require_enough(voc.clip.attributes)
    texts.require_fitting(SimpleTokenizer())
    sayings = [text.split(". ", 1)[1].rstrip(".") for text in texts.texts]
    assert len(set(sayings)) == 400
    words = {word for said in sayings for word in said.replace(",", "").split()}
    assert not words & {form for word in voc.clip.background_prompts for form in (word, f"{word}s")}


def test_partworlds_statements_follow_from_its_tables():
    by_hand = class_statements(("dog", "bus"), (("dog", "tail"), ("bus", "door"), ("dog", "ear")), ("red", "blue"))
    assert [words for name, words in by_hand if name == "dog"] == ["dog", "red dog", "blue dog", "dog tail", "dog ear"]
    assert [words for name, words in by_hand if name == "bus"] == ["bus", "red bus", "blue bus", "bus door"]
    texts = texts_of(config(data="partworld", sentences="builtin"), CLASSES)
    assert len(texts.texts) == len(set(texts.texts)) == len(CLASSES) * (1 + len(COLOURS)) + len(PARTS)
    assert texts.texts[0] == f"a clean origami {CLASSES[0]}."
    assert f"a clean origami red {CLASSES[0]}." in texts.texts
    kinds = texts_of(config(data="partworld", sentences="builtin"), KIND_NAMES)
    parts = [(name, part) for name, kind in KINDS.items() for part in kind.parts]
    assert len(kinds.texts) == len(set(kinds.texts)) == len(KIND_NAMES) * (1 + len(COLOURS)) + len(parts)
    assert {"a clean origami red crow.", "a clean origami crow wing."} <= set(kinds.texts)
    assert ("canoe", "oar") in parts and ("canoe", "sail") not in parts, "kinds lack parts of their class"
    assert kinds.classes[kinds.texts.index("a clean origami crow wing.")] == KIND_NAMES.index("crow")


def test_data_sets_without_builtin_sentences_say_so():
    with pytest.raises(ValueError, match="clip.sentences: builtin ones are there for voc12 and partworld, found .* 'coco14'"):
        texts_of(config(data="coco14", sentences="builtin"), COCO_CLASSES)


class Words:
    """A CLIP whose text tower gives every text a random vector."""

    def __init__(self, dim=8):
        self.dim, self.tokenizer = dim, self

    context_length = 77

    def encode(self, text):
        return text.split()

    def encode_text(self, texts):
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [torch.randn(self.dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(rows), dim=1)


LINES = [f"{name},it has {n} spots" for name in NAMES for n in range(4)]


def test_the_bank_keeps_centres_members_seed_and_fingerprint(tmp_path):
    given = config(tmp_path, *LINES, attributes=5)
    bank, texts = AttributeBank.from_config(given, NAMES, Words()), texts_of(given, NAMES)
    embedded = Words().encode_text(texts.texts)
    torch.testing.assert_close(bank.centres, attribute_clusters(embedded, 5)[0])
    assert bank.centres.norm(dim=1).min() < 0.99  # means of unit vectors, not normalised
    nearest = torch.cdist(embedded, bank.centres).argmin(1)
    for k in range(3):
        for a in range(5):
            assert bank.members[k, a] == sum(int(n) == a for n, c in zip(nearest, texts.classes) if c == k)
    assert bytes(bank.fingerprint.tolist()).hex() == texts.sha256
    assert {name for name, _ in bank.named_buffers()} == {"centres", "members", "seed", "fingerprint"}
    settings = ClipConfig(attribute_share=0.6, enrichment_weight=0.5, enrichment_temperature=0.1)
    prototypes = embedded[:3]
    assert torch.equal(bank.enriched(prototypes, settings), enriched_text(prototypes, bank.centres, 0.6, 0.5, 0.1))


def test_a_changed_file_is_refused_where_a_state_is_loaded(tmp_path):
    saved = AttributeBank.from_config(config(tmp_path, *LINES, attributes=5), NAMES, Words()).state_dict()
    AttributeBank.from_config(config(tmp_path, *LINES, attributes=5), NAMES, Words()).load_state_dict(saved)
    changed = AttributeBank.from_config(config(tmp_path, *LINES, "dog,it has a nose", attributes=5), NAMES, Words())
    with pytest.raises(ValueError, match="clip.sentences: .*said.csv: SHA-256 .*, the run began with .*restore the file"):
        changed.load_state_dict(saved)
    assert AttributeBank.from_config(config(), NAMES, Words()) is None


def test_k_means_takes_the_best_of_ten_starts_and_gives_the_same_bank_again():
    sentences = F.normalize(torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    bank, members = attribute_clusters(sentences, 12)
    for a in range(12):
        torch.testing.assert_close(bank[a], sentences[members == a].mean(0), atol=1e-6, rtol=0)
    assert torch.equal(attribute_clusters(sentences, 12)[0], bank)
    from sklearn.cluster import KMeans

    spread = sum(((sentences[members == a] - bank[a]) ** 2).sum() for a in range(12)).item()
    alone = [KMeans(12, n_init=1, random_state=seed).fit(sentences.double().numpy()).inertia_ for seed in range(10)]
    assert spread < sorted(alone)[5]


def test_enriched_text_by_hand():
    """Two classes, two attributes: 0.5 (1 + e^t ...) worked out with weights 1 / (1 + exp(-1 / t))."""
    prototypes, bank = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    for temperature, weight in ((1.0, 1.0), (0.25, 2.0)):
        near = 1 / (1 + torch.tensor(-1 / temperature, dtype=torch.float64).exp())  # softmax of (1, 0) / t
        expected = F.normalize(torch.tensor([1 + weight * near, weight * (1 - near)]), dim=0)
        found = enriched_text(prototypes, bank, share=1.0, weight=weight, temperature=temperature)
        torch.testing.assert_close(found, torch.stack([expected, expected.flip(0)]))
    alone = enriched_text(prototypes, bank, share=0.5)  # each class keeps the attribute that it is
    torch.testing.assert_close(alone, prototypes)


@pytest.mark.parametrize(("attributes", "left_out"), [(112, 11), (224, 22), (20, 2), (41, 4)])
def test_a_tenth_of_the_attributes_is_left_out(attributes, left_out):
    generator = torch.Generator().manual_seed(0)
    prototypes = F.normalize(torch.randn(3, 6, generator=generator), dim=1)
    bank = torch.randn(attributes, 6, generator=generator)
    for t, found in zip(prototypes, enriched_text(prototypes, bank)):
        similarity = bank @ t
        dropped = torch.full_like(similarity, 0.0)
        dropped[similarity.argsort()[:left_out]] = -torch.inf
        expected = t + (similarity + dropped).softmax(0) @ bank
        torch.testing.assert_close(found, expected / expected.norm())
