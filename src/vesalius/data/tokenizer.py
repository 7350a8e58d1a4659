"""Small tokenizers: word pieces that keep chosen words whole, and byte-level BPE."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
END_OF_TEXT = "<|endoftext|>"  # before and after every document
PADDING = "<|pad|>"


def train_tokenizer(
    texts: Iterable[str],
    *,
    whole_words: Sequence[str] = (),
    vocab_size: int,
    max_length: int = 128,
    lowercase: bool = False,
    num_letters: int = 150,
) -> "PreTrainedTokenizerFast":
    """Train word pieces on `texts` so that every one of `whole_words` is one token.

    The words take the place of the last learned pieces, so the vocabulary has exactly
    `vocab_size` entries when the texts are large enough. Case is kept, or, with `lowercase`,
    letters are made small and accents left out, as in BERT's uncased vocabulary. Signs beyond
    the `num_letters` most frequent ones are unknown.

    Raises:
        VesaliusError: `vocab_size` has no room for the special tokens and the words.

    Source: WordPiece as in BERT (Devlin et al. 2019), by the `tokenizers` library.
    """
    from tokenizers import processors
    from tokenizers import trainers as tokenizer_trainers
    from transformers import PreTrainedTokenizerFast

    words = sorted(set(whole_words))
    fewest = len(SPECIAL_TOKENS) + len(words) + 1
    if vocab_size < fewest:
        raise VesaliusError(
            given=f"vocab_size={vocab_size}",
            expected=f"at least {fewest}: the special tokens, the whole words and a letter",
            fix="use vocab_size=8000",
        )
    learner = _word_pieces({}, lowercase=lowercase)
    trainer = tokenizer_trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        limit_alphabet=num_letters,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    pieces = [piece for piece, _ in learned if piece not in words]
    kept = pieces[: vocab_size - len(words)] + words
    tokenizer = _word_pieces({piece: i for i, piece in enumerate(kept)}, lowercase=lowercase)
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


def _word_pieces(vocab: dict[str, int], *, lowercase: bool) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=60)
    built = Tokenizer(model)
    built.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece(prefix="##")
    return built


def train_bpe_tokenizer(
    texts: Iterable[str], *, vocab_size: int, max_length: int = 512
) -> "PreTrainedTokenizerFast":
    """Train byte-level BPE on `texts`; every text gets the start token, and any can be written.

    Token 0 stands before and after a document, token 1 is padding (on the left: causal models
    continue at the end).

    Raises:
        VesaliusError: `vocab_size` has no room for the 256 bytes and the two special tokens.

    Source: GPT-2 (Radford et al. 2019), by the `tokenizers` library.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers import trainers as tokenizer_trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size < 258:
        raise VesaliusError(
            given=f"vocab_size={vocab_size}",
            expected="at least 258: 256 bytes and two special tokens",
            fix="use vocab_size=4096",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = tokenizer_trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    start = tokenizer.token_to_id(END_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A $B",
        special_tokens=[(END_OF_TEXT, start)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
