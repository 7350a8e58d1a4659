"""A tiny random BERT with a word-piece tokenizer, saved as users save theirs."""

from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = (
    "The capital of France is Paris London Rome Japan Tokyo the continent country language "
    "official where has its called government sits in city a b c . , ? !"
).split()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PROMPTS = (
    "The capital of France is [MASK].",
    "[MASK] is the capital of France.",
    "The capital city of France is called [MASK].",
)


def tokenizer() -> hf.PreTrainedTokenizerFast:
    pieces = [*SPECIAL, *dict.fromkeys(WORDS), *"PLdni", *(f"##{letter}" for letter in "aeinoru")]
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


def masked_lm() -> torch.nn.Module:
    config = hf.BertConfig(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        pad_token_id=0,
    )
    return seeded(hf.BertForMaskedLM(config))


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
