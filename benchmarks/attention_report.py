"""The written report of ``benchmarks/attention.py``, from its numbers."""

from collections.abc import Callable
from typing import Any

Found = dict[str, Any]

NOTES = """\
## What was measured

- Everything goes through `vesalius.attention` in fp32. Random models have BERT-base's shape (12
  layers, 12 heads, 768 wide, two classes) and weights of std 0.03, so that curves bend; their texts
  are random tokens without padding. Probing a model (once per model) is not timed.
- **engine**: `attribute` of one text (Radau 8, refined; target, fingerprint, run card and the
  copies into the result included) beside `attribute_attention` on the same batch and rules. What
  the engine does beside the paper's own way is in the report of `attribution.py`.
- **importance**: `head_importance` (Radau 8, no refinement, all eight poolings, no baselines) over
  some texts in one call, beside a call for each. *floor*: counted operations over the measured
  matrix-product rate of a block's linear maps on 512 rows.
- **workers**: two processes of one thread, half of the texts each, beside one process of two
  threads with all of them: what the resumable sweep offers on two cores.
- **memory**: one text of 512 tokens in a fresh process per budget, Radau 8; *grown* is the peak of
  the resident memory during the call less what was resident before, results (attributions and
  probabilities of 144 heads) included.
- **pruning**: six heads of twelve cut in every layer, not the same ones; *attention* is the time
  inside the attention sub-blocks with their projections, taken with hooks.
- Runs take turns, ratios are taken round by round.
"""

EXPECTED = """\
## Expected before the first run

1. engine: one forward pass and the fingerprint more, out of some 600 block passes each way: 1.05.
2. importance: a single text of 32 tokens already stands as 96 copies (3,072 rows) in the products
   of the upper layers, so a batch can only mend the lower ones: 1.0 to 1.15 at BERT-base shape, and
   **the 1.5 that is asked for out of reach on products that run at their rate**. mini-classifier
   waits for Python with a single text: 2 or more.
3. workers: 1.1 to 1.4, for two threads share small products badly.
4. memory: under the budget plus the results.
5. pruning: the attention linears are a third of a block: 12 to 20 % of the whole, about half of the
   attention.
"""


def markdown(report: Found) -> str:
    """The report as a page of Markdown."""
    parts = report["parts"]
    sections = [_head(report), _requirements(parts), EXPECTED, NOTES]
    sections += [_SECTIONS[name](part["found"]) for name, part in parts.items()]
    return "\n".join(sections)


def _head(report: Found) -> str:
    lines = [
        f"# Self-attention attribution: time, memory, pruning, {report['date']}",
        "",
        "| part | measured | command | commit | rounds | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in report["parts"].items():
        lines.append(
            f"| {name} | {part['measured']} | `{part['command']}` | {part['versions']['commit']} "
            f"| {part['rounds']} | {part['part_seconds']:.0f} |"
        )
    last = list(report["parts"].values())[-1]
    versions = ", ".join(f"{k} {v}" for k, v in last["versions"].items() if k != "commit")
    machine = ", ".join(f"{k} {v}" for k, v in last["machine"].items())
    return "\n".join([*lines, "", f"{versions}. {machine}.", ""])


def _requirements(parts: Found) -> str:
    rows: list[str] = []
    for name, found in parts.get("importance", {}).get("found", {}).items():
        if "BERT-base" in name:
            ratio = found["ratio"]["median"]
            most = found["rival_seconds"]["median"] / found["floor_seconds"]
            met = "met" if ratio >= 1.5 else "**missed**"
            rows.append(
                f"| one call over one by one, {name} | 1.5 | {ratio:.2f}; {most:.2f} if the one "
                f"call ran at the product rate | {met} |"
            )
    if "workers" in parts:
        ratio = parts["workers"]["found"]["ratio"]["median"]
        rows.append(f"| two workers over one process of two threads | - | {ratio:.2f} | |")
    for budget, found in parts.get("memory", {}).get("found", {}).items():
        if found["grown"] is not None:
            grown = (found["grown"] - found["results"]) / 2**20
            rows.append(f"| peak at 512 tokens, results left out, under {budget} | {budget} | "
                        f"{grown:.0f} MiB | |")  # fmt: skip
    head = ["## What was asked for", "", "| what | asked | found | |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _times(found: Found) -> str:
    ours, rival, ratio = (found[n] for n in ("ours_seconds", "rival_seconds", "ratio"))
    return (
        f"{ours['median']:.3f} | {rival['median']:.3f} | {ratio['median']:.2f} "
        f"({ratio['min']:.2f} to {ratio['max']:.2f})"
    )


def _engine(found: Found) -> str:
    lines = [
        "## engine",
        "",
        "| tokens | `attribute` s | engine s | engine over `attribute` | error | gap |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {tokens} | {_times(each)} | {each['error']:.0e} | {each['gap']:.0e} |"
        for tokens, each in found.items()
    ]
    return "\n".join([*lines, ""])


def _importance(found: Found) -> str:
    lines = [
        "## importance",
        "",
        "| texts | number | together s | one by one s | ratio | texts/s | Gop | floor s | error |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, each in found.items():
        rate = each["texts_per_second"]["together"]
        lines.append(
            f"| {name} | {each['texts']} | {_times(each)} | {rate:.2f} | "
            f"{each['operations'] / 1e9:.0f} | {each['floor_seconds']:.2f} | {each['error']:.0e} |"
        )
    return "\n".join([*lines, ""])


def _workers(found: Found) -> str:
    return (
        "## workers\n\n"
        f"{found['texts']} texts of {found['tokens']} tokens.\n\n"
        "| two processes s | one process s | ratio |\n|--:|--:|--:|\n"
        f"| {_times(found)} |\n"
    )


def _memory(found: Found) -> str:
    lines = [
        "## memory",
        "",
        "| budget | grown MiB | of it results MiB | seconds | sum of attributions |",
        "|---|--:|--:|--:|--:|",
    ]
    for budget, each in found.items():
        grown = "-" if each["grown"] is None else f"{each['grown'] / 2**20:.0f}"
        lines.append(
            f"| {budget} | {grown} | {each['results'] / 2**20:.0f} | {each['seconds']:.1f} | "
            f"{each['sum']:.6f} |"
        )
    return "\n".join([*lines, ""])


def _pruning(found: Found) -> str:
    before, after = found["weights"]
    lines = [
        "## pruning",
        "",
        f"Weights: {before:,} before, {after:,} after.",
        "",
        "| texts x tokens | what | after s | before s | before over after |",
        "|---|---|--:|--:|--:|",
    ]
    for name, each in found.items():
        if name != "weights":
            lines += [
                f"| {name} | {part} | {_times(each[part])} |" for part in ("whole", "attention")
            ]
    return "\n".join([*lines, ""])


_SECTIONS: dict[str, Callable[[Found], str]] = {
    "engine": _engine,
    "importance": _importance,
    "workers": _workers,
    "memory": _memory,
    "pruning": _pruning,
}
