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
