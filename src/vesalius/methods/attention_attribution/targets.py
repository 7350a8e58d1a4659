"""What is attributed for each text: the predicted class, a named one, or a word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.encoding import one_token
from vesalius.models.objectives import Objective, TargetKind, token_objective
from vesalius.models.specimen import Specimen

Target = str | int
_CLASSIFIERS = ("classifier", "image-classifier")


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """A class or word for every text, by index [batch]; None is the predicted one, or none."""

    targets: Int[Tensor, " batch"] | None
    foils: Int[Tensor, " batch"] | None

    def select(self, texts: Int[Tensor, " some"]) -> "Asked":
        """Keep those of some texts, indices [some]."""
        return Asked(
            targets=None if self.targets is None else self.targets[texts],
            foils=None if self.foils is None else self.foils[texts],
        )


def ask(
    specimen: Specimen,
    num_texts: int,
    *,
    targets: Target | Sequence[Target] | None,
    foils: Target | Sequence[Target] | None,
    kind: TargetKind,
) -> Asked:
    """Look up the classes or words that a user named; shapes [batch].

    Raises:
        VesaliusError: an unknown class, a word of several tokens, another number of them than of
            texts, or a foil for a target that has none.

    Source: this project.
    """
    if foils is not None and kind != "logit-difference":
        raise VesaliusError(
            given=f"a foil with target={kind!r}",
            expected="a foil for logit-difference, and for nothing else",
            fix="drop it, or ask for config=AttributeConfig(target='logit-difference')",
        )
    return Asked(
        targets=_looked_up(specimen, targets, num_texts, "targets"),
        foils=_looked_up(specimen, foils, num_texts, "foils"),
    )


def settle(
    asked: Asked, logits: Float[Tensor, "batch vocab"], *, kind: TargetKind, name: str
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"] | None, Objective]:
    """Settle targets, foils and the function that the gradient is taken of, from clean logits.

    The target that was not named is the predicted one, the foil that was not named the best of
    the others.

    Returns:
        Targets [batch], foils [batch] or None, and the objective.

    Raises:
        VesaliusError: one single class, of which a probability says nothing, logits that are no
            numbers, or a foil that is the target.

    Source: arXiv 2004.11207, section 3 and its code (predicted class for explanations, gold class
    for head importance).
    """
    if bool(torch.isnan(logits).any()):
        raise VesaliusError(
            given=f"{name}: logits that are not a number (NaN)",
            expected="a model whose answers are finite",
            fix="open it with dtype float32",
        )
    if logits.shape[1] == 1 and kind != "logit":
        raise VesaliusError(
            given=f"{name}: a head with one label (regression), and target={kind!r}",
            expected="two classes or more: the probability of a single one is always 1",
            fix="ask for its value with AttributeConfig(target='logit') (--target logit)",
        )
    targets = logits.argmax(1) if asked.targets is None else asked.targets.to(logits.device)
    foils = None if asked.foils is None else asked.foils.to(logits.device)
    if kind == "logit-difference" and foils is None:
        foils = logits.scatter(1, targets.unsqueeze(1), -torch.inf).argmax(1)
    same = 0 if foils is None else int((foils == targets).sum())
    if same:
        raise VesaliusError(
            given=f"{name}: the target itself as its foil, in {same} texts",
            expected="another class or word than the target, which is the predicted one by default",
            fix="name both targets and foils, or leave the foils out",
        )
    return targets, foils, token_objective(targets, kind=kind, foils=foils)


def target_names(specimen: Specimen, indices: Sequence[int]) -> tuple[str, ...]:
    """Name classes or vocabulary entries by their index; no shapes.

    Source: the configuration of the model, or its tokenizer.
    """
    if specimen.task in _CLASSIFIERS:
        names: dict[Any, str] = getattr(specimen.model.config, "id2label", None) or {}
        return tuple(str(names.get(i, i)) for i in indices)
    if specimen.tokenizer is None:
        return tuple(map(str, indices))
    return tuple(str(specimen.tokenizer.decode([i])).strip() for i in indices)


def class_index(specimen: Specimen, target: Target) -> int:
    """Look up a class by name or number; no shapes.

    Raises:
        VesaliusError: the model has no such class.

    Source: the configuration of the model.
    """
    names: dict[int, str] = dict(getattr(specimen.model.config, "id2label", None) or {})
    if isinstance(target, str):
        # several classes may differ by case alone; only then case counts
        exact = [i for i, name in names.items() if name == target]
        found = exact or [i for i, name in names.items() if name.lower() == target.lower()]
        if not found and target.isdigit():
            found = [int(target)] if int(target) in names else []
    else:
        found = [int(target)] if int(target) in names else []
    if len(found) != 1:
        raise VesaliusError(
            given=f"class {target!r} of {specimen.name}",
            expected=f"one of {', '.join(map(str, names.values()))}, or 0 to {len(names) - 1}",
            fix="name one of them",
        )
    return found[0]


def _looked_up(
    specimen: Specimen, wanted: Target | Sequence[Target] | None, num_texts: int, name: str
) -> Tensor | None:
    if wanted is None:
        return None
    each = [wanted] * num_texts if isinstance(wanted, str | int) else list(wanted)
    if len(each) != num_texts:
        raise VesaliusError(
            given=f"{len(each)} {name} for {num_texts} texts",
            expected="one for all, or one for each",
            fix=f"pass {name}={each[0] if each else None!r} for all of them",
        )
    if specimen.task in _CLASSIFIERS:
        found = [class_index(specimen, one) for one in each]
    else:
        known = {
            one: one_token(specimen, one) for one in dict.fromkeys(each) if isinstance(one, str)
        }
        found = [known[one] if isinstance(one, str) else int(one) for one in each]
    num_vocab = specimen.parts.num_vocab
    if unknown := [i for i in found if i < 0 or (num_vocab is not None and i >= num_vocab)]:
        raise VesaliusError(
            given=f"token {unknown[0]} in {name}",
            expected=f"a word, or its number in the vocabulary, 0 to {(num_vocab or 1) - 1}",
            fix="name the word itself",
        )
    return torch.tensor(found, device=specimen.device)
