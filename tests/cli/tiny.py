"""Tiny random models with a word-piece tokenizer, saved as users save theirs; and a way to run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vesalius.cli.main import main

SENTENCE = (
    "The capital of France is Paris London Rome Japan Tokyo the continent country language "
    "official where has its called government sits in city a b c . , ? !"
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PROMPTS = (
    "The capital of France is [MASK].",
    "[MASK] is the capital of France.",
    "The capital city of France is called [MASK].",
)


def tokenizer() -> hf.PreTrainedTokenizerFast:
    pieces = [
        *SPECIAL,
        *dict.fromkeys(SENTENCE.split()),
        *"PLdni",
        *(f"##{letter}" for letter in "aeinoru"),
    ]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    built = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=built,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def seeded(model: torch.nn.Module) -> torch.nn.Module:
    """The same weights on every machine, large enough that some neurons matter."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.3, generator=generator)
    return model.eval()


def masked_lm(*, layers: int = 2) -> torch.nn.Module:
    """A BERT that leans towards one answer, so that it knows one fact."""
    config = hf.BertConfig(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        pad_token_id=0,
    )
    model = seeded(hf.BertForMaskedLM(config))
    paris = tokenizer().convert_tokens_to_ids("Paris")
    model.get_output_embeddings().bias.data[paris] = 6.0
    return model


def causal_lm() -> torch.nn.Module:
    config = hf.GPT2Config(
        vocab_size=len(tokenizer()),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=32,
        bos_token_id=2,
        eos_token_id=3,
    )
    return seeded(hf.GPT2LMHeadModel(config))


def classifier(*labels: str, num_texts: int | None = None) -> torch.nn.Module:
    """A BERT that sorts texts, or pairs of them when it says that it was fine-tuned on two."""
    config = hf.BertConfig(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    if num_texts is not None:
        config.vesalius_num_texts = num_texts
    return seeded(hf.BertForSequenceClassification(config))


def save(model: torch.nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str],
    as_users_call_it: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run a command line in this process, as its entry point does, without bars on a slow core."""
    monkeypatch.setattr("vesalius.cli.progress.PATIENCE_SECONDS", 600.0)

    def run_words(*words: object) -> Ran:
        capfd.readouterr()
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Ran(code=code, out=out, err=err)

    return run_words


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(masked_lm(), tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def gpt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(causal_lm(), tmp_path_factory.mktemp("models") / "tiny-gpt")


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = classifier("negative", "positive")
    return save(model, tmp_path_factory.mktemp("models") / "tiny-classifier")


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = classifier("no", "maybe", "yes", num_texts=2)
    return save(model, tmp_path_factory.mktemp("models") / "tiny-pairs")


@pytest.fixture(scope="session")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of the tiny vocabulary with labels, no text in two splits."""
    folder = tmp_path_factory.mktemp("data") / "opinions"
    folder.mkdir()
    words = ["Paris", "London", "Rome", "Tokyo", "has", "its", "city", "the", "a"]
    for split, number in (("train", 10), ("dev", 8), ("test", 9)):
        shift = {"train": 0, "dev": 3, "test": 5}[split]
        rows = [
            (" ".join(words[(i * j + shift) % 9] for j in range(2, 5 + i % 4)) + f" {split[0]}",
             "negative" if (i + shift) % 3 else "positive")
            for i in range(number)
        ]  # fmt: skip
        lines = ["text\tlabel", *("\t".join(row) for row in rows)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder
