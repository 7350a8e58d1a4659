"""Which facts a model is asked about: PARAREL's, with one-token answers that it gives."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from study import Study

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.bag_files import read_bags
from vesalius.data.bags import MASK, FactBag, ends_with_gap, gap_last
from vesalius.data.facts import Fact, fill, load_facts, load_relations
from vesalius.models.answers import encode_answers
from vesalius.models.encoding import one_token
from vesalius.models.reading import read_answers, row_logits
from vesalius.models.specimen import Specimen

Key = tuple[str, str, str]
_AT_ONCE = 2048  # prompts of about one length


def key_of(bag: FactBag) -> Key:
    return bag.relation, bag.subject, bag.answer


def select(study: Study) -> dict[str, Any]:
    """Ask every fact that the model may know, and draw those that are located.

    A fact counts as answered when the best answer to half of its prompts is the right one: the best
    of all words, or (``among``, as Elazar et al. 2021 ask PARAREL) of the relation's answers.
    """
    specimen, sizes = study.specimen, study.sizes
    bags = [bag for bag in _fitting(specimen, read_bags(study.data, only="in_kn")) if bag.relation]
    met = {(fact.relation, fact.subject, fact.answer) for fact in load_facts()}
    known = [bag for bag in bags if key_of(bag) in met]
    known = _drawn(known, sizes.asked_per_relation, seed=derive_seed(study.seed, "asked"))
    strangers = _drawn(
        [b for b in bags if key_of(b) not in met and b.relation in {k.relation for k in known}],
        sizes.strangers_per_relation,
        seed=derive_seed(study.seed, "strangers"),
    )
    shares = answered_shares(specimen, known)
    among = shares_among(specimen, known) if study.among else []
    counted = among if study.among else shares
    answered = [bag for bag, share in zip(known, counted, strict=True) if share >= 0.5]
    chosen = _drawn(answered, sizes.located_per_relation, seed=derive_seed(study.seed, "facts"))
    own = [bag for bag in map(_with_own_prompts(specimen), known) if bag is not None]
    return {
        "num_facts": len(bags),
        "known": _tally(known, shares),
        "among": _tally(known, among) if among else None,
        "strangers": _tally(strangers, answered_shares(specimen, strangers)),
        "own_templates": _tally(own, answered_shares(specimen, own)),
        "facts": [
            {
                "name": bag.name,
                "relation": bag.relation,
                "subject": bag.subject,
                "answer": bag.answer,
                "prompts": list(bag.prompts),
            }
            for bag in chosen
        ],
    }


def _fitting(specimen: Specimen, bags: Sequence[FactBag]) -> list[FactBag]:
    """Keep facts with a one-token answer, and of a causal model the prompts that end with it."""
    causal = specimen.task == "causal-lm"
    kept = [bag for bag in (map(gap_last, bags) if causal else bags) if bag is not None]
    return [bag for bag in kept if _spelled(specimen, bag.answer)]


def _spelled(specimen: Specimen, answer: str) -> bool:
    try:
        one_token(specimen, answer, led=True)
    except VesaliusError:
        return False
    return True


def _with_own_prompts(specimen: Specimen) -> Any:
    """Ask a fact with the templates of this project instead, for comparison."""
    causal = specimen.task == "causal-lm"

    def asked(bag: FactBag) -> FactBag | None:
        fact = Fact(relation=bag.relation, subject=bag.subject, answer=bag.answer)
        templates = load_relations()[bag.relation].ask
        prompts = [fill(t, fact, answer=MASK) for t in templates if not causal or ends_with_gap(t)]
        return FactBag(
            name=bag.name, relation=bag.relation, subject=bag.subject, answer=bag.answer,
            prompts=tuple(prompts),
        ) if prompts else None  # fmt: skip

    return asked


def answered_shares(specimen: Specimen, bags: Sequence[FactBag]) -> list[float]:
    """The share of each fact's prompts whose best answer is the right one."""
    flat = [(place, prompt) for place, bag in enumerate(bags) for prompt in bag.prompts]
    flat.sort(key=lambda each: len(each[1]))
    right: dict[int, list[bool]] = defaultdict(list)
    for start in range(0, len(flat), _AT_ONCE):
        part = flat[start : start + _AT_ONCE]
        found = read_answers(specimen, [p for _, p in part], [bags[i].answer for i, _ in part])
        for (place, _), rank in zip(part, found.rank.tolist(), strict=True):
            right[place].append(rank == 1)
    return [sum(right[place]) / len(right[place]) for place in range(len(bags))]


def shares_among(specimen: Specimen, bags: Sequence[FactBag]) -> list[float]:
    """The share of each fact's prompts at which no other answer of its relation is likelier."""
    tokens: dict[str, list[int]] = defaultdict(list)
    for relation, answer in dict.fromkeys((bag.relation, bag.answer) for bag in bags):
        tokens[relation].append(one_token(specimen, answer, led=True))
    shares: list[float] = []
    for bag in bags:
        steps = encode_answers(specimen, bag.prompts, [bag.answer] * len(bag.prompts))
        logits = row_logits(specimen, steps.batch)
        best = logits[:, tokens[bag.relation]].max(dim=1).values
        gold = logits.gather(1, steps.targets.unsqueeze(1))[:, 0]
        shares.append(float((gold >= best).double().mean()))
    return shares


def _tally(bags: Sequence[FactBag], shares: Sequence[float]) -> dict[str, Any]:
    """Count facts, prompts and right answers."""
    prompts = [len(bag.prompts) for bag in bags]
    right = sum(share * count for share, count in zip(shares, prompts, strict=True))
    answered = Counter(b.relation for b, s in zip(bags, shares, strict=True) if s >= 0.5)
    return {
        "num_facts": len(bags),
        "num_prompts": sum(prompts),
        "right": right / max(sum(prompts), 1),
        "num_answered": sum(answered.values()),
        "answered": dict(answered),
        "facts": dict(Counter(bag.relation for bag in bags)),
    }


def _drawn(bags: Sequence[FactBag], count: int, *, seed: int) -> list[FactBag]:
    """Draw so many facts of each relation, in their own order."""
    groups: Mapping[str, list[int]] = defaultdict(list)
    for place, bag in enumerate(bags):
        groups[bag.relation].append(place)
    draw = random.Random(seed)
    places = [i for own in groups.values() for i in draw.sample(own, min(count, len(own)))]
    return [bags[i] for i in sorted(places)]
