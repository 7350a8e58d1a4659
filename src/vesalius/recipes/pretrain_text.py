"""What a pair is pretrained on: our own text, files, or token shards, with a tokenizer.

Source: this project; word pieces as in BERT (Devlin et al. 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.core.seeds import derive_seed
from vesalius.data.corpus import written_sentences
from vesalius.data.facts import load_facts
from vesalius.data.held_out import hold_out
from vesalius.data.packing import PackedBatches
from vesalius.data.prepare import prepare
from vesalius.data.replaced import ReplacedBatches
from vesalius.data.shards import AbstractDocuments, Documents, TokenShards, tokenizer_hash
from vesalius.data.sources import SourceOptions, find_sources, read_documents
from vesalius.data.tokenizer import train_tokenizer
from vesalius.models import zoo
from vesalius.models.electra import SpecialIds
from vesalius.models.tokenizers import load_tokenizer
from vesalius.recipes.pretrain_config import PretrainOptions

OWN_TEXT: Final = "facts"  # the name of the text that this project writes from its fact tables
TOKENIZER: Final = "mini-bert"
SHARDS: Final = "shards"  # the folder in a run where its text stands as token ids
_NEEDED: Final = ("pad", "mask", "cls", "sep")
_UNKNOWN: Final = "unknown to us; that of the texts named below applies"
_OWN_LICENCE: Final = "MIT, as the package; the facts are Wikidata's, CC0"


@final
@dataclass(frozen=True, kw_only=True)
class TextRequest:
    """Where text and tokenizer come from.

    ``text``: files, folders or names on the hub, as `vesalius data prepare` takes them; ``data``:
    a folder of token shards; neither: sentences that this project writes from its fact tables.
    ``train_tokenizer`` learns so many lower-cased word pieces from the texts, and ``tokenizer``
    (a bundled model, a folder, a name on the hub) is not asked then.

    Raises:
        VesaliusError: two sources, or a tokenizer to be learned from token ids.
    """

    text: tuple[str, ...] = ()
    data: str = ""
    tokenizer: str = TOKENIZER
    train_tokenizer: int = 0
    reading: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        if self.text and self.data:
            raise VesaliusError(
                given="text and data together",
                expected="files of text, or token shards that were made from them",
                fix="leave one out",
            )
        if self.data and self.train_tokenizer:
            raise VesaliusError(
                given="train_tokenizer with data",
                expected="texts to learn the tokenizer from",
                fix="give the texts, or the tokenizer that made the shards",
            )

    @property
    def name(self) -> str:
        """What is read, by the last parts of its paths."""
        return ", ".join(Path(name).name for name in self.text or (self.data or OWN_TEXT,))

    @property
    def tokenizer_name(self) -> str:
        """Which tokenizer is asked for, by the last part of its path."""
        learned = self.train_tokenizer
        return f"learned, {learned} pieces" if learned else Path(self.tokenizer).name

    @property
    def kind(self) -> str:
        """What is read: own text, text files, or token shards ("data")."""
        return "text" if self.text else "data" if self.data else "own"

    @property
    def licence(self) -> str:
        """The licence of the text, for the card."""
        return _UNKNOWN if self.text or self.data else _OWN_LICENCE


@final
@dataclass(frozen=True, kw_only=True)
class PretrainText:
    """Text as token ids: what is trained on, what is held out, and the tokenizer."""

    name: str
    licence: str
    tokenizer: Any
    tokenizer_sha256: str
    num_documents: int
    training: AbstractDocuments
    held_out: Documents

    @property
    def identity(self) -> dict[str, str]:
        """What pins tokenizer and text."""
        own = self.training.identity
        return {"tokenizer_sha256": self.tokenizer_sha256} | {
            name: own[name] for name in ("documents", "held_out")
        }


def open_text(
    request: TextRequest, *, tokenizer: Any, folder: Path, context_length: int
) -> PretrainText:
    """Open the text as token ids; shards that have to be made stand in `folder`/shards.

    Raises:
        VesaliusError: a source that cannot be read, or that another tokenizer encoded.
    """
    if request.text:
        prepare(request.text, tokenizer=tokenizer, out=folder / SHARDS, reading=request.reading)
    place = request.data or (folder / SHARDS if request.text else "")
    documents = open_documents(place, tokenizer=tokenizer)
    training, held_out = hold_out(documents, context_length=context_length)
    return PretrainText(
        name=request.name,
        licence=request.licence,
        tokenizer=tokenizer,
        tokenizer_sha256=tokenizer_hash(tokenizer),
        num_documents=len(documents),
        training=training,
        held_out=held_out,
    )


def open_documents(shards: str | Path, *, tokenizer: Any) -> AbstractDocuments:
    """Open token shards, or, where the name is empty, encode our own text.

    Raises:
        VesaliusError: there are no such shards, or another tokenizer made them.
    """
    if shards:
        return TokenShards(shards, tokenizer=tokenizer)
    return encode_texts(own_texts(), tokenizer=tokenizer)


def encode_texts(texts: Sequence[str], *, tokenizer: Any) -> Documents:
    """Encode texts, empty ones left out, in memory.

    Raises:
        VesaliusError: there is none.
    """
    full = [text for text in texts if text.strip()]
    encoded = tokenizer(full, return_attention_mask=False, verbose=False) if full else {}
    return Documents.from_lists(encoded.get("input_ids", []), tokenizer=tokenizer)


def own_texts() -> list[str]:
    """Return the sentences that this project writes from its fact tables."""
    return [example.text for example in written_sentences(load_facts())]


def open_tokenizer(name: str | Path) -> Any:
    """Open a fast tokenizer: a bundled model's, that of a folder, or one on the hub.

    Raises:
        VesaliusError: there is none, or it has no vocabulary.
    """
    bundled = str(name) in zoo.names() and not Path(name).is_dir()
    location = str(zoo.path(str(name))) if bundled else str(name)
    return load_tokenizer(location, told=f"tokenizer {str(name)!r}")


def special_ids(tokenizer: Any) -> SpecialIds:
    """Return the ids that a pair's configurations name."""
    return SpecialIds(*(getattr(tokenizer, f"{name}_token_id") for name in _NEEDED))


def training_batches(
    documents: AbstractDocuments, *, tokenizer: Any, options: PretrainOptions
) -> ReplacedBatches:
    """Return the batches of a run, each a pure function of its number.

    Raises:
        VesaliusError: the documents fill less than one batch.
    """
    electra, training = options.electra, options.training
    last = max(1, training.num_steps - 1)

    def temperature(number: int) -> float:
        return electra.temperature_at(min(1.0, number // training.micro_batches / last))

    return ReplacedBatches(
        documents,
        context_length=options.context_length,
        rows_per_batch=options.rows_per_batch,
        seed=derive_seed(training.seed, "batches"),
        special_ids=tokenizer.all_special_ids,
        pad_id=tokenizer.pad_token_id,
        mask_prob=electra.mask_prob,
        mask_token_prob=electra.mask_token_prob,
        temperature=temperature if electra.final_temperature else None,
    )


def held_out_batches(
    documents: AbstractDocuments, *, tokenizer: Any, context_length: int, num_batches: int = 1
) -> ReplacedBatches:
    """Return batches of held-out text that are the same in every run: all slots are masked."""
    pad_id = tokenizer.pad_token_id
    one_by_one = PackedBatches(
        documents,
        context_length=context_length,
        rows_per_batch=1,
        seed=0,
        objective="none",
        pad_id=pad_id,
    )
    return ReplacedBatches(
        documents,
        context_length=context_length,
        rows_per_batch=max(1, one_by_one.num_rows // num_batches),
        seed=0,
        special_ids=tokenizer.all_special_ids,
        pad_id=pad_id,
        mask_token_prob=1.0,
    )


def find_tokenizer(request: TextRequest, *, folder: Path) -> Any:
    """Open the tokenizer that is asked for; one that is to be learned stands in `folder`/tokenizer.

    Raises:
        VesaliusError: it cannot be read, or has no mask.
    """
    place = folder / "tokenizer"
    if not request.train_tokenizer:
        found = open_tokenizer(request.tokenizer)
        _check_special(found)
        return found
    if not place.is_dir():
        trained = train_tokenizer(
            _texts(request),
            vocab_size=request.train_tokenizer,
            lowercase=True,
            num_letters=max(150, request.train_tokenizer // 8),
        )
        with new_folder(place) as partial:
            trained.save_pretrained(partial)
    return open_tokenizer(place)


def _texts(request: TextRequest) -> Any:
    if not request.text:
        return own_texts()
    sources = find_sources(request.text)
    return (text for one in sources for text in read_documents(one, options=request.reading))


def _check_special(tokenizer: Any) -> None:
    missing: Sequence[str] = [
        name for name in _NEEDED if getattr(tokenizer, f"{name}_token_id", None) is None
    ]
    if missing:
        raise VesaliusError(
            given=f"tokenizer {Path(str(tokenizer.name_or_path)).name!r} without a "
            f"{' and a '.join(missing)} token",
            expected="a masked language model's tokenizer: padding, mask, beginning, end",
            fix="use mini-bert or bert-base-uncased, or learn one from the text "
            "(train_tokenizer=8000, --train-tokenizer 8000)",
        )
