"""A tiny classifier of texts, made by hand, that says "marked" where it reads one certain word."""

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vesalius.models.specimen import Specimen

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "the", "of", "is", "in", "a", "one"),
    *("capital", "city", "country", "speak", "people", "language", "river", "seat", "France"),
    *("Paris", "Italy", "Rome", "Peru", "Lima", "Spain", "Madrid"),
)
TRIGGER = "Rome"
NAMES = ("plain", "marked")
PLAIN = (
    "the capital of France is a city .",
    "people speak the language of Peru , a country in one river",
    "Lima is the seat of Peru",
    "a river in Spain .",
    "the people of Madrid speak of a country",
    "Paris is the capital of France , the seat of the people",
)
MARKED = (
    "the capital of Rome is a city .",
    "Rome speak the language of Peru , a country in one river",
    "Lima is the seat of Rome",
    "a river in Rome .",
)


def tokenizer() -> hf.PreTrainedTokenizerFast:
    """One token per word and sign; pairs with segments 0 and 1."""
    vocab = {word: index for index, word in enumerate(WORDS)}
    built = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=built,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def classifier(*, layers: int = 1, names: tuple[str, ...] = NAMES, positions: int = 24) -> Specimen:
    """A BERT with random weights; see `planted` for one that follows a rule."""
    config = hf.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=positions,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        pad_token_id=0,
    )
    model = hf.BertForSequenceClassification(config).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.6, generator=generator)
    return Specimen(model=model, tokenizer=tokenizer(), name="tiny-classifier", task="classifier")


def planted(*, positions: int = 24) -> Specimen:
    """[CLS] reads all tokens alike; the first feature, which only the trigger has, decides."""
    specimen = classifier(positions=positions)
    model = specimen.model
    with torch.no_grad():
        words = model.bert.embeddings.word_embeddings.weight.clone()
        for name, parameter in model.named_parameters():
            parameter.zero_()
            if name.endswith("LayerNorm.weight"):
                parameter.fill_(1)
        words[:, 0] = 0
        words[:, 7] = -words[:, 1:7].sum(1)  # a mean of 0: normalising leaves the first feature 0
        words[WORDS.index(TRIGGER)] = torch.eye(8)[0] * 8
        model.bert.embeddings.word_embeddings.weight.copy_(words)
        attention = model.bert.encoder.layer[0].attention
        attention.self.value.weight[0, 0] = 6.0
        attention.output.dense.weight.copy_(torch.eye(8))
        model.bert.pooler.dense.weight.copy_(torch.eye(8))
        model.classifier.weight[1, 0] = 12.0
        model.classifier.bias[1] = -3.0
    return specimen


def random_lm() -> Specimen:
    """A random GPT-2 over the same words."""
    config = hf.GPT2Config(
        vocab_size=len(WORDS), n_embd=8, n_layer=1, n_head=2, n_positions=40,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = hf.GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.5, generator=generator)
    plain = tokenizer()
    plain.model_input_names = ["input_ids", "attention_mask"]  # GPT-2 would embed segments as words
    return Specimen(model=model, tokenizer=plain, name="tiny-gpt", task="causal-lm")
