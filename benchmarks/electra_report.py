"""The written report of ``benchmarks/electra.py``, from its numbers."""

from collections.abc import Iterator
from typing import Any

Found = dict[str, Any]
PLAIN = "composition"
WANTED = {"real lengths": 2.0, "no padding": 1.2}
HIGHEST_COST, LEAST_SPEEDUP, LEAST_SHARE = 0.08, 1.6, 0.4

NOTES = """\
## What was compared

- **ours**: `vesalius.training.loop.train` on `ReplacedTokenObjective` and `ReplacedBatches`: \
packed rows of several texts, none of which sees another; logits at the slots alone, drawn from \
in pieces; one micro-batch a step. With its log lines, without evaluation and checkpoint.
- **composition**: `ElectraForMaskedLM` and `ElectraForPreTraining` with one embedding module, as \
one puts them together: logits at every position, both losses as the classes compute them, a \
replacement drawn at every label, in a plain loop. Texts in random order, one a row. In its \
favour: its batches are made and masked before the clock runs, no loss is read, rows are padded \
to the batch's longest text only.
- **ours, compiled**: both encoders through `torch.compile`, on GPUs and with `--compile`.
- **composition, eager attention**: the same with the attention that ours has on a CPU, where \
torch's fused one is slow backwards in bf16; it is not what the library chooses.
- The same for all: sizes, first weights (tied embeddings), texts, 15 % of slots, bf16 autocast, \
fused AdamW, weight decay, clipping at norm 1, constant learning rate, no dropout. A batch of the \
composition has as many texts as a step of ours has on average, so a step has the same tokens. \
Different: of the slots ours shows 15 % to the generator; the library's collator shows 10 % and \
changes 10 %.
- **tokens/s** counts tokens that are no padding, from the end of the last warm-up step to the \
end of the last step. Ways take turns, the order alternates, ratios are taken round by round; \
each round has other batches; a way's model lives on from round to round.
- **loss after**: generator's and 50 times the discriminator's, computed by the composition on \
one batch that no run had: the check that all ways learn the same.
- **share**: useful operations (matrix products and attention of full rows, forward and twice \
that backward, logits at the slots) a second, over the measured rate of bf16 matrix products.
"""


def markdown(report: Found) -> str:
    """The report as a page of Markdown."""
    parts = report["parts"]
    lines = [
        f"# Replaced-token pretraining: tokens a second, {report['date']}", "",
        "| part | measured | command | commit | device | rounds | seconds |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, part in parts.items():
        lines.append(
            f"| {name} | {part['measured']} | `{part['command']}` | {part['versions']['commit']} | "
            f"{part['device']} | {part['rounds']} | {part['part_seconds']:.0f} |"
        )
    first = next(iter(parts.values()))
    machine = first["machine"]
    half = ("" if machine["bf16_products"] else "no ") + "bf16 products in hardware"
    where = f"{machine['cpu']}, {machine['instructions']}, {half}, {machine['threads']} threads"
    where = f"{machine['gpu']}; {where}" if "gpu" in machine else where
    versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items() if k != "commit")
    lines += ["", f"{where}; {versions}. Texts: {first['texts']}.", ""]
    if report["quick"]:
        lines += ["**A quick run of tiny models: the numbers say nothing.**", ""]
    lines += [*_asked(parts), NOTES]
    lines += [line for name, part in parts.items() for line in _SECTIONS[name](part["found"])]
    return "\n".join(lines)


def _asked(parts: Found) -> list[str]:
    lines = ["## Asked for, and found", "", "| what | asked for | found | |", "|---|---|---|---|"]
    for what, wanted, shown, met in _found(parts):
        lines.append(f"| {what} | {wanted} | {shown} | {'yes' if met else '**no**'} |")
    return [*lines, ""]


def _found(parts: Found) -> Iterator[tuple[str, str, str, bool]]:
    composed = parts.get("composition", {}).get("found", {})
    for name, case in composed.items():
        for texts, least in WANTED.items():
            for rival, ratio in case[texts]["ratios"].items():
                what = f"{name}, {texts}: times the tokens/s of the {rival}"
                yield what, f"{least:g}", _spread(ratio), ratio["median"] >= least
    if "base" in composed:
        ways = composed["base"]["no padding"]["ways"].items()
        shares = [numbers["shares"] for way, numbers in ways if way.startswith("ours")]
        name = next(iter(shares[0]))
        share = max(each[name] for each in shares)
        where = "on a GPU" if parts["composition"]["device"] != "cpu" else "(asked of GPUs)"
        wanted = f"{LEAST_SHARE:.0%} {where}"
        yield (
            f"base, no padding: share of {name} bf16",
            wanted,
            f"{share:.1%}",
            share >= LEAST_SHARE,
        )
    for name, case in parts.get("hardness", {}).get("found", {}).items():
        for way, cost in case["costs"].items():
            met = cost["median"] < HIGHEST_COST
            what = f"{name}: cost of {way} over plain"
            yield what, f"below {HIGHEST_COST:.0%}", _spread(cost, form=".1%"), met
    for name, case in parts.get("loading", {}).get("found", {}).items():
        shown = f"{case['times']:.0f} times what is used; {case['waited_share']:.1%} waiting"
        yield f"{name}: batches made", "never the bottleneck", shown, case["times"] > 1
    if found := parts.get("processes", {}).get("found"):
        ratio = found["ratio"]
        what = "two processes of one thread: times one"
        yield what, f"{LEAST_SPEEDUP:g}", _spread(ratio), ratio["median"] >= LEAST_SPEEDUP


def _composition(found: Found) -> list[str]:
    lines: list[str] = []
    for name, case in found.items():
        lines += [f"## composition: {name}", "", _what(case), ""]
        lines += ["| measured bf16 matrix products | |", "|---|---|"]
        lines += [f"| {what} | {rate / 1e9:.4g} Gop/s |" for what, rate in case["rates"].items()]
        for texts in WANTED:
            lines += ["", *_compared(texts, case[texts])]
        lines.append("")
    return lines


def _compared(name: str, found: Found) -> list[str]:
    shares = next(iter(found["ways"].values()))["shares"]
    lines = [
        f"### {name.capitalize()}", "",
        f"{found['num_texts']:,} texts of {found['mean_length']:.1f} tokens; "
        f"{found['texts_a_batch']} in a batch of the composition. Loss before: "
        f"{found['loss_before']:.2f}.", "",
        "| | tokens/s: median (min to max) | ours is times faster | padding | tokens a step | loss "
        f"after | {' | '.join(f'share of {rate}' for rate in shares)} |",
        "|---|---|---|---|---|---" + "|---" * len(shares) + "|",
    ]  # fmt: skip
    for way, numbers in found["ways"].items():
        cells = [
            way,
            _spread(numbers["tokens_per_second"], form=",.0f"),
            _spread(found["ratios"][way]) if way in found["ratios"] else "",
            f"{numbers['padding_share']:.1%}",
            f"{numbers['tokens_a_step']:,.0f}",
            f"{numbers['loss_after']:.2f}",
            *(f"{share:.1%}" for share in numbers["shares"].values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _hardness(found: Found) -> list[str]:
    lines = ["## hardness", ""]
    for name, case in found.items():
        lines += [
            f"{name}: {_what(case)} No padding.", "",
            "| | tokens/s: median (min to max) | cost over plain |", "|---|---|---|",
        ]  # fmt: skip
        for way, numbers in case["ways"].items():
            cost = _spread(case["costs"][way], form=".1%") if way in case["costs"] else ""
            speed = _spread(numbers["tokens_per_second"], form=",.0f")
            lines.append(f"| {way} | {speed} | {cost} |")
        lines.append("")
    return lines


def _loading(found: Found) -> list[str]:
    lines = [
        "## loading", "",
        "Batches at real lengths made one after the other in one thread, beside the training that "
        "uses them.", "",
        "| | rows a batch | made, tokens/s | used, tokens/s | times | share of the time spent "
        "waiting |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, case in found.items():
        lines.append(
            f"| {name} | {case['rows']} of {case['length']} | "
            f"{case['made_tokens_per_second']:,.0f} | {case['used_tokens_per_second']:,.0f} | "
            f"{case['times']:.0f} | {case['waited_share']:.2%} |"
        )
    return [*lines, ""]


def _processes(found: Found) -> list[str]:
    ours, one = found["ours_seconds"], found["rival_seconds"]
    losses = " and ".join(f"{loss:.5f}" for loss in found["losses"].values())
    return [
        "## processes", "",
        "The small shape, two micro-batches a step, shared out by DDP over gloo.", "",
        "| two processes, s a step | one, s | ratio (min to max) | last loss of one and of two |",
        "|---|---|---|---|",
        f"| {ours['median']:.3g} | {one['median']:.3g} | {_spread(found['ratio'])} | {losses} |",
        "",
    ]  # fmt: skip


def _gains(found: Found) -> list[str]:
    lines = ["## gains", "", f"{_what(found)} Each way beside the one above it.", ""]
    for texts in ("no padding", "real lengths"):
        rungs = dict(found[texts])
        gains = rungs.pop("gains")
        lines += [
            f"| {texts} | tokens/s: median (min to max) | times the one above | padding |",
            "|---|---|---|---|",
        ]
        for way, numbers in rungs.items():
            speed = _spread(numbers["tokens_per_second"], form=",.0f")
            gain = _spread(gains[way]) if way in gains else ""
            lines.append(f"| {way} | {speed} | {gain} | {numbers['padding_share']:.1%} |")
        lines.append("")
    return lines


def _what(case: Found) -> str:
    return (
        f"{case['what']}; ours with {case['attention']} attention. Steps of {case['rows']} rows "
        f"of {case['length']} tokens; {case['warmup_steps']} for warm-up, {case['num_steps']} "
        "measured in a round."
    )


def _spread(numbers: Found, *, form: str = ".2f") -> str:
    low, high = format(numbers["min"], form), format(numbers["max"], form)
    return f"{format(numbers['median'], form)} ({low} to {high})"


_SECTIONS = {
    "composition": _composition,
    "hardness": _hardness,
    "loading": _loading,
    "processes": _processes,
    "gains": _gains,
}
