"""What a trigger has to beat: random tokens, words as frequent, patterns of raw attention."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.attention_attribution.insertion import Added
from vesalius.methods.attention_attribution.trigger_result import Trigger, Triggers
from vesalius.models.specimen import Specimen
from vesalius.models.texts import TokenisedTexts
from vesalius.models.token_words import token_words

RANDOM: Final = "random"
FREQUENCY: Final = "frequency"
ATTENTION: Final = "attention"
CONTROLS: Final = (RANDOM, FREQUENCY, ATTENTION)
_SPACE_MARKS: Final = ("\u0120", "\u2581")  # of byte-level BPE and of SentencePiece


@final
@dataclass(frozen=True, kw_only=True)
class Control:
    """One set of tokens put in beside those of a trigger (by its number): kind and tokens."""

    trigger: int
    kind: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrawnControl:
    """A control and what is put in for it."""

    control: Control
    added: tuple[Added, ...]


def draw_controls(
    specimen: Specimen,
    tokens: TokenisedTexts,
    triggers: Sequence[Trigger],
    *,
    kinds: Sequence[str],
    found: Triggers,
    num_controls: int,
    seed: int,
) -> list[DrawnControl]:
    """Draw the controls of every trigger; the first ones stay the same when more are asked for.

    ``random``: words of the vocabulary, written by one token each, at the same places.
    ``frequency``: for each token another one about as frequent in the texts (counts between the
    same powers of two) that begins a word, or goes on with one, as it does. ``attention``: the
    patterns of the same class that raw attention finds strongest.

    Source: this project; without them no drop of accuracy says anything of a trigger. No shapes.
    """
    vocabulary = Vocabulary(specimen, tokens)
    drawn: list[DrawnControl] = []
    for number, trigger in enumerate(triggers):
        for kind in kinds:
            if kind == ATTENTION:
                same = [other for other in found.attention if other.label == trigger.label]
                drawn += [_of_pattern(number, other) for other in same[:num_controls]]
                continue
            choices = vocabulary.choices(trigger, kind)
            for index in range(num_controls):
                generator = np.random.default_rng(derive_seed(seed, kind, number, index))
                ids = tuple(each[int(generator.integers(len(each)))] for each in choices)
                drawn.append(_drawn(specimen, number, trigger, kind, ids))
    return drawn


@final
class Vocabulary:
    """The tokens of a tokenizer in classes, by whether they begin a word and how often they come.

    Class 0 holds tokens that do not occur in the texts, class k those that occur 2^(k-1) to
    2^k - 1 times. Special tokens and those that the tokenizer added are in none.
    """

    def __init__(self, specimen: Specimen, tokens: TokenisedTexts) -> None:
        counts = Counter(i for ids in tokens.ids for i in ids)
        tokenizer = specimen.tokenizer
        known: Mapping[str, int] = tokenizer.get_vocab()
        # added beside the vocabulary, such as [MASK] or <extra_id_0>
        shut = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        model: Any = specimen.model
        limit: int = model.get_input_embeddings().num_embeddings
        marked = any(raw.startswith(_SPACE_MARKS) for raw in known)
        self.whole: dict[int, bool] = {}
        self.frequency: dict[int, int] = {}
        words: list[int] = []
        for raw, token in sorted(known.items(), key=lambda item: item[1]):
            is_filler = len(raw) > 2 and raw.startswith("[") and raw.endswith("]")  # [unused7]
            if token in shut or is_filler or not 0 <= token < limit:
                continue
            begins = raw.startswith(_SPACE_MARKS) if marked else not raw.startswith("##")
            self.whole[token] = begins
            self.frequency[token] = counts[token].bit_length()
            if begins and raw.lstrip("".join(_SPACE_MARKS)).isalpha():
                words.append(token)
        self.words: tuple[int, ...] = tuple(words)

    def choices(self, trigger: Trigger, kind: str) -> list[list[int]]:
        """List for each token of a trigger those that may take its place; no shapes.

        Raises:
            VesaliusError: a vocabulary without another token of the kind.
        """
        if kind == RANDOM:
            free = [token for token in self.words if token not in trigger.ids]
            found = [free] * len(trigger.ids)
        else:
            found = [self.alike(token, trigger) for token in trigger.ids]
        if not all(found):
            raise VesaliusError(
                given=f"a vocabulary of {len(self.whole)} tokens, no other fit to take the place "
                f"of one of “{trigger.name}”",
                expected="words to draw controls from",
                fix=f"leave the control {kind!r} out",
            )
        return found

    def alike(self, token: int, trigger: Trigger) -> list[int]:
        """List tokens of the nearest class to that of a token that has any; no shapes."""
        wanted, begins = self.frequency.get(token, 0), self.whole.get(token, True)
        others = [i for i, each in self.whole.items() if each == begins and i not in trigger.ids]
        nearest = min((abs(self.frequency[i] - wanted) for i in others), default=0)
        return [i for i in others if abs(self.frequency[i] - wanted) == nearest]


def _drawn(
    specimen: Specimen, number: int, trigger: Trigger, kind: str, ids: tuple[int, ...]
) -> DrawnControl:
    rows = zip(ids, trigger.owners, trigger.relative, strict=True)
    return DrawnControl(
        Control(trigger=number, kind=kind, tokens=token_words(specimen, ids).tokens),
        tuple(Added(token=i, owner=owner, relative=place) for i, owner, place in rows),
    )


def _of_pattern(number: int, other: Trigger) -> DrawnControl:
    return DrawnControl(Control(trigger=number, kind=ATTENTION, tokens=other.tokens), other.added())
