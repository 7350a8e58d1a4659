"""Each claim with its numbers, and whether these numbers bear it out, by a rule that is written."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
FAR = 5.0  # "far more": at least so many times
Claim = tuple[str, str, str]


def claims(result: Result) -> list[Claim]:
    """Give claim, verdict and numbers; a claim that was not measured is left out."""
    return [
        *_turned(result),
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
        controls = [each for each in (crossed, random) if each is not None]
        sure = min(sign * own[1], sign * own[2]) > 0
        far = all(abs(own[0]) >= FAR * abs(each[0]) for each in controls)
        words = ", ".join(
            f"{name} {_percent(each)}"
            for name, each in (("own", own), ("crossed", crossed), ("random", random))
            if each is not None
        )
        told.append(
            (
                f"{verb} the gold probability, {FAR:g} times as much as both controls or more",
                _holds(sure and far),
                words,
            )
        )
        apart = min(sign * own[1], sign * own[2]) > max(sign * baseline[1], sign * baseline[2])
        told.append(
            (
                f"{verb} it more than for neurons chosen by activation",
                _holds(apart),
                f"KN {_percent(own)}, activation {_percent(baseline)}",
            )
        )
        odds = result["odds"]["kinds"]
        own_odds, other = odds[f"attribution x{factor}"], odds[f"random x{factor}"]
        far = abs(own_odds["log_odds"][0]) >= FAR * abs(other["log_odds"][0])
        sure = min(sign * own_odds["log_odds"][1], sign * own_odds["log_odds"][2]) > 0
        told.append(
            (
                f"the same in log-odds: {verb} them {FAR:g} times as much as random ones or more",
                _holds(sure and far),
                f"own {_nats(own_odds['log_odds'])}, random {_nats(other['log_odds'])}",
            )
        )
    return told


def _shared(result: Result) -> list[Claim]:
    own, baseline = result["count"]["attribution"], result["count"]["activation"]
    if own["intra"] is None or own["inter"] is None:
        return []
    intra, inter = own["intra"], own["inter"]
    return [
        (
            f"facts of two relations share {FAR:g} times fewer neurons than facts of one, or less",
            _holds(inter[2] < intra[1] and intra[0] >= FAR * inter[0]),
            f"{inter[0]:.3f} against {intra[0]:.3f}",
        ),
        (
            "neurons chosen by activation are shared more across relations",
            _holds(baseline["inter"][1] > inter[2]),
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
        told.append(
            (
                f"an update beats the same edit of random neurons: {name} rate",
                _holds(found["interval"][0] > (control[2] or 0.0)),
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
    claim = f"erasing raises the relation's perplexity {FAR:g} times as much as others', or more"
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
    return "yes" if yes else "**no**"


def _percent(found: Sequence[float]) -> str:
    return f"{100 * found[0]:+.2f} %"


def _nats(found: Sequence[float]) -> str:
    return f"{found[0]:+.3f}"
