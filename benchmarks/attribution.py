"""Neuron and attention attribution beside the papers' own way and captum: time, error, operations.

    python benchmarks/attribution.py                     the report, 20 to 40 minutes on 2 cores
    python benchmarks/attribution.py --quick --rounds 1  a tiny model, seconds: does it still run?

Writes ``attribution_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it. Run it on an
idle machine: nothing else may hold the cores. Needs the extra ``vesalius[bench]`` (captum).
"""

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attribution_rivals as rivals
import harness
import torch
from attribution_cases import (
    BLOCK_STD,
    FULL,
    OUTPUT_STD,
    QUICK,
    Prompt,
    Shape,
    attention_reference,
    double_copy,
    make_model,
    make_prompt,
    make_specimen,
    neuron_reference,
)
from attribution_report import markdown
from torch import Tensor, nn

from vesalius.models.staircase import (
    ATTENTION_OPTIONS,
    NEURON_OPTIONS,
    Staircase,
    StaircaseOptions,
    attribute_attention,
    attribute_neurons,
)
from vesalius.numerics.quadrature import gauss_legendre, gauss_radau, left_riemann

PACKAGES = ("torch", "transformers", "captum", "vesalius")
REFERENCE_CHUNK = 20  # nodes on their way at once: keeps the double-precision graph small
Way = Callable[[nn.Module, Prompt], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One quantity with the ways to it. The first of ``ours`` is the default."""

    name: str
    num_tokens: int
    reference: Callable[..., list[Tensor]]
    ours: dict[str, StaircaseOptions]
    engine: Callable[..., Staircase]
    rivals: dict[str, Way]
    pairs: tuple[tuple[str, str], ...]
    in_double: tuple[
        str, ...
    ]  # rivals that run in double precision too, for their rule's own error

    def run(self, name: str, model: nn.Module, specimen: Any, prompt: Prompt) -> list[Tensor]:
        """Take one way once: one tensor for each layer."""
        if name in self.rivals:
            return self.rivals[name](model, prompt)
        result = self.engine(
            specimen, prompt.batch(), objective=prompt.objective, options=self.ours[name]
        )
        return [layer[0] for layer in result.attribution]


@dataclass(kw_only=True)
class Findings:
    """What is known of a case so far."""

    seconds: dict[str, harness.Paired] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    double_errors: dict[str, dict[str, float]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


def neuron_case(shape: Shape) -> Case:
    """All neurons at the mask: the papers' 20 left points, captum at 50 and at 20."""

    def paper(length: int | None) -> Way:
        return lambda model, p: rivals.paper_neurons(model, p.inputs(length), p.row, p.answer)

    def captum(points: int) -> Way:
        return lambda model, p: rivals.captum_neurons(
            model, p.inputs(), p.row, p.answer, num_points=points
        )

    return Case(
        name="neurons",
        num_tokens=shape.neuron_tokens,
        reference=neuron_reference,
        ours={
            "default": NEURON_OPTIONS,
            "legendre 5 only": StaircaseOptions(rules=(gauss_legendre(5),)),
            "radau 16": StaircaseOptions(rules=(gauss_radau(16),)),
        },
        engine=attribute_neurons,
        rivals={
            "paper, padded": paper(shape.padded_tokens),
            "paper, unpadded": paper(None),
            "captum 50": captum(50),
            "captum 20": captum(20),
        },
        pairs=(
            ("default", "paper, unpadded"),
            ("default", "paper, padded"),
            ("default", "captum 50"),
            ("default", "captum 20"),
            ("radau 16", "captum 50"),
            ("radau 16", "captum 20"),
            ("legendre 5 only", "paper, unpadded"),
        ),
        in_double=("captum 50", "captum 20"),
    )


def attention_case(shape: Shape) -> Case:
    """All heads: 20 left points, and the explanation setting in chunks of 16."""

    def paper(length: int | None, points: int, chunk: int) -> Way:
        return lambda model, p: rivals.paper_attention(
            model, p.inputs(length), p.row, p.answer, num_points=points, chunk=chunk
        )

    explanation = f"paper, padded, {shape.explanation_points} points"
    return Case(
        name="attention",
        num_tokens=shape.attention_tokens,
        reference=attention_reference,
        ours={
            "default": ATTENTION_OPTIONS,
            "legendre 8 only": StaircaseOptions(rules=(gauss_legendre(8),)),
        },
        engine=attribute_attention,
        rivals={
            "paper, padded": paper(shape.padded_tokens, 20, 20),
            "paper, unpadded": paper(None, 20, 20),
            explanation: paper(shape.padded_tokens, shape.explanation_points, 16),
        },
        pairs=(
            ("default", "paper, unpadded"),
            ("default", "paper, padded"),
            ("default", explanation),
            ("legendre 8 only", "paper, unpadded"),
        ),
        in_double=(),
    )


def error_of(found: list[Tensor], reference: list[Tensor]) -> dict[str, float]:
    """Relative L1 error: median and largest over layers, and over all layers together."""
    away: list[float] = []
    size: list[float] = []
    for layer, wanted in zip(found, reference, strict=True):
        if wanted.dim() == 3:  # attention of a padded run: the padding is no part of the answer
            layer = layer[:, : wanted.shape[1], : wanted.shape[2]]
        away.append(float((layer.double() - wanted).abs().sum()))
        size.append(float(wanted.abs().sum()))
    relative = torch.tensor([a / s for a, s in zip(away, size, strict=True)])
    return {
        "median": float(relative.quantile(0.5)),
        "max": float(relative.max()),
        "overall": sum(away) / sum(size),
    }


def study(case: Case, model: nn.Module, shape: Shape, *, rounds: int) -> Findings:
    """Everything about one case: references, errors and operations, then the paired rounds."""
    found = Findings()
    prompt = make_prompt(model, case.num_tokens)
    double = double_copy(model)
    rule = gauss_legendre(shape.reference_nodes)
    log(f"{case.name}: reference, {shape.reference_nodes} nodes in double precision")
    reference = case.reference(double, prompt, rule, chunk=REFERENCE_CHUNK)
    left = case.reference(double, prompt, left_riemann(20), chunk=REFERENCE_CHUNK)
    found.double_errors["20 left points"] = error_of(left, reference)
    double_specimen = make_specimen(double)
    for name in (*case.ours, *case.in_double):
        values = case.run(name, double, double_specimen, prompt)
        found.double_errors[name] = error_of(values, reference)
    del double, double_specimen

    specimen = make_specimen(model)
    runs = {
        name: lambda name=name: case.run(name, model, specimen, prompt)
        for name in (*case.ours, *case.rivals)
    }
    for name, run in runs.items():  # the counted run is the warm-up
        log(f"{case.name}: counting {name}")
        values, found.operations[name] = harness.counted(run)
        found.errors[name] = error_of(values, reference)
    found.extra = describe(case, specimen, prompt)
    for ours, rival in case.pairs:
        log(f"{case.name}: {rounds} rounds of {ours} against {rival}")
        key = f"{ours} | {rival}"
        found.seconds[key] = harness.pair(runs[ours], runs[rival], rounds=rounds)
    half_precision(case, model, prompt, reference, runs["default"], found, rounds=rounds)
    return found


def half_precision(
    case: Case,
    model: nn.Module,
    prompt: Prompt,
    reference: list[Tensor],
    single: harness.Run,
    found: Findings,
    *,
    rounds: int,
) -> None:
    """The default way on a copy of the model in bfloat16, timed beside single precision."""
    log(f"{case.name}: bfloat16")
    half = double_copy(model).to(torch.bfloat16)
    specimen = make_specimen(half)

    def run() -> list[Tensor]:
        return case.run("default", half, specimen, prompt)

    found.errors["default, bf16"] = error_of(run(), reference)
    found.seconds["default, bf16 | default"] = harness.pair(run, single, rounds=rounds)
    found.extra["bf16"] = describe(case, specimen, prompt)


def describe(case: Case, specimen: Any, prompt: Prompt) -> dict[str, Any]:
    """What the default way says of itself: nodes it took, completeness gap, and F at both ends."""
    result = case.engine(
        specimen, prompt.batch(), objective=prompt.objective, options=case.ours["default"]
    )
    change = (result.end_value - result.start_value).abs()
    return {
        "probability": float(result.end_value),
        "probability_at_zero": [round(float(v), 6) for v in result.start_value.flatten()],
        "nodes": result.num_nodes.flatten().tolist(),
        "largest_relative_gap": float((result.gap / change).max()),
        "rules": [f"{rule.name} {len(rule.nodes)}" for rule in case.ours["default"].rules],
    }


def rates(shape: Shape) -> dict[str, dict[str, float]]:
    """Matrix-product rates on the block's linear maps, by type and by number of rows."""
    some_rows = {
        "one prompt": shape.neuron_tokens,
        "20 copies": 20 * shape.neuron_tokens,
        "staircase top": 5 * (shape.num_layers - 1) * shape.neuron_tokens,
        "20 padded copies": 20 * shape.padded_tokens,
    }
    return {
        str(dtype).removeprefix("torch."): {
            f"{name}, {rows} rows": harness.product_rate(rows, shape.linears(), dtype=dtype)
            for name, rows in some_rows.items()
        }
        for dtype in (torch.float32, torch.bfloat16)
    }


def plan_seconds(model: nn.Module) -> float:
    """Time of what is done once per model and is not part of the timed runs."""
    return min(harness.seconds_of(lambda: make_specimen(model)) for _ in range(2))


def benchmark(*, quick: bool, rounds: int, threads: int) -> dict[str, Any]:
    """Run every case and gather what the report says."""
    harness.settle(threads)
    shape = QUICK if quick else FULL
    model = make_model(shape)
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python benchmarks/attribution.py --rounds {rounds} --threads {threads}"
        + (" --quick" if quick else ""),
        "versions": harness.versions(PACKAGES),
        "machine": harness.machine(threads),
        "shape": {
            **shape.config,
            "block_std": BLOCK_STD,
            "output_std": OUTPUT_STD,
            "padded_tokens": shape.padded_tokens,
            "reference_nodes": shape.reference_nodes,
        },
        "rounds": rounds,
        "quick": quick,
        "rates": rates(shape),
        "plan_seconds": plan_seconds(model),
        "cases": {},
    }
    for case in (neuron_case(shape), attention_case(shape)):
        found = study(case, model, shape, rounds=rounds)
        report["cases"][case.name] = {
            "num_tokens": case.num_tokens,
            "seconds": {key: paired.to_dict() for key, paired in found.seconds.items()},
            "operations": found.operations,
            "errors": found.errors,
            "double_errors": found.double_errors,
            **found.extra,
        }
    return report


def log(text: str) -> None:
    """Progress, on the error stream."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, write both files and print their names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    report = benchmark(quick=options.quick, rounds=options.rounds, threads=options.threads)
    hardware = options.hardware or f"{report['machine']['cpu']} {options.threads} threads"
    name = f"attribution_{harness.slug(hardware)}_{report['date'].replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("json", json.dumps(report, indent=1) + "\n"), ("md", markdown(report))):
        path = options.out / f"{name}.{suffix}"
        path.write_text(text, "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
