"""The written report of ``benchmarks/landscape.py``, from its numbers."""

from collections.abc import Iterator
from typing import Any

Found = dict[str, Any]

EXPECTED = """\
## Expected before the first full run

- **Moving.** A new point reads the origin and two axes and writes the weights: 16 bytes a weight.
  That is 59 MB for the bundled classifier and 1.75 GB for BERT-base's shape, at the rate of
  copying all the time (the floor below); what is above it is Python, a few microseconds a tensor.
  Tensor by tensor it is a copy and two additions, 8 + 12 + 12 = 32 bytes: up to 2 times where a
  tensor does not stay in the cache, 1 where it does. A deep copy reads and writes the model (8),
  makes the new state with temporaries (two products 16, two sums 24) and copies it in (8): 56
  bytes, 3.5 times, more where new memory has to be mapped first: 4 to 8 times.
- **Points.** Sorted by length the opinions take 14.6 tokens each, padded ones 128; with attention
  9.5 times the operations. Longer products run nearer the rate: **6 to 9 times** at 512 and 4,096
  examples. Without padding only the deep copy is left over, from 1.2 times at 512 to hardly
  anything; at 32 examples it weighs as much as the pass: 2 to 4 times. The package moves in place:
  without padding about 1.
- **Groups.** With L blocks, a group that begins at block k runs L - k of them: 4 times fewer
  operations for the last of four layers (high), 1.33 for the upper three (middle begins at block
  1); embedding, head and Python run as before: 3 to 3.5 times, and 1.3.
- **Adaptive.** The surface spans 0.9 nats and bends everywhere by some hundredths of a nat: at a
  tolerance of 0.05 nats 300 to 450 of 1,600 points, 4 times fewer; at 0.02 half of them, below
  that hardly any are saved.
- **Stacked.** Gains where kernels are nearly empty: at 2,500 numbers a kernel and fewer, 2 to 6
  times; none above 15,000.
- **Workers.** Two processes without anything in common, one thread each: 1.8 to 2 times, less what
  two cores lose to each other in memory.
"""

ASKED = (
    # part, case, row, at least
    ("moving", "mini-classifier", "deep copy and load_state_dict", 3.0),
    ("moving", "BERT-base's shape", "deep copy and load_state_dict", 3.0),
    ("groups", None, "high", 2.0),
    ("workers", None, None, 1.7),
)
_POINTS_SAVED = 3.0  # times fewer points, at the tolerance that was timed

NOTES = """\
## What was measured

- The bundled `mini-classifier` (mini-bert fine-tuned, fp32), its encoder moved in the plane from
  mini-bert towards the classifier and along a random, filter-normalised direction; opinions of
  films from the package, repeated. Ours is `measuring_points`, which every public function runs on
  (loss and error of each example); what is done once per surface is not in the time: copying the
  frame, batching, probing a model for kept layers.
- Runs take turns, ratios are taken round by round: how many times longer the other way took.
- **deep copy and load_state_dict**: `copy.deepcopy(model)`, a new state from three dicts of
  tensors, `load_state_dict`: what two public re-implementations of the paper do at every point,
  without their reading from the disk and their way to a device and back.
  **in place, tensor by tensor**: copy the origin, add both axes, no deep copy.
- **padded to 128**: batches of 32 texts of 128 tokens, as those do; **our batches**: the very
  batches that ours runs. All ways have the attention kernel that is the fastest for short texts.
- **loss-landscapes**: `planar_interpolation` of that package through the same three models, with
  `deepcopy_model=True`, per point of its plane; it moves in place by repeated addition.
- **floor**: bytes over the rate of a large copy, measured right before; operations, counted while
  running (a multiplication and an addition as two), over the matrix-product rate of a block.
- *error*: of moving, the largest relative difference from the same sum in double precision; of
  points, the difference of the mean loss at one point, in nats, from a deep copy's; of groups
  likewise; of stacked points, the largest relative difference from one point after the other.
- **adaptive**: every point of the grid is evaluated once; refinement is then replayed on these
  values at several tolerances, so that the true misses of all filled points are known beside what
  the result states from its random checks. One tolerance is also timed.
- **workers**: from the moment when all are ready to the last shard on the disk.
"""


def markdown(report: Found) -> str:
    """The report as a page of Markdown."""
    parts = report["parts"]
    lines = [
        f"# Loss landscapes: points a second, {report['date']}", "",
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
        lines += ["**A quick run of small sizes: the numbers say nothing.**", ""]
    lines += [_asked(parts), EXPECTED, NOTES]
    lines += [_SECTIONS[name](part) for name, part in parts.items()]
    return "\n".join(lines)


def _asked(parts: Found) -> str:
    lines = ["## Asked and found", "", "| what | at least | found |", "|---|---|---|"]
    for what, wanted, ratio in _found_ratios(parts):
        verdict = "" if ratio >= wanted else " **missed**"
        lines.append(f"| {what} | {wanted:g} | {ratio:.1f}{verdict} |")
    return "\n".join([*lines, ""])


def _found_ratios(parts: Found) -> Iterator[tuple[str, float, float]]:
    for part, case, row, wanted in ASKED:
        found = parts.get(part, {}).get("found", {})
        found = found if case is None else found.get(case, {})
        found = found if row is None else found.get("cases", {}).get(row, {})
        if "ratio" in found:
            name = ", ".join(word for word in (part, case, row) if word)
            yield f"{name}: times", wanted, found["ratio"]["median"]
    if found := parts.get("adaptive", {}).get("found"):
        saved = found["num_points"] / found["timed_points"]
        yield (
            f"adaptive, {found['timed_tolerance']:g} nats: times fewer points",
            _POINTS_SAVED,
            saved,
        )


def _ratio(case: Found) -> str:
    ratio = case["ratio"]
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


def _ms(seconds: Found) -> str:
    return f"{1e3 * seconds['median']:.4g}"


def _moving(part: Found) -> str:
    lines = [
        "## moving", "",
        "| model | weights | way | ms | ours, ms | ratio (min to max) | floor, ms (share of ours) "
        "| error |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, found in part["found"].items():
        for way, case in found["cases"].items():
            ours, floor = case["ours_seconds"], found["floor_seconds"]
            lines.append(
                f"| {name} | {found['num_weights'] / 1e6:.2f} M | {way} | "
                f"{_ms(case['rival_seconds'])} | {_ms(ours)} | {_ratio(case)} | {1e3 * floor:.3g} "
                f"({floor / ours['median']:.0%}) | {found['error']:.1e} |"
            )
    return "\n".join([*lines, ""])


def _points(part: Found) -> str:
    rate = part["rate"]
    lines = [
        "## points", "",
        "| examples | way | tokens | ms a point | ours, ms | ratio (min to max) | Gop | floor, "
        "share of time | error, nats |", "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for count, found in part["found"].items():
        for way, case in found["cases"].items():
            floor = case["operations"] / rate / case["rival_seconds"]["median"]
            lines.append(
                f"| {count} | {way} | {case['tokens']} | {_ms(case['rival_seconds'])} | "
                f"{_ms(case['ours_seconds'])} | {_ratio(case)} | {case['operations'] / 1e9:.3g} | "
                f"{floor:.0%} | {case['error']:.1e} |"
            )
        first = next(iter(found["cases"].values()))["ours_seconds"]
        floor = found["operations"] / rate / first["median"]
        lines.append(
            f"| {count} | ours | {found['tokens']} | | {_ms(first)} | | "
            f"{found['operations'] / 1e9:.3g} | {floor:.0%} | |"
        )
    return "\n".join([*lines, "", f"Matrix products: {rate / 1e9:.0f} Gop/s.", ""])


def _groups(part: Found) -> str:
    found = part["found"]
    lines = [
        "## groups", "",
        f"{found['num_layers']} blocks; the other way is the plane of the whole encoder, "
        f"{found['operations'] / 1e9:.3g} Gop a point.", "",
        "| group | first block | ms a point | whole plane, ms | ratio (min to max) | ratio of "
        "operations | error, nats |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, case in found["cases"].items():
        lines.append(
            f"| {name} | {case['first_layer']} | {_ms(case['ours_seconds'])} | "
            f"{_ms(case['rival_seconds'])} | {_ratio(case)} | "
            f"{found['operations'] / case['operations']:.2f} | {case['error']:.1e} |"
        )
    return "\n".join([*lines, ""])


def _adaptive(part: Found) -> str:
    found = part["found"]
    x, y = found["grid"]
    low, high = found["span_nats"]
    exact, refined = found["seconds"]["exact"], found["seconds"]["refined"]
    lines = [
        "## adaptive", "",
        f"{x} x {y} points, {found['num_examples']} examples, losses from {low:.3g} to {high:.3g} "
        "nats.", "",
        "| tolerance, nats | points evaluated | times fewer | stated miss: largest, mean | true "
        "miss: largest, mean | filled points within the tolerance |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for tolerance, case in found["cases"].items():
        lines.append(
            f"| {tolerance} | {case['num_evaluated']} | "
            f"{found['num_points'] / case['num_evaluated']:.2f} | {case['stated_largest']:.2g}, "
            f"{case['stated_mean']:.2g} | {case['true_largest']:.2g}, {case['true_mean']:.2g} | "
            f"{case['share_within']:.1%} |"
        )
    lines += ["", f"Timed at {found['timed_tolerance']:g} nats: {refined:.3g} s for "
              f"{found['timed_points']} points beside {exact:.3g} s for all "
              f"{found['num_points']}, {exact / refined:.2f} times.", ""]  # fmt: skip
    return "\n".join(lines)


def _stacked(part: Found) -> str:
    cases = part["found"].items()
    lines = [
        "## stacked", "",
        f"{next(iter(part['found'].values()))['num_points']} points on one thread.", "",
        "| net | weights | kernels a pass | numbers a kernel | stacked, ms | one by one, ms | "
        "ratio (min to max) | the rule says | error |", "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, case in sorted(cases, key=lambda item: item[1]["numbers_per_kernel"]):
        lines.append(
            f"| {name} | {case['num_weights']} | {case['num_kernels']} | "
            f"{case['numbers_per_kernel']:.0f} | {_ms(case['ours_seconds'])} | "
            f"{_ms(case['rival_seconds'])} | {_ratio(case)} | "
            f"{'stack' if case['chosen'] else 'one by one'} | {case['error']:.1e} |"
        )
    return "\n".join([*lines, ""])


def _workers(part: Found) -> str:
    found = part["found"]
    if "missing" in found:
        return f"## workers\n\nNot measured: {found['missing']}.\n"
    lines = [
        "## workers", "",
        "| engine | points | examples | two workers, s | one, s | ratio (min to max) | tables |",
        "|---|---|---|---|---|---|---|",
        f"| {found['engine']} | {found['num_points']} | {found['num_examples']} | "
        f"{found['ours_seconds']['median']:.3g} | {found['rival_seconds']['median']:.3g} | "
        f"{_ratio(found)} | {'equal' if found['equal'] else '**not equal**'} |", "",
    ]  # fmt: skip
    return "\n".join(lines)


_SECTIONS = {
    "moving": _moving,
    "points": _points,
    "groups": _groups,
    "adaptive": _adaptive,
    "stacked": _stacked,
    "workers": _workers,
}
