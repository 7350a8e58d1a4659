"""The written report of ``benchmarks/calibration.py``, from its numbers."""

from typing import Any

Found = dict[str, Any]
ASKED = {
    ("scoring", "last position"): (6, 10),
    ("scoring", "paper's code"): (12, None),
    ("trie", "a cached pass per word"): (6, None),
    ("trie", "a whole pass per word"): (30, None),
}

NOTES = """\
## What was measured

- An untrained model of GPT-2-small's shape (124 M weights, fp32), with the words of the bundled
  tokenizer: eight demonstrations, queries of equal kinds of words. Ours is the public function
  `score`, default options: tokenising every prompt, the fingerprint of the weights, the run card
  and the label mass (a softmax over the whole vocabulary) are in it. Probing a model, once per
  model, is not.
- Times are per query: ours over all queries of a call, the others over fewer (their time does not
  depend on the number). Runs take turns, ratios are taken round by round.
- **last position**: the whole prompt for every query, one run each, logits of the last position
  alone (`logits_to_keep=1`), no cache.
- **paper's code**: what the code line of arXiv 2205.10183 does for every prompt: `generate` of one
  greedy token, then a pass with the logits of all positions, which go to numpy; batches of one.
- **lm-evaluation-harness**: its `HFLM.loglikelihood` on the same model object, batches of 8; it
  scores both one-token words of a prompt in one pass.
- **a whole pass per word**: prompt and word, one run for every query and word.
  **a cached pass per word**: the prefix encoded once and shared, batches of 32, one run per word.
- **ways**: the three ways to read a prefix, the same plan. `joined` puts keys and values together
  layer by layer; `whole` runs batches of whole prompts.
- **operations**: counted while running, a multiplication and an addition as two. **floor**:
  operations over the matrix-product rate of the block's shapes, measured right before the part.
- *error*: largest difference of the log-probabilities, in nats.
- **memory**: in a fresh process, after a call with two queries: *grown* is the peak of the
  process's resident memory during the call, less what was resident before (Linux's VmHWM).
"""

EXPECTED = """\
## Expected before the first full run

Counted in tokens, 480 + 40 against 40 + 480/256 are 12.4 times. Attention over the prefix stays
(6 % of the operations at 12 layers of 768), the head is projected once per query (1 %): about 11
times fewer operations. One long query runs near the product rate already, a batch of short ones as
well: **11 times, less what merging costs; 10 is in reach**. The paper's way has two passes and the
head at all positions (31 % more operations): 2 x 1.3 x 11, less what its longer runs do better:
20 to 28 times. The tree: 14 (480 + 40) tokens against 54: 135 times fewer; a cached pass per word
computes 14 x 41 against 54: 10 times.
"""


def markdown(report: Found) -> str:
    """The report as a page of Markdown."""
    parts = report["parts"]
    lines = [
        f"# Scoring label words behind a shared prefix, {report['date']}", "",
        "| part | measured | command | commit | rounds | seconds |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, part in parts.items():
        lines.append(
            f"| {name} | {part['measured']} | `{part['command']}` | {part['versions']['commit']} | "
            f"{part['rounds']} | {part['part_seconds']:.0f} |"
        )
    first = next(iter(parts.values()))
    machine = first["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items() if k != "commit")
    lines += ["", f"{machine['cpu']}, {machine['instructions']}, {machine['threads']} threads; "
              f"{versions}.", ""]  # fmt: skip
    if report["quick"]:
        lines += ["**A quick run of a tiny model: the numbers say nothing.**", ""]
    lines += [_asked(parts), EXPECTED, NOTES]
    lines += [_SECTIONS[name](part) for name, part in parts.items()]
    return "\n".join(lines)


def _asked(parts: Found) -> str:
    lines = ["## Asked and found", "", "| what | asked | found |", "|---|---|---|"]
    for (part, name), (required, aim) in ASKED.items():
        if part in parts and name in parts[part]["found"]["cases"]:
            ratio = parts[part]["found"]["cases"][name]["ratio"]["median"]
            wanted = f"{required}" + (f" (aim {aim})" if aim else "")
            verdict = "" if ratio >= required else " **missed**"
            lines.append(f"| {part}: times {name} | {wanted} | {ratio:.1f}{verdict} |")
    return "\n".join([*lines, ""])


def _case_rows(part: Found) -> list[str]:
    found, rate = part["found"], part["rate"]
    ours = found.get("operations_per_query")
    lines = [
        "| way | ms a query | ours, ms | ratio (min to max) | Gop a query | floor, share of time | "
        "error, nats |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, case in found.get("cases", found).items():
        rival, mine, ratio = case["rival_seconds"], case["ours_seconds"], case["ratio"]
        operations = case.get("operations_per_query")
        share = "-" if operations is None else f"{operations / rate / rival['median']:.0%}"
        shown = "-" if operations is None else f"{operations / 1e9:.1f}"
        lines.append(
            f"| {name} | {1e3 * rival['median']:.1f} | {1e3 * mine['median']:.1f} | "
            f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) | {shown} | {share} "
            f"| {case['error']:.1e} |"
        )
    if ours is not None:
        case = next(iter(found["cases"].values()))
        seconds = case["ours_seconds"]["median"]
        lines.append(
            f"| ours | {1e3 * seconds:.1f} | | | {ours / 1e9:.2f} | {ours / rate / seconds:.0%} | |"
        )
    return [*lines, "", f"Matrix products: {rate / 1e9:.0f} Gop/s.", ""]


def _scoring(part: Found) -> str:
    found = part["found"]
    told = (
        f"{found['num_queries']} queries of {found['own_tokens']:.1f} tokens behind "
        f"{found['prefix_tokens']} shared ones (the others: {found['num_rival']} queries)."
    )
    return "\n".join(["## scoring", "", told, "", *_case_rows(part)])


def _trie(part: Found) -> str:
    found = part["found"]
    told = f"{found['num_labels']} words, {found['tree_tokens']} tokens in the tree."
    return "\n".join(["## trie", "", told, "", *_case_rows(part)])


def _ways(part: Found) -> str:
    told = "Ours is the way named, the other one `whole`; both in batches of 2,048 own tokens."
    return "\n".join(["## ways", "", told, "", *_case_rows(part)])


def _memory(part: Found) -> str:
    lines = [
        "## memory", "", "| run | grown, MiB | prefix, MiB | a copy a query, MiB | seconds |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, case in part["found"].items():
        grown = "-" if case["grown"] is None else f"{case['grown'] / 2**20:.0f}"
        lines.append(
            f"| {name} | {grown} | {case['prefix'] / 2**20:.1f} | {case['copied'] / 2**20:.0f} | "
            f"{case['seconds']:.1f} |"
        )
    return "\n".join([*lines, ""])


_SECTIONS = {"scoring": _scoring, "trie": _trie, "ways": _ways, "memory": _memory}
