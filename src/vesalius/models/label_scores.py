"""Score label words behind texts: one pass per text, what all texts share encoded once.

Source: the shared prefix of docs/architecture.md; label words of several tokens as a tree, read in
the same pass (arXiv 2305.09781); this project for the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.models.encoding import answer_tokens, need_tokenizer
from vesalius.models.head_rows import head_columns
from vesalius.models.label_batches import length_batches
from vesalius.models.label_trie import LabelTrie, grow_trie
from vesalius.models.ladder import accepts
from vesalius.models.prefix import OwnTokens, Prefix, Way, encode_prefix, prefix_way, read_behind
from vesalius.models.specimen import Specimen

TOO_LONG: Final = ("error", "skip")
TOKENS_PER_BATCH: Final = 2048  # own tokens; BERT-base widths on two cores gain nothing above it
_TOKENISED: Final = 64  # texts that are cut into tokens at once
_SHOWN: Final = 3


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """Texts and label words as tokens, ready to be scored.

    ``prefix`` are the tokens that all texts begin with, ``own`` what follows them in each text;
    ``kept`` are the numbers of the texts that fit the model, ``num_over`` the tokens that each of
    the others is over.
    """

    prefix: tuple[int, ...]
    own: tuple[tuple[int, ...], ...]
    trie: LabelTrie
    kept: tuple[int, ...]
    num_over: dict[int, int]

    @property
    def num_tokens(self) -> int:
        """Tokens that a pass over all texts computes: the prefix, the texts, the label tree."""
        return len(self.prefix) + sum(len(t) + len(self.trie.tokens) for t in self.own)

    @property
    def num_tokens_unshared(self) -> int:
        """Tokens of a pass over every whole prompt and, where words are long, every word."""
        whole = sum(len(self.prefix) + len(t) for t in self.own)
        if not self.trie.tokens:
            return whole
        said = sum(len(steps) - 1 for steps in self.trie.steps)
        return whole * self.trie.num_labels + len(self.own) * said


def plan_labels(
    specimen: Specimen,
    texts: Sequence[str],
    answers: Sequence[str],
    *,
    one_token: bool = False,
    too_long: str = "error",
    numbers: Sequence[int] | None = None,
) -> LabelPlan:
    """Turn texts and the label words that may follow them into tokens, and check them.

    Args:
        specimen: the opened causal language model.
        texts: prompts up to the answer, without white space at the end.
        answers: label words, each with the white space that stands before it.
        one_token: refuse words of several tokens, as the paper does.
        too_long: what to do with a text that does not fit the model: refuse all (``error``), or
            leave it out (``skip``), be it the only one.
        numbers: what a message calls the texts, 0, 1, ... where left out.

    Raises:
        VesaliusError: no texts, words that are empty, unknown, the same, or of several tokens
            where one is wanted, or a text that is too long (which, and by how many tokens).

    Source: arXiv 2205.10183, section 2 (a label is one token); this project for several. No shapes.
    """
    trie = grow_trie(word_tokens(specimen, answers, one_token=one_token))
    if isinstance(texts, str) or not texts:
        raise VesaliusError(
            given="one text, not a list" if texts else "no texts",
            expected="at least one prompt",
            fix="pass a list of texts",
        )
    ids = open_ended(specimen, texts)
    kept, over = refuse_long(
        specimen,
        [len(t) for t in ids],
        extra=trie.longest - 1,
        too_long=too_long,
        numbers=numbers or range(len(ids)),
    )
    shared = _shared_length([ids[i] for i in kept]) if kept else 0
    return LabelPlan(
        prefix=tuple(ids[kept[0]][:shared]) if kept else (),
        own=tuple(tuple(ids[i][shared:]) for i in kept),
        trie=trie,
        kept=tuple(kept),
        num_over=over,
    )


def word_tokens(
    specimen: Specimen, answers: Sequence[str], *, one_token: bool = False
) -> list[list[int]]:
    """Cut label words, each with the white space before it, into tokens; no shapes.

    Raises:
        VesaliusError: fewer than two words, two that are the same to the model, or one of several
            tokens where ``one_token`` asks for one.

    Source: arXiv 2205.10183, section 2.
    """
    if isinstance(answers, str) or len(answers) < 2:
        raise VesaliusError(
            given=f"label words {answers!r}",
            expected="two or more",
            fix="name a word for each class",
        )
    cut = [_cut(specimen, answer) for answer in answers]
    for i, tokens in enumerate(cut):
        if one_token and len(tokens) > 1:
            pieces = need_tokenizer(specimen).convert_ids_to_tokens(tokens)
            raise VesaliusError(
                given=f"label word {answers[i].strip()!r}, which this tokenizer cuts into {pieces}",
                expected="one token for each label word, as preset 'paper' has it",
                fix="choose another word, or leave the preset: words of several tokens are scored "
                "whole then",
            )
        if tokens in cut[:i]:
            raise VesaliusError(
                given=f"label words {answers[cut.index(tokens)].strip()!r} and "
                f"{answers[i].strip()!r}, the same tokens",
                expected="a word of its own for each class",
                fix="change one of them",
            )
    return cut


def _cut(specimen: Specimen, answer: str) -> list[int]:
    """Cut one label word; behind a space or nothing as words are spelled, else as it stands."""
    space = answer[: len(answer) - len(answer.lstrip())]
    if space in ("", " "):
        return answer_tokens(specimen, answer, led=bool(space))
    tokens: list[int] = need_tokenizer(specimen)(answer, add_special_tokens=False)["input_ids"]
    return tokens


def refuse_long(
    specimen: Specimen,
    lengths: Sequence[int],
    *,
    extra: int,
    too_long: str,
    numbers: Sequence[int],
) -> tuple[list[int], dict[int, int]]:
    """Number the texts that fit a model with ``extra`` tokens behind them, and say what is over.

    Raises:
        VesaliusError: a text that does not fit, unless ``too_long`` is ``skip``.

    Source: this project: nothing is cut silently. No shapes.
    """
    check_word("too_long", too_long, TOO_LONG)
    limit = specimen.max_tokens
    room = None if limit is None else limit - extra
    over = {} if room is None else {i: n - room for i, n in enumerate(lengths) if n > room}
    if over and too_long == "error":
        named = {numbers[i]: count for i, count in over.items()}
        raise _too_long(specimen, named, num_texts=len(lengths), limit=room)
    return [i for i in range(len(lengths)) if i not in over], over


def open_ended(specimen: Specimen, texts: Sequence[str]) -> list[list[int]]:
    """Cut texts into tokens, without what the tokenizer sets behind a text; no shapes.

    A text of which no token is left, an empty one, begins with the token that begins documents, or
    that ends them: a model has to read something.

    Raises:
        VesaliusError: such a text, and a tokenizer without such a token.

    Source: the tokenizers of the transformers library; the token, as lm-evaluation-harness has it.
    """
    tokenizer = need_tokenizer(specimen)
    found: list[list[int]] = []
    for start in range(0, len(texts), _TOKENISED):  # a tokenizer keeps far more than the numbers
        some = list(texts[start : start + _TOKENISED])
        found += tokenizer(some, verbose=False, return_attention_mask=False)["input_ids"]
    bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed: list[int] = tokenizer("a")["input_ids"]
    before = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
    behind = len(framed) - before - len(bare)
    cut = [ids[: len(ids) - behind] if behind else ids for ids in found]
    if all(cut):
        return cut
    starts = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    start: int | None = next((token for token in starts if token is not None), None)
    if start is None:
        raise VesaliusError(
            given=f"an empty text, of which the tokenizer of {specimen.name} makes no token",
            expected="something to read: it has no token that begins or ends a document either",
            fix="use a template with a word before the answer",
        )
    return [ids or [start] for ids in cut]


def _shared_length(ids: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all texts begin with; each keeps at least one of its own."""
    shared = min(map(len, ids)) - 1
    first = ids[0]
    for other in ids[1:]:
        if list(other[:shared]) != list(first[:shared]):
            shared = next(i for i in range(shared) if other[i] != first[i])
    return shared


def score_labels(
    specimen: Specimen,
    plan: LabelPlan,
    *,
    label_mass: bool = True,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    way: Way | None = None,
) -> Iterator[tuple[Int[np.ndarray, " text"], Float[np.ndarray, "text label"]]]:
    """Score the label words of a plan, batch by batch, shortest texts first.

    Args:
        specimen: the opened causal language model.
        plan: what :func:`plan_labels` made.
        label_mass: score against the whole vocabulary. Without it only the columns of the label
            words are computed, and the scores are renormalised over them (words of one token).
        tokens_per_batch: own tokens in a run; prefix tokens cost memory once.
        way: how texts read the prefix; chosen by a probe when left out.

    Yields:
        Places in ``plan.own``, shape [text], and natural log-probabilities [text, label].

    Raises:
        VesaliusError: logits that are no numbers.

    Source: arXiv 2205.10183, section 2; this module.
    """
    chosen = way or prefix_way(specimen)
    prefix = encode_prefix(specimen, plan.prefix, way=chosen)
    is_tree = bool(plan.trie.tokens)
    in_tree = is_tree and chosen == "shared" and _fits_tree(specimen, plan)
    batches = length_batches(
        [len(t) + len(plan.trie.tokens) for t in plan.own],
        tokens_per_batch=tokens_per_batch,
        places_per_text=plan.trie.num_places,
        num_vocab=int(getattr(specimen.model.config, "vocab_size", 0) or 1 << 15),
    )
    for batch in batches:
        own = [plan.own[i] for i in batch]
        if is_tree and not in_tree:
            scores = _one_by_one(specimen, prefix, own, plan.trie)
        else:
            scores = _in_one_pass(specimen, prefix, own, plan.trie, label_mass=label_mass)
        if bool(torch.isnan(scores).any()):
            raise VesaliusError(
                given=f"{specimen.name}: scores that are not a number (NaN)",
                expected="a model whose answers are finite",
                fix="open the model with dtype float32",
            )
        yield np.array(batch), scores.double().cpu().numpy()


def _fits_tree(specimen: Specimen, plan: LabelPlan) -> bool:
    """Whether positions can be given, and no sliding window would see a tree as a longer text."""
    config: Any = specimen.model.config
    window = getattr(config, "sliding_window", None)
    longest = len(plan.prefix) + max(map(len, plan.own), default=0) + len(plan.trie.tokens)
    narrow = isinstance(window, int) and 0 < window <= longest
    return accepts(specimen.model, "position_ids") and not narrow


def _in_one_pass(
    specimen: Specimen,
    prefix: Prefix,
    own: Sequence[Sequence[int]],
    trie: LabelTrie,
    *,
    label_mass: bool,
) -> Float[Tensor, "text label"]:
    tokens = with_tree(own, trie, device=specimen.device)
    if label_mass or trie.tokens:
        logits = read_behind(specimen, prefix, tokens)
        return _words(logits, trie)
    columns = torch.tensor([steps[0][1] for steps in trie.steps], device=specimen.device)
    with head_columns(specimen.model, columns) as cut:
        logits = read_behind(specimen, prefix, tokens)[:, 0]
    return _widened(logits if cut else logits[:, columns]).log_softmax(-1)


def _words(logits: Float[Tensor, "text place vocab"], trie: LabelTrie) -> Tensor:
    """Add up the log-probabilities of the tokens of each word."""
    logits = _widened(logits)
    total = logits.logsumexp(-1)
    scores = logits.new_zeros(len(logits), trie.num_labels)
    for label, steps in enumerate(trie.steps):
        for place, token in steps:
            scores[:, label] += logits[:, place, token] - total[:, place]
    return scores


def _one_by_one(
    specimen: Specimen, prefix: Prefix, own: Sequence[Sequence[int]], trie: LabelTrie
) -> Float[Tensor, "text label"]:
    """Score each word in a pass of its own, for models that cannot read a tree."""
    columns: list[Tensor] = []
    for steps in trie.steps:
        said = [token for _, token in steps]
        rows = [[*tokens, *said[:-1]] for tokens in own]
        line = grow_trie([said])
        tokens = with_tree(rows, grow_trie([said[:1]]), device=specimen.device)
        back = torch.arange(len(said) - 1, -1, -1, device=specimen.device)
        places = OwnTokens(
            ids=tokens.ids,
            positions=tokens.positions,
            lengths=tokens.lengths,
            places=tokens.places - back,
        )
        columns.append(_words(read_behind(specimen, prefix, places), line)[:, 0])
    return torch.stack(columns, dim=1)


def with_tree(own: Sequence[Sequence[int]], trie: LabelTrie, *, device: torch.device) -> OwnTokens:
    """Write the tree of label words behind each text, [batch, own] padded on the right.

    Source: the tree mask of arXiv 2305.09781.
    """
    lengths = torch.tensor([len(t) for t in own])
    num_nodes = len(trie.tokens)
    width = int(lengths.max()) + num_nodes
    ids = torch.zeros(len(own), width, dtype=torch.long)
    positions = torch.zeros_like(ids)
    nodes, depths = torch.tensor(trie.tokens), torch.tensor(trie.depths)
    allowed = None
    if num_nodes:
        allowed = torch.ones(width, width, dtype=torch.bool).tril().repeat(len(own), 1, 1)
    for row, tokens in enumerate(own):
        end = len(tokens)
        ids[row, :end] = torch.tensor(tokens)
        positions[row, :end] = torch.arange(end)
        if allowed is not None:
            tree = slice(end, end + num_nodes)
            ids[row, tree], positions[row, tree] = nodes, end + depths
            allowed[row, tree, tree] = trie.sees()
    places = (lengths - 1).unsqueeze(1) + torch.arange(num_nodes + 1)
    return OwnTokens(
        ids=ids.to(device),
        positions=positions.to(device),
        places=places.to(device),
        lengths=lengths.to(device),
        allowed=None if allowed is None else allowed.to(device),
    )


def _widened(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _too_long(
    specimen: Specimen, over: dict[int, int], *, num_texts: int, limit: int | None
) -> VesaliusError:
    shown = [f"text {i} is {count} over" for i, count in list(over.items())[:_SHOWN]]
    more = f" and {len(over) - _SHOWN} more" if len(over) > _SHOWN else ""
    return VesaliusError(
        given=f"{len(over)} of {num_texts} prompts longer than {specimen.name} reads: "
        f"{', '.join(shown)}{more}",
        expected=f"at most {limit} tokens, demonstrations and label word included",
        fix="take fewer or shorter demonstrations, or leave such texts out: too_long='skip' "
        "(--too-long skip, where texts are scored)",
    )
