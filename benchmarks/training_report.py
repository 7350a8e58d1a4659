"""The written report of ``benchmarks/training.py``, from its numbers."""

from typing import Any

WANTED = {"real lengths": 1.5, "no padding": 1.0}
RIVAL = "Trainer"  # with its default order; the other one shows what padding alone does

NOTES = """\
## What was compared

- **ours**: `vesalius.training.loop.train` on `MaskedBatches`: texts of like length together, as \
many as fit into the step's tokens, made ahead in a thread; one micro-batch a step. Measured \
without its log lines, evaluation and checkpoint.
- **Trainer**: `transformers.Trainer` with `DataCollatorForLanguageModeling`, texts in random \
order, each batch padded to its longest text, its defaults otherwise; the mask of special \
tokens is given with the texts, so the collator need not make it. No log lines, evaluation or \
checkpoint either.
- **Trainer, group_by_length**: the same with `train_sampling_strategy="group_by_length"`. Its \
batches are drawn at random from an epoch: in the library's order the longest come first.
- The same for all: model class, configuration and first weights (so logits are taken at the same \
positions), texts, 15 % of labels, bf16 autocast, fused AdamW, weight decay, clipping at norm 1, \
constant learning rate, torch's default attention kernel. The Trainer's batch holds as many texts \
as ours on average, so a step has the same tokens. Different: of the labelled tokens ours hides \
90 % and shows 10 %; the Trainer hides 80 %, changes 10 % and shows 10 %.
- **tokens/s** counts tokens that are no padding, from the end of the last warm-up step to the end \
of the last step: making and waiting for batches is in it, start-up is not. A kernel that is \
prepared for each new shape of batch is in it too, after the warm-up steps.
- **share**: useful operations (matrix products and attention, forward and backward, counted with \
torch's formulas on texts without padding; those of padding are not useful) per second, over the \
rate of bf16 matrix products measured in the same process.
- Ways take turns, the order alternates, ratios are taken round by round; each round has other \
batches, and each run starts from the same weights.
"""


def markdown(report: dict[str, Any]) -> str:
    """The report as a page of Markdown."""
    parts = [_head(report), NOTES, _requirements(report)]
    parts += [_case(name, case) for name, case in report["cases"].items()]
    return "\n".join(parts)


def _head(report: dict[str, Any]) -> str:
    machine = report["machine"]
    half = ("" if machine["bf16_products"] else "no ") + "bf16 products in hardware"
    where = f"{machine['cpu']}, {machine['instructions']}, {half}, {machine['threads']} threads"
    if "gpu" in machine:
        where = f"{machine['gpu']}; {where}"
    return f"""# Training: tokens/s beside the Trainer, {report["date"]}

| | |
|---|---|
| command | `{report["command"]}` |
| versions | {", ".join(f"{name} {value}" for name, value in report["versions"].items())} |
| machine | {where} |
| device | {report["device"]} |
| texts | {report["texts"]}, token ids of the bundled mini-bert's tokenizer |
| precision | bf16 autocast, fp32 weights |
| rounds | {report["rounds"]} paired |
"""


def _requirements(report: dict[str, Any]) -> str:
    lines = [
        "## Asked for, and found",
        "",
        "| times the Trainer's tokens/s, at least | asked for | found: median (min to max) | |",
        "|---|---|---|---|",
    ]
    for name, case in report["cases"].items():
        for texts, wanted in WANTED.items():
            ratio = case[texts]["ratios"][RIVAL]
            verdict = "yes" if ratio["median"] >= wanted else "**no**"
            lines.append(f"| {name}, {texts} | {wanted:g} | {_spread(ratio)} | {verdict} |")
    if report["quick"]:
        lines += ["", "Tiny models: the times mean nothing, only that everything runs."]
    return "\n".join(lines) + "\n"


def _case(name: str, case: dict[str, Any]) -> str:
    lines = [
        f"## {name}",
        "",
        f"{case['what']}. {case['num_parameters']:,} parameters. Steps of at most "
        f"{case['tokens_per_step']:,} tokens; {case['warmup_steps']} for warm-up, "
        f"{case['num_steps']} measured. Texts of more than {case['max_length']} tokens are left "
        f"out ({case['left_out_share']:.2%}). Useful operations: "
        f"{case['operations_per_token'] / 1e6:.4g} M a token and "
        f"{case['operations_per_squared_length'] / 1e3:.4g} k a squared length.",
        "",
        *_rates(case["rates"]),
    ]
    for texts in WANTED:
        lines += ["", *_comparison(texts, case[texts])]
    return "\n".join(lines) + "\n"


def _rates(rates: dict[str, dict[str, float]]) -> list[str]:
    lines = ["| measured matrix products | fp32 | bf16 |", "|---|---|---|"]
    lines += [
        f"| {name} | {rate / 1e9:.4g} Gop/s | {rates['bfloat16'][name] / 1e9:.4g} Gop/s |"
        for name, rate in rates["float32"].items()
    ]
    return lines


def _comparison(name: str, found: dict[str, Any]) -> list[str]:
    texts = found["texts"]
    quantiles = ", ".join(str(length) for length in texts["quantiles"].values())
    shares = next(iter(found["ways"].values()))["shares"]
    lines = [
        f"### {name.capitalize()}",
        "",
        f"{texts['num_texts']:,} texts; lengths at 0, 10, 50, 90, 100 %: {quantiles}; mean "
        f"{texts['mean']:.1f}. {texts['trainer_rows']} texts in a batch of the Trainer. Loss on a "
        f"fixed batch before: {found['loss_before']:.3f}.",
        "",
        "| | tokens/s: median (min to max) | ours is times faster | padding | tokens a step "
        f"| loss after | {' | '.join(f'share of {rate}' for rate in shares)} |",
        "|---|---|---|---|---|---" + "|---" * len(shares) + "|",
    ]
    for way, numbers in found["ways"].items():
        ratio = _spread(found["ratios"][way]) if way in found["ratios"] else ""
        cells = [
            way,
            _spread(numbers["tokens_per_second"], form=",.0f"),
            ratio,
            f"{numbers['padding_share']:.1%}",
            f"{numbers['tokens_per_step']:,.0f}",
            f"{numbers['loss_after']['median']:.3f}",
            *(f"{share:.1%}" for share in numbers["shares"].values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(numbers: dict[str, Any], *, form: str = ".2f") -> str:
    low, high = format(numbers["min"], form), format(numbers["max"], form)
    return f"{format(numbers['median'], form)} ({low} to {high})"
