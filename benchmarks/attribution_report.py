"""The written report of ``benchmarks/attribution.py``, from its numbers."""

from typing import Any

NOTES = """\
## What was compared

- **ours**: `attribute_neurons` and `attribute_attention` with their default options, completeness
  gap and refinement included. Probing the model (once per model) is reported apart, not timed.
- **paper**: the way of the papers' published code on the same model object: for every layer one
  full pass to read the layer, then 20 left Riemann points in one batch through full passes from the
  embeddings, gradients by autograd, parameters left with `requires_grad`. Left open by the
  description, and taken in the rival's favour: the output layer runs at the target position only,
  the reading pass keeps no graph, attention that is not scaled runs on torch's fused kernel.
- **captum**: `IntegratedGradients` (Gauss-Legendre, its default) on a function of one layer's
  neurons at the mask, zero baseline, full passes from the embeddings, parameters frozen.
  `LayerIntegratedGradients` scales a layer at all positions, which is another quantity. captum
  keeps its quadrature weights in single precision, in a double-precision run too.
- **error**: sum of |a - reference| over sum of |reference|, layer by layer; the reference
  (NODES Gauss-Legendre nodes) is taken layer by layer in double precision from the clean states,
  without the staircase.
- **operations**: counted while running, forward and backward, matrix products and attention
  kernels, a multiplication and an addition as two. **floor**: operations over the machine's
  measured matrix-product rate; the share says how much of the time that floor explains.
- Runs take turns, ratios are taken round by round, each way has one uncounted run beforehand.
"""


AIMS = {
    "neurons: times faster than paper, padded": 40,
    "neurons: times faster than paper, unpadded": 7,
}


def markdown(report: dict[str, Any]) -> str:
    """The report as a page of Markdown."""
    notes = NOTES.replace("NODES", str(report["shape"]["reference_nodes"]))
    parts = [_head(report), notes, _requirements(report), _rates(report)]
    parts += [_case(name, case, report) for name, case in report["cases"].items()]
    return "\n".join(parts)


def _head(report: dict[str, Any]) -> str:
    shape, machine = report["shape"], report["machine"]
    bf16 = ("" if machine["bf16_products"] else "no ") + "bf16 products in hardware"
    rough = ", ".join(
        f"{case['double_errors']['20 left points']['median']:.1%} ({name})"
        for name, case in report["cases"].items()
    )
    start = ", ".join(f"{case['probability']:.3f} ({n})" for n, case in report["cases"].items())
    return f"""# Attribution: time, error and operations, {report["date"]}

| | |
|---|---|
| command | `{report["command"]}` |
| versions | {", ".join(f"{name} {value}" for name, value in report["versions"].items())} |
| machine | {machine["cpu"]}, {machine["instructions"]}, {bf16}, {machine["threads"]} threads |
| model | BERT for masked words, {shape["num_hidden_layers"]} layers, d_model \
{shape["hidden_size"]}, d_ff {shape["intermediate_size"]}, {shape["num_attention_heads"]} heads, \
vocabulary {shape["vocab_size"]}; random weights, std {shape["block_std"]}, output layer \
{shape["output_std"]} |
| precision | fp32 unless a row says otherwise |
| rounds | {report["rounds"]} paired, after one warm-up of each |
| probing the model, once | {report["plan_seconds"]:.2f} s |

Random weights of the library's own std of 0.02 would be too smooth. With these, 20 left points \
err in the median layer by {rough}; on a trained 6-layer BERT by 1.4 % (neurons) and 10 % \
(attention). The output layer keeps the probability of the answer away from 0 and 1: {start}.
"""


def _requirements(report: dict[str, Any]) -> str:
    lines = [
        "## Asked for, and found",
        "",
        "| at least | asked for | found | |",
        "|---|---|---|---|",
    ]
    for what, wanted, value in _wanted(report):
        verdict = "yes" if value >= wanted else "**no**"
        aim = f" (aim {AIMS[what]})" if what in AIMS else ""
        lines.append(f"| {what} | {wanted:g}{aim} | {value:.3g} | {verdict} |")
    if report["quick"]:
        lines += ["", "A tiny model: the times mean nothing, only that everything runs."]
    return "\n".join(lines) + "\n"


def _wanted(report: dict[str, Any]) -> list[tuple[str, float, float]]:
    neurons, attention = report["cases"]["neurons"], report["cases"]["attention"]

    def ratio(case: dict[str, Any], rival: str, ours: str = "default") -> float:
        return case["seconds"][f"{ours} | {rival}"]["ratio"]["median"]

    def left_over_ours(case: dict[str, Any]) -> float:
        left, ours = case["double_errors"]["20 left points"], case["errors"]["default"]
        return min(left[kind] / ours[kind] for kind in ("median", "max", "overall"))

    def captum_over_ours(points: int) -> float:
        theirs = neurons["double_errors"][f"captum {points}"]
        mine = neurons["double_errors"]["radau 16"]
        return min(theirs[kind] / max(mine[kind], 1e-300) for kind in theirs)

    explanation = next(n for n in attention["operations"] if n.endswith("points"))
    return [
        ("neurons: times faster than paper, padded", 30, ratio(neurons, "paper, padded")),
        ("neurons: times faster than paper, unpadded", 4.5, ratio(neurons, "paper, unpadded")),
        ("neurons: 20 left points' error over ours", 100, left_over_ours(neurons)),
        ("16 nodes: times faster than captum 50", 1, ratio(neurons, "captum 50", "radau 16")),
        ("16 nodes: captum 50's float64 error over ours", 1, captum_over_ours(50)),
        ("16 nodes: times faster than captum 20", 1, ratio(neurons, "captum 20", "radau 16")),
        ("16 nodes: captum 20's float64 error over ours", 1, captum_over_ours(20)),
        ("attention: times faster than paper, unpadded", 3, ratio(attention, "paper, unpadded")),
        ("attention: times faster than paper, padded", 12, ratio(attention, "paper, padded")),
        (f"attention: times faster than {explanation}", 35, ratio(attention, explanation)),
        ("attention: 20 left points' error over ours", 50, left_over_ours(attention)),
    ]


def _rates(report: dict[str, Any]) -> str:
    lines = ["## Measured matrix-product rate", "", "| linear maps of a block on | fp32 | bf16 |"]
    lines.append("|---|---|---|")
    single, half = report["rates"]["float32"], report["rates"]["bfloat16"]
    lines += [
        f"| {name} | {single[name] / 1e9:.0f} Gop/s | {half[name] / 1e9:.0f} Gop/s |"
        for name in single
    ]
    return "\n".join(lines) + "\n"


def _case(name: str, case: dict[str, Any], report: dict[str, Any]) -> str:
    tokens, nodes = case["num_tokens"], case["nodes"]
    lines = [
        f"## {name.capitalize()}, {tokens} tokens",
        "",
        f"Default rules tried in turn: {', '.join(case['rules'])}. Nodes taken by layer: "
        f"{' '.join(map(str, nodes))}; largest gap {case['largest_relative_gap']:.1e} of "
        f"|F(1) - F(0)|. In bf16: {' '.join(map(str, case['bf16']['nodes']))}; "
        f"{case['bf16']['largest_relative_gap']:.1e}.",
        "",
        "| ours, a rival | ours: median s (min to max) | rival: median s (min to max) "
        "| ratio: median (min to max) |",
        "|---|---|---|---|",
    ]
    for key, timed in case["seconds"].items():
        cells = [timed["ours_seconds"], timed["rival_seconds"], timed["ratio"]]
        text = " | ".join(f"{c['median']:.4g} ({c['min']:.4g} to {c['max']:.4g})" for c in cells)
        lines.append(f"| {key.replace(' | ', ', against ')} | {text} |")
    lines += ["", *_operations(case, report), "", *_errors(case)]
    return "\n".join(lines) + "\n"


def _operations(case: dict[str, Any], report: dict[str, Any]) -> list[str]:
    rate = max(report["rates"]["float32"].values())
    default = case["operations"]["default"]
    lines = [
        f"Operations; the floor at {rate / 1e9:.0f} Gop/s, the best fp32 rate above.",
        "",
        "| | Gop | over default | floor s | median s | floor's share |",
        "|---|---|---|---|---|---|",
    ]
    for name, operations in case["operations"].items():
        seconds = _median_seconds(name, case)
        floor = operations / rate
        lines.append(
            f"| {name} | {operations / 1e9:.4g} | {operations / default:.2f} | {floor:.3g} "
            f"| {seconds:.4g} | {floor / seconds:.0%} |"
        )
    return lines


def _median_seconds(name: str, case: dict[str, Any]) -> float:
    for key, timed in case["seconds"].items():
        ours, rival = key.split(" | ")
        if name in (ours, rival):
            return timed["ours_seconds" if name == ours else "rival_seconds"]["median"]
    raise KeyError(name)


def _errors(case: dict[str, Any]) -> list[str]:
    lines = [
        "Relative error against the reference, over layers: median, largest; and overall.",
        "",
        "| | as run: median | largest | overall | float64: median | largest | overall |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys([*case["double_errors"], *case["errors"]]):
        cells = []
        for errors in (case["errors"].get(name), case["double_errors"].get(name)):
            kinds = ("median", "max", "overall")
            cells += [f"{errors[kind]:.1e}" for kind in kinds] if errors else ["", "", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
