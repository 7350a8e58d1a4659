"""The case of an edit, made from the bundled facts: what should change, stay, and follow.

Source: the parts of a case are those of CounterFact (Meng et al. 2022, arXiv 2202.05262); inverse,
alias and one-hop questions after Yao et al. 2023 (arXiv 2305.13172). The tables are ours.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, final

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.bags import MASK, FactBag, Probe, ends_with_gap, unique_names
from vesalius.data.facts import Fact, Relation, fill, load_facts, load_relations

INVERSE: Final = {"P36": "P1376", "P1376": "P36"}  # capital, capital of
_TABLES: Final = files("vesalius.data") / "tables"


def edit_case(
    fact: Fact,
    new_answer: str = "",
    *,
    num_edit_prompts: int = 0,
    num_neighbours: int = 10,
    num_unrelated: int = 10,
    seed: int = 0,
    facts: Sequence[Fact] | None = None,
    relations: Mapping[str, Relation] | None = None,
    left_to_right: bool = False,
) -> FactBag:
    """Make the case of an edit: its prompts, held-out paraphrases, and what must stay or follow.

    Neighbours and unrelated facts are as many as there are, up to the number asked for. Half of
    the neighbours share the fact's answer, where so many do; none has the new answer, and no
    unrelated fact names the subject or one of the two answers.

    Args:
        fact: what is edited.
        new_answer: left out, the answer of another fact of the relation is drawn.
        num_edit_prompts: templates for the edit, the others are held out; 0 takes two thirds.
        facts: where all draws are from, instead of the bundled facts.
        relations: templates of relations that are not bundled.
        left_to_right: take only templates that end with the answer.

    Raises:
        VesaliusError: an unknown relation, a wrong number, a new answer that is none.

    Source: CounterFact; the paper draws the new answer like this (arXiv 2104.08696, section 5.1).
    """
    for name, count in (("neighbours", num_neighbours), ("unrelated", num_unrelated)):
        _check_count(f"num_{name}", count)
    draw = _Draw.make(fact, facts, relations, seed=seed, left_to_right=left_to_right)
    edit, held_out = draw.split_templates(num_edit_prompts)
    new = new_answer or draw.new_answer()
    if new == fact.answer:
        raise VesaliusError(
            given=f"new_answer={new!r}, which is the old answer",
            expected="another word",
            fix="leave it out to have one drawn",
        )
    portable = [*draw.inverse(new), *_aliases_asked(fact, new, edit), *draw.one_hop(new)]
    return FactBag(
        name=unique_names([f"{fact.relation} {fact.subject} {new}"])[0],
        relation=fact.relation,
        subject=fact.subject,
        answer=fact.answer,
        new_answer=new,
        prompts=tuple(fill(template, fact, answer=MASK) for template in edit),
        rephrased=tuple(fill(template, fact, answer=MASK) for template in held_out),
        neighbours=draw.neighbours(new, num_neighbours),
        unrelated=draw.unrelated(new, num_unrelated),
        portable=tuple(p for p in portable if not left_to_right or ends_with_gap(p.prompt)),
    )


@cache
def load_aliases() -> dict[str, tuple[str, ...]]:
    """Return other names of subjects of the bundled facts, most of them countries and cities.

    Source: `tables/aliases.tsv`, written for this project.

    >>> load_aliases()["Iran"]
    ('Persia', 'the Islamic Republic of Iran')
    """
    aliases: dict[str, tuple[str, ...]] = {}
    for subject, alias in _rows("aliases.tsv"):
        aliases[subject] = (*aliases.get(subject, ()), alias)
    return aliases


def _rows(name: str) -> list[list[str]]:
    lines = (_TABLES / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


@final
@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What a case is drawn from; every part of it has a stream of random numbers of its own."""

    fact: Fact
    facts: tuple[Fact, ...]
    templates: Mapping[str, tuple[str, ...]]  # by relation, those the model can answer
    seed: int

    @staticmethod
    def make(
        fact: Fact,
        facts: Sequence[Fact] | None,
        relations: Mapping[str, Relation] | None,
        *,
        seed: int,
        left_to_right: bool,
    ) -> "_Draw":
        known = load_relations() | dict(relations or {})
        if fact.relation not in known:
            raise VesaliusError(
                given=f"relation {fact.relation!r}",
                expected=f"one of {', '.join(known)}",
                fix="pass relations={code: Relation(...)} with templates for your own relation",
            )
        templates = {
            code: tuple(t for t in relation.ask if not left_to_right or ends_with_gap(t))
            for code, relation in known.items()
        }
        return _Draw(
            fact=fact,
            facts=tuple(load_facts() if facts is None else facts),
            templates={code: asked for code, asked in templates.items() if asked},
            seed=seed,
        )

    def split_templates(self, num_edit: int) -> tuple[list[str], list[str]]:
        """Part the relation's templates into those of the edit and those held out."""
        asked = self.templates.get(self.fact.relation, ())
        if not asked:
            raise VesaliusError(
                given=f"{self.fact.relation}: no template that ends with the answer",
                expected="one for a model that reads from left to right",
                fix="choose another relation, or write templates of your own",
            )
        _check_count("num_edit_prompts", num_edit, most=len(asked))
        order = list(range(len(asked)))
        self._random("templates").shuffle(order)
        chosen = set(order[: num_edit or max(1, len(asked) * 2 // 3)])
        return (
            [template for index, template in enumerate(asked) if index in chosen],
            [template for index, template in enumerate(asked) if index not in chosen],
        )

    def new_answer(self) -> str:
        """Draw the answer of another fact of the relation."""
        ours = [f for f in self.facts if f.relation == self.fact.relation]
        true = {f.answer for f in ours if f.subject == self.fact.subject} | {self.fact.answer}
        others = [f.answer for f in ours if f.answer not in true]
        if not others:
            raise VesaliusError(
                given=f"{self.fact.relation}: no fact with another answer than {true}",
                expected="another answer to draw",
                fix="name the new answer, or pass more facts",
            )
        return self._random("new answer").choice(others)

    def neighbours(self, new: str, count: int) -> tuple[Probe, ...]:
        """Ask the relation about other subjects, half of them with the same answer."""
        others = [
            f
            for f in self._shuffled("neighbours")
            if f.relation == self.fact.relation
            and f.subject != self.fact.subject
            and f.answer != new
        ]
        same = [f for f in others if f.answer == self.fact.answer]
        rest = [f for f in others if f.answer != self.fact.answer]
        alike = max(count // 2, count - len(rest))
        return self._asked("neighbours", (same[:alike] + rest)[:count])

    def unrelated(self, new: str, count: int) -> tuple[Probe, ...]:
        """Ask other relations about other subjects."""
        named = {self.fact.subject, self.fact.answer, new}
        others = [
            f
            for f in self._shuffled("unrelated")
            if f.relation != self.fact.relation
            and f.relation in self.templates
            and not named & {f.subject, f.answer}
        ]
        return self._asked("unrelated", others[:count])

    def inverse(self, new: str) -> list[Probe]:
        """Ask the relation that turns this one round: whose is the new answer now?"""
        relation = INVERSE.get(self.fact.relation, "")
        turned = Fact(relation=relation, subject=new, answer=self.fact.subject)
        return [
            Probe(prompt=fill(t, turned, answer=MASK), answer=turned.answer, kind="inverse")
            for t in self.templates.get(relation, ())
        ]

    def one_hop(self, new: str) -> list[Probe]:
        """Ask about the subject what is known of both answers, and is not alike for the two."""
        known = {(f.relation, f.subject): f.answer for f in self.facts}
        probes: list[Probe] = []
        for relation, then, template in _rows("hops.tsv"):
            answer, before = known.get((then, new)), known.get((then, self.fact.answer))
            if relation == self.fact.relation and answer and before and answer != before:
                prompt = fill(template, self.fact, answer=MASK)
                probes.append(Probe(prompt=prompt, answer=answer, kind="one-hop"))
        return probes

    def _asked(self, part: str, chosen: Sequence[Fact]) -> tuple[Probe, ...]:
        generator = self._random(f"{part}: templates")
        return tuple(
            Probe(
                prompt=fill(generator.choice(self.templates[f.relation]), f, answer=MASK),
                answer=f.answer,
            )
            for f in chosen
        )

    def _shuffled(self, part: str) -> list[Fact]:
        facts = list(self.facts)
        self._random(part).shuffle(facts)
        return facts

    def _random(self, part: str) -> random.Random:
        fact = self.fact
        return random.Random(derive_seed(self.seed, part, fact.relation, fact.subject, fact.answer))


def _aliases_asked(fact: Fact, new: str, templates: Sequence[str]) -> list[Probe]:
    """Ask the prompts of the edit about the subject by its other names."""
    probes: list[Probe] = []
    for alias in load_aliases().get(fact.subject, ()):
        named = Fact(relation=fact.relation, subject=alias, answer=new)
        for template in templates:
            prompt = fill(template, named, answer=MASK)
            prompt = prompt[0].upper() + prompt[1:]  # "the Kingdom of ..." may begin it
            probes.append(Probe(prompt=prompt, answer=new, kind="alias"))
    return probes


def _check_count(name: str, value: object, *, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= (most or value):
        raise VesaliusError(
            given=f"{name}={value!r}",
            expected="a whole number from 0" + ("" if most is None else f" to {most}"),
            fix="leave it out",
        )
