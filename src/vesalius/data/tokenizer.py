"""A small cased word-piece tokenizer that keeps chosen words whole."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(
    texts: Iterable[str], *, whole_words: Sequence[str], vocab_size: int, max_length: int = 128
) -> "PreTrainedTokenizerFast":
    """Train word pieces on `texts` so that every one of `whole_words` is one token.

    The words take the place of the last learned pieces, so the vocabulary has exactly
    `vocab_size` entries when the texts are large enough. Case is kept.

    Source: WordPiece as in BERT (Devlin et al. 2019), by the `tokenizers` library.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers import trainers as tokenizer_trainers
    from transformers import PreTrainedTokenizerFast

    def build(vocab: dict[str, int] | None) -> Tokenizer:
        model = models.WordPiece(vocab=vocab or {}, unk_token="[UNK]", max_input_chars_per_word=60)
        built = Tokenizer(model)
        built.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        built.decoder = decoders.WordPiece(prefix="##")
        return built

    learner = build(None)
    words = sorted(set(whole_words))
    trainer = tokenizer_trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        limit_alphabet=150,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    pieces = [piece for piece, _ in learned if piece not in words]
    kept = pieces[: vocab_size - len(words)] + words
    tokenizer = build({piece: number for number, piece in enumerate(kept)})
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", kept.index("[CLS]")), ("[SEP]", kept.index("[SEP]"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
