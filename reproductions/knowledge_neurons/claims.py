"""Each claim with its numbers, and whether these numbers bear it out, by a rule that is written."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
FAR = 5.0  # "far more": at least so many times; our own choice, the paper names none
YES, NO, IN_SIGN = "yes", "**no**", "in sign, not by far"
Claim = tuple[str, str, str]


def claims(result: Result) -> list[Claim]:
    """Give claim, verdict and numbers; a claim that was not measured is left out."""
    return [
        *_turned(result),
        *_beside_active(result["sizes"]),
        *_shared(result),
        _layers(result),
        *_updated(result["update"]),
        *([_erased(result["erase"])] if result["erase"] else []),
        *_told(result["tell"]["attribution"]),
    ]


def _turned(result: Result) -> list[Claim]:
    told: list[Claim] = []
    for factor, verb, sign in (("0", "suppressing lowers", -1), ("2", "doubling raises", 1)):
        own, crossed, random = result["turn"][f"attribution x{factor}"]["overall"]
        baseline = result["turn"][f"activation x{factor}"]["overall"][0]
        odds = result["odds"]["kinds"]
        for name, other in (("crossed", crossed), ("random", random), ("by activation", baseline)):
            if other is None:
                continue
            control = {"crossed": "on facts of another relation", "random": "of random neurons"}
            told.append(
                (
                    f"{verb} the gold probability far more than that "
                    f"{control.get(name, 'of neurons chosen by activation')}",
                    _more(own, other, sign=sign),
                    f"{_percent(own)} against {_percent(other)}",
                )
            )
        pair = [odds[f"{kind} x{factor}"]["log_odds"] for kind in ("attribution", "random")]
        told.append(
            (
                f"{verb} the log-odds far more than those of random neurons",
                _more(*pair, sign=sign),
                f"{pair[0][0]:+.3f} against {pair[1][0]:+.3f} nats",
            )
        )
    return told


def _beside_active(sizes: Result) -> list[Claim]:
    """The hardest control: neurons as active, whichever way they move the answer."""
    told: list[Claim] = []
    place = sizes["sizes"].index(4)  # the paper's mean number of neurons
    for number, verb in enumerate(("suppressed", "doubled")):
        own, active = (sizes["kinds"][kind][number][place] for kind in ("located", "active"))
        times = abs(own[0]) / max(abs(active[0]), 1e-9)
        told.append(
            (
                f"four neurons {verb} move the gold probability far more than four as active, "
                "either way",
                YES if times >= FAR else f"{times:.1f} times",
                f"{_percent(own)} against {_percent(active)}",
            )
        )
    return told


def _more(own: Sequence[float], other: Sequence[float], *, sign: int) -> str:
    """Judge an effect beside another: of the right sign, apart from it, and far larger."""
    low, high = (min(sign * own[1], sign * own[2]), max(sign * other[1], sign * other[2]))
    if low <= 0 or low <= high:
        return NO
    return YES if sign * own[0] >= FAR * sign * other[0] else IN_SIGN


def _shared(result: Result) -> list[Claim]:
    own, baseline = result["count"]["attribution"], result["count"]["activation"]
    if own["intra"] is None or own["inter"] is None:
        return []
    intra, inter = own["intra"], own["inter"]
    return [
        (
            "facts of two relations share far fewer neurons than facts of one",
            _more(intra, inter, sign=1),
            f"{inter[0]:.3f} against {intra[0]:.3f}, {intra[0] / max(inter[0], 1e-9):.1f} times",
        ),
        (
            "neurons chosen by activation are shared more across relations",
            YES if baseline["inter"][1] > inter[2] else NO,
            f"{baseline['inter'][0]:.3f} against {inter[0]:.3f}",
        ),
    ]


def _layers(result: Result) -> Claim:
    counts = result["count"]["attribution"]["layers"]
    upper = sum(counts[len(counts) // 2 :]) / max(sum(counts), 1)
    told = f"{upper:.0%} in the upper half, {counts[-1] / max(sum(counts), 1):.0%} in the last"
    return (
        "three quarters of the neurons or more lie in the upper layers",
        _holds(upper > 0.75),
        told,
    )


def _updated(update: Result) -> list[Claim]:
    measures = update["unshared"]["measures"]
    told: list[Claim] = []
    for name, key in (("change", "old_answer_gone, forced"), ("success", "reliability, forced")):
        found = measures[key]
        control = found["control"]
        beats = found["interval"][0] > (control[2] or 0.0)
        told.append(
            (
                f"an update beats the same edit of random neurons: {name} rate",
                "cannot tell: it said something else before"
                if found["before"] > 0.5
                else _holds(beats),
                f"{found['after']:.1%} against {control[0]:.1%}",
            )
        )
    for name, key in (("its relation", "same_relation"), ("other relations", "other_relations")):
        found = measures[f"{key}, perplexity"]
        rise, other = (value - found["before"] for value in (found["after"], found["control"][0]))
        told.append(
            (
                f"an update harms other facts of {name} no more than random neurons do",
                _holds(rise <= other),
                f"perplexity {rise:+.2f} against {other:+.2f}, from {found['before']:.2f}",
            )
        )
    return told


def _erased(erased: Sequence[Result]) -> Claim:
    pairs: list[tuple[float, float]] = []
    for each in erased:
        found = [
            each["measures"][f"{name}_relation{'s' if name == 'other' else ''}, perplexity"]
            for name in ("erased", "other")
        ]
        own, other = (part["after"] / part["before"] - 1 for part in found)
        pairs.append((own, other))
    count = sum(own > 0 and own >= FAR * abs(other) for own, other in pairs)
    told = ", ".join(
        f"{each['relation']} {own:+.1%} against {other:+.1%}"
        for each, (own, other) in zip(erased, pairs, strict=True)
    )
    claim = "erasing raises the relation's perplexity far more than that of the others"
    verdict = _holds(count == len(pairs))
    return claim, verdict if count in (0, len(pairs)) else f"in {count} of {len(pairs)}", told


def _told(tell: Result) -> list[Claim]:
    told: list[Claim] = []
    for way, words in (("signed", "value"), ("magnitude", "size without sign")):
        means = {each["kind"]: each["mean"] for each in tell[way]["kinds"]}
        own, alone, random = (means.get(k) for k in ("head-and-tail", "head-only", "random"))
        if own is None or alone is None or random is None:
            continue
        told.append(
            (
                f"texts with head and tail activate the neurons most, by {words}",
                _holds(own[1] > max(alone[2], random[2])),
                ", ".join(
                    f"{kind} {value[0]:.3f}" for kind, value in means.items() if value is not None
                ),
            )
        )
        within = tell[way]["within_facts"]
        rho = "-" if within is None else f"{within[0]:+.2f} ({within[1]:+.2f} to {within[2]:+.2f})"
        told.append(
            (
                f"within a fact's texts activation goes with gold probability, by {words}",
                _holds(within is not None and within[1] > 0),
                f"mean rho {rho}",
            )
        )
    return told


def _holds(yes: bool) -> str:
    return YES if yes else NO


def _percent(found: Sequence[float]) -> str:
    return f"{100 * found[0]:+.2f} %"
