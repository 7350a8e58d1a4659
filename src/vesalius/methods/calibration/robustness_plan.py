"""From the design of a study to the prompts it needs: no model, only rows and prompts.

A condition is a prompt, an estimate set and a repetition. Conditions that differ in the estimate
set alone share a prompt, and their sets are drawn from the texts that are scored under it anyway:
they cost no forward pass.

Source: arXiv 2205.10183, sections 4.3 and 5; whose draws we repeat, and what we draw anew, stands
at each axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_draws import (
    class_counts,
    draw_demonstrations,
    draw_estimate,
    order_demonstrations,
)
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.robustness_design import Condition, StudyDesign, StudyPlan


def plan_study(
    design: StudyDesign,
    *,
    prompt: LabelPrompt,
    train: Sequence[LabelledRow],
    variants: Mapping[str, LabelPrompt] | None = None,
    seed: int = 0,
) -> StudyPlan:
    """Lay out a study: every condition, and each prompt once however many conditions share it.

    Args:
        design: what is varied.
        prompt: the usual prompt; demonstrations of its own are replaced.
        train: rows for demonstrations and estimate sets, none of the test rows.
        variants: other templates and label words by name, for the axis ``template``.
        seed: of all draws.

    Returns:
        The plan; no shapes.

    Raises:
        VesaliusError: too few rows, or a template for another number of classes.
    """
    others = dict(variants or {})
    _check(design, prompt, others, train)
    plan = _Planner(design, prompt, train, seed)
    for axis in dict.fromkeys(design.axes):
        match axis:
            case "template":
                plan.templates(others)
            case "order":
                plan.orders()
            case "proportion":
                plan.proportions()
            case "estimate-proportion":
                plan.estimate_proportions()
            case "estimate-size":
                plan.estimate_sizes()
            case "shots":
                plan.shots()
            case _:
                plan.seeds()
    return plan.whole()


@final
class _Planner:
    """Collects conditions, and gives equal prompts the same place."""

    def __init__(
        self, design: StudyDesign, prompt: LabelPrompt, train: Sequence[LabelledRow], seed: int
    ) -> None:
        self.design, self.prompt, self.train, self.seed = design, prompt, train, seed
        self.places: dict[str, int] = {}
        self.prompts: list[LabelPrompt] = []
        self.scored: list[dict[LabelledRow, None]] = []
        self.conditions: list[Condition] = []
        self.left_out: dict[str, str] = {}
        self.notes: dict[str, None] = {}
        self.demonstrations: dict[tuple[int, int], tuple[LabelledRow, ...]] = {}
        self.drawn: dict[int, tuple[LabelledRow, ...]] = {}
        self.num_estimate = design.estimate_per_class * prompt.num_labels
        labels = [row.label for row in train]
        self.natural = np.bincount(labels, minlength=prompt.num_labels).astype(np.float64)

    def whole(self) -> StudyPlan:
        return StudyPlan(
            prompts=tuple(self.prompts),
            pools=tuple(tuple(pool) for pool in self.scored),
            conditions=tuple(self.conditions),
            left_out=self.left_out,
            notes=tuple(self.notes),
        )

    def add(
        self,
        axis: str,
        name: str,
        *,
        place: float,
        repetition: int,
        prompt: LabelPrompt,
        estimate: Sequence[LabelledRow],
    ) -> None:
        number = self.places.setdefault(prompt.fingerprint(), len(self.prompts))
        if number == len(self.prompts):
            self.prompts.append(prompt)
            self.scored.append({})
        self.scored[number] |= dict.fromkeys(estimate)
        self.conditions.append(
            Condition(
                axis=axis, name=name, place=place, seed=repetition, prompt=number,
                estimate=tuple(estimate),
            )
        )  # fmt: skip

    def draw(self, repetition: int, shots: int) -> tuple[LabelledRow, ...]:
        """The demonstrations of a repetition: those of few shots begin those of many."""
        if (repetition, shots) not in self.demonstrations:
            seed = derive_seed(self.seed, "repetition", repetition)
            self.demonstrations[repetition, shots] = tuple(
                draw_demonstrations(self.train, num=shots, seed=seed)
            )
        return self.demonstrations[repetition, shots]

    def base(self, repetition: int) -> LabelPrompt:
        return replace(self.prompt, demonstrations=self.draw(repetition, self.design.base_shots))

    def pool(self, repetition: int, shown: Sequence[LabelledRow] = ()) -> tuple[LabelledRow, ...]:
        """The whole estimate set of a repetition, less texts that stand in the prompt."""
        if repetition not in self.drawn:
            most = max(self.design.base_shots, *self.design.shots, 0)
            exclude = self.draw(repetition, most)
            there = {row.texts for row in self.train} - {row.texts for row in exclude}
            # more than needed: some may stand in a prompt
            number = min(self.num_estimate + self.design.proportion_shots, len(there))
            seed = derive_seed(self.seed, "repetition", repetition)
            self.drawn[repetition] = tuple(
                draw_estimate(self.train, num=number, seed=seed, exclude=exclude)
            )
        hidden = {row.texts for row in shown}
        found = [row for row in self.drawn[repetition] if row.texts not in hidden]
        if len(found) < self.num_estimate:
            wanted = f"not {self.num_estimate}: there are no more"
            self.notes[f"{len(found)} texts to estimate from, {wanted}"] = None
        return tuple(found[: self.num_estimate])

    def seeds(self) -> None:
        for r in range(self.design.num_seeds):
            self.add("seed", "demonstrations", place=0, repetition=r, prompt=self.base(r),
                     estimate=self.pool(r))  # fmt: skip

    def shots(self) -> None:
        for shots in self.design.shots:
            for r in range(self.design.num_seeds):
                prompt = replace(self.prompt, demonstrations=self.draw(r, shots))
                self.add("shots", str(shots), place=shots, repetition=r, prompt=prompt,
                         estimate=self.pool(r))  # fmt: skip

    def templates(self, variants: Mapping[str, LabelPrompt]) -> None:
        if len(variants) < 2:
            self.left_out["template"] = "fewer than two templates were given"
            return
        for number, (name, variant) in enumerate(variants.items()):
            for r in range(self.design.num_seeds):
                shown = self.draw(r, self.design.base_shots)
                self.add("template", name, place=number, repetition=r,
                         prompt=replace(variant, demonstrations=shown),
                         estimate=self.pool(r))  # fmt: skip

    def orders(self) -> None:
        drawn = self.draw(0, self.design.base_shots)
        orders = dict.fromkeys([drawn])
        for number in range(40 * self.design.num_orders):  # few rows have few orders
            if len(orders) == self.design.num_orders:
                break
            seed = derive_seed(self.seed, "order", number)
            orders[tuple(order_demonstrations(drawn, seed))] = None
        if len(orders) < 2:
            self.left_out["order"] = f"{len(drawn)} demonstrations have one order"
            return
        if len(orders) < self.design.num_orders:
            text = f"{len(orders)} orders of {len(drawn)} demonstrations, not "
            self.notes[f"{text}{self.design.num_orders}: more were not found"] = None
        for number, order in enumerate(orders):
            prompt = replace(self.prompt, demonstrations=order)
            self.add("order", f"order {number + 1}", place=number, repetition=0, prompt=prompt,
                     estimate=self.pool(0))  # fmt: skip

    def proportions(self) -> None:
        shots = self.design.proportion_shots
        if not shots:
            self.left_out["proportion"] = "no demonstrations have no proportions"
            return
        few = {
            label: len({row.texts for row in self.train if row.label == label})
            for label in range(self.prompt.num_labels)
        }
        wanted = [class_counts(shots, self._shares(share)) for share in self.design.proportions]
        for label, there in few.items():
            if (most := max(counts[label] for counts in wanted)) > there:
                self.left_out["proportion"] = (
                    f"{there} rows of class {label} for up to {most} demonstrations of it"
                )
                return
        for share in self.design.proportions:
            for r in range(self.design.proportion_draws):
                seed = derive_seed(self.seed, "proportion", repr(share), r)
                shown = tuple(
                    draw_demonstrations(
                        self.train, num=self.design.proportion_shots, seed=seed,
                        proportions=self._shares(share),
                    )
                )  # fmt: skip
                prompt = replace(self.prompt, demonstrations=shown)
                self.add("proportion", _percent(share), place=share, repetition=r, prompt=prompt,
                         estimate=self.pool(r % self.design.num_seeds, shown))  # fmt: skip

    def estimate_proportions(self) -> None:
        """Sets of one size whose shares differ, out of each repetition's estimate set."""
        pools = [self.pool(r) for r in range(self.design.num_seeds)]
        shares = self.design.estimate_shares
        parts = [_parted(pool, self.design.leading) for pool in pools]
        size = min(
            int(min(len(own) / max(*shares, 1e-9), len(rest) / max(1 - min(shares), 1e-9)))
            for own, rest in parts
        )
        if size < self.prompt.num_labels:
            self.left_out["estimate-proportion"] = "too few texts of a class to estimate from"
            return
        self.notes[f"sets of {size} texts each for the proportions of the estimate set"] = None
        for share in shares:
            for r, (own, rest) in enumerate(parts):
                seed = derive_seed(self.seed, "estimate-proportion", repr(share), r)
                generator = np.random.default_rng(seed)
                number = min(max(round(share * size), size - len(rest)), len(own))
                chosen = [*_some(own, number, generator), *_some(rest, size - number, generator)]
                self.add("estimate-proportion", _percent(share), place=share, repetition=r,
                         prompt=self.base(r), estimate=chosen)  # fmt: skip

    def estimate_sizes(self) -> None:
        """Sets of growing size, out of the estimate set of one prompt."""
        pool, num_labels = self.pool(0), self.prompt.num_labels
        sizes = {min(size * num_labels, len(pool)) for size in self.design.estimate_sizes}
        for size in sorted(sizes):
            for r in range(self.design.num_seeds):
                seed = derive_seed(self.seed, "estimate-size", size, r)
                chosen = _some(pool, size, np.random.default_rng(seed))
                self.add("estimate-size", str(size), place=size, repetition=r,
                         prompt=self.base(0), estimate=chosen)  # fmt: skip

    def _shares(self, share: float) -> list[float]:
        """The leading class's share; the others keep theirs among themselves."""
        others = self.natural.copy()
        others[self.design.leading] = 0
        total = others.sum()
        shares = (1 - share) * (others / total if total else others)
        shares[self.design.leading] = share
        return shares.tolist()


def _parted(rows: Sequence[LabelledRow], label: int) -> tuple[list[LabelledRow], list[LabelledRow]]:
    return [r for r in rows if r.label == label], [r for r in rows if r.label != label]


def _some(
    rows: Sequence[LabelledRow], number: int, generator: np.random.Generator
) -> list[LabelledRow]:
    chosen = generator.choice(len(rows), size=number, replace=False) if number else []
    return [rows[int(place)] for place in chosen]


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _check(
    design: StudyDesign,
    prompt: LabelPrompt,
    variants: Mapping[str, LabelPrompt],
    train: Sequence[LabelledRow],
) -> None:
    for name, variant in variants.items():
        if (variant.num_labels, variant.num_texts) != (prompt.num_labels, prompt.num_texts):
            raise VesaliusError(
                given=f"template {name!r} for {variant.num_labels} classes of {variant.num_texts} "
                "texts",
                expected=f"{prompt.num_labels} classes of {prompt.num_texts}, as the usual prompt",
                fix="give one label word for every class",
            )
    if strange := [row.label for row in train if not 0 <= row.label < prompt.num_labels]:
        raise VesaliusError(
            given=f"a row of train with label {strange[0]}",
            expected=f"a class from 0 to {prompt.num_labels - 1} for each",
            fix="leave rows without a label out",
        )
    if design.leading >= prompt.num_labels:
        raise VesaliusError(
            given=f"leading={design.leading}",
            expected=f"a class from 0 to {prompt.num_labels - 1}",
            fix="use leading=0",
        )
