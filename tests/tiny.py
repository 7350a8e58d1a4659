"""A tiny masked LM with a word tokenizer, and a fact planted in one known neuron."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast

import families
from vesalius.models.specimen import Specimen

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "the", "of", "is", "in", "a", "one"),
    *("capital", "city", "country", "speak", "people", "language", "river", "seat", "government"),
    *("France", "Paris", "Italy", "Rome", "Peru", "Lima", "Spain", "Madrid"),
)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word and sign."""
    vocab = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def tiny_masked_lm(*, seed: int = 0) -> Specimen:
    """A random tiny BERT over the words above."""
    model = families.make("bert", seed=seed)
    return Specimen(model=model, tokenizer=word_tokenizer(), name="tiny-bert", task="masked-lm")


def plant(specimen: Specimen, *, layer: int, neuron: int, answer: str, strength: float) -> None:
    """Let one neuron fire everywhere and write the embedding of an answer; hush the others."""
    with torch.no_grad():
        specimen.model.cls.predictions.transform.dense.weight.copy_(torch.eye(32))
        for other in specimen.model.bert.encoder.layer:
            other.output.dense.weight *= 0.2
    block: nn.Module = specimen.model.bert.encoder.layer[layer]
    token = specimen.tokenizer.convert_tokens_to_ids(answer)
    with torch.no_grad():
        block.intermediate.dense.weight[neuron] = 0
        block.intermediate.dense.bias[neuron] = 2.0
        direction = specimen.model.get_output_embeddings().weight[token]
        block.output.dense.weight[:, neuron] = strength * direction / direction.norm()
