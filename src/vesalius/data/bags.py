"""Facts as bags of prompts, and what an edit of a fact is judged by; text only, no model.

Source: the prompt bags of Dai et al. 2022 (arXiv 2104.08696); the parts of an edit's case follow
CounterFact (Meng et al. 2022, arXiv 2202.05262) and the portability of Yao et al. 2023
(arXiv 2305.13172).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact, fill, load_facts, load_relations, prompts_for

MASK: Final = "[MASK]"  # vesalius.models.encoding.MASK, which would load torch
_NAME_CHARACTERS: Final = 80  # most file systems take 255 bytes
_NAME_BYTES: Final = 240


@final
@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question of a judge: a prompt with [MASK], and the answer that must come out there.

    ``kind`` says of a portable probe what it asks: "inverse", "alias" or "one-hop".
    """

    prompt: str
    answer: str
    kind: str = ""

    def __post_init__(self) -> None:
        """Refuse a probe that nothing can answer.

        Raises:
            VesaliusError: a prompt without exactly one [MASK], or no answer.
        """
        _check_prompts("prompt", (self.prompt,))
        _check_text("answer", self.answer)


@final
@dataclass(frozen=True, kw_only=True)
class FactBag:
    """One fact with its prompts, and with what an edit of it should and should not change.

    ``name`` is unique in its list and fit for a file name. ``prompts`` hold [MASK] in the place of
    ``answer``; an edit may use them. ``new_answer`` is what an update should make of it, empty
    where the data names none. ``rephrased`` are paraphrases held out (generality), ``neighbours``
    ask the relation about other subjects and ``unrelated`` other relations (locality: both must
    stay), ``portable`` is what follows from the edit.
    """

    name: str
    relation: str
    subject: str
    answer: str
    prompts: tuple[str, ...]
    new_answer: str = ""
    rephrased: tuple[str, ...] = ()
    neighbours: tuple[Probe, ...] = ()
    unrelated: tuple[Probe, ...] = ()
    portable: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a bag that no method could work on.

        Raises:
            VesaliusError: no name, no answer, no prompts, or one without exactly one [MASK].
        """
        _check_text("name", self.name)
        _check_text("answer", self.answer)
        _check_prompts("prompts", self.prompts)
        if not self.prompts:
            raise VesaliusError(
                given=f"{self.name}: no prompts",
                expected="at least one text with [MASK]",
                fix='pass prompts=("The capital of France is [MASK].",)',
            )
        _check_prompts("rephrased", self.rephrased)


def bundled_bags(relation: str = "") -> list[FactBag]:
    """Return the bundled facts, or those of one relation, with all prompts of ``ask``.

    Args:
        relation: a Wikidata code such as P36; all relations where it is left out.

    Raises:
        VesaliusError: a relation that is not bundled.

    >>> bundled_bags("P36")[0].prompts[0]
    'The capital of 4th of August Regime is [MASK].'
    """
    known = load_relations()
    if relation and relation not in known:
        raise VesaliusError(
            given=f"relation {relation!r}",
            expected=f"one of {', '.join(known)}",
            fix="choose one of them, or leave it out for all bundled facts",
        )
    return asked_bags([f for f in load_facts() if not relation or f.relation == relation])


def asked_bags(
    facts: Sequence[Fact], *, prompts: Mapping[str, Sequence[str]] | None = None
) -> list[FactBag]:
    """Ask about facts with the templates of their relations.

    Args:
        facts: what is asked about.
        prompts: templates with [X] and [Y] by relation, instead of the bundled ones.

    Raises:
        VesaliusError: a relation without templates.
    """
    names = unique_names([f"{fact.relation} {fact.subject}" for fact in facts])
    return [
        FactBag(
            name=name,
            relation=fact.relation,
            subject=fact.subject,
            answer=fact.answer,
            prompts=tuple(
                prompts_for(fact, mask_token=MASK)
                if prompts is None
                else (fill(template, fact, answer=MASK) for template in prompts[fact.relation])
            ),
        )
        for name, fact in zip(names, facts, strict=True)
    ]


def unique_names(wanted: Sequence[str]) -> list[str]:
    """Make names that no two share, fit for files: letters, digits and hyphens; a number if needed.

    >>> unique_names(["P36 Île d'Or", "p36 île d or", "?"])
    ['P36-Île-d-Or', 'p36-île-d-or-2', 'fact']
    """
    used: dict[str, int] = {}
    return [_unique(_file_name(name), used) for name in wanted]


def gap_last(bag: FactBag) -> FactBag | None:
    """Keep what a model that reads from left to right can answer: prompts that end with the gap.

    The probes are chosen likewise. None where no edit prompt is left.

    >>> bag = bundled_bags("P36")[0]
    >>> len(bag.prompts), len(gap_last(bag).prompts)
    (6, 4)
    """
    prompts = tuple(filter(ends_with_gap, bag.prompts))
    if not prompts:
        return None
    return replace(
        bag,
        prompts=prompts,
        rephrased=tuple(filter(ends_with_gap, bag.rephrased)),
        neighbours=tuple(p for p in bag.neighbours if ends_with_gap(p.prompt)),
        unrelated=tuple(p for p in bag.unrelated if ends_with_gap(p.prompt)),
        portable=tuple(p for p in bag.portable if ends_with_gap(p.prompt)),
    )


def ends_with_gap(prompt: str) -> bool:
    """Say whether nothing but an end mark stands behind the gap, or behind a template's [Y].

    >>> ends_with_gap("The capital of Peru is [MASK] ."), ends_with_gap("[MASK] is in Peru.")
    (True, False)
    """
    return prompt.rstrip(" .!?\n").endswith((MASK, "[Y]"))


def _file_name(text: str) -> str:
    plain = re.sub(r"[\W_]+", "-", text).strip("-")[:_NAME_CHARACTERS]
    return plain.encode()[:_NAME_BYTES].decode(errors="ignore").strip("-") or "fact"


def _unique(name: str, used: dict[str, int]) -> str:
    """Number a name that was used before; many file systems know no case."""
    count = used[name.lower()] = used.get(name.lower(), 0) + 1
    if count == 1:
        return name
    return _unique(f"{name[: _NAME_CHARACTERS - 5]}-{count}", used)


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise VesaliusError(
            given=f"{field}={value!r}", expected="a text that is not empty", fix=f"name the {field}"
        )


def _check_prompts(field: str, prompts: object) -> None:
    if not isinstance(prompts, tuple):
        raise VesaliusError(
            given=f"{field} of type {type(prompts).__name__}",
            expected="a tuple of texts",
            fix=f"pass {field}=tuple([...])",
        )
    for prompt in prompts:  # pyright: ignore[reportUnknownVariableType]
        num_gaps = prompt.count(MASK) if isinstance(prompt, str) else None
        if num_gaps != 1:
            raise VesaliusError(
                given=f"{field}: {prompt!r}"
                + ("" if num_gaps is None else f", with {MASK} {num_gaps} times"),
                expected=f"a text with {MASK} exactly once, where the answer belongs",
                fix="write for instance 'The capital of France is [MASK].'",
            )
