"""Make docs/families.md: python tests/models/family_table.py

Each row: a tiny random model, both attributions by the staircase against the definition written
plainly in tests/definition.py; the figure is max|a - b| / max|b| over all layers.
"""

import sys
import warnings
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

import definition
import families
from vesalius.models.checking import check
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.staircase import StaircaseOptions, attribute_attention, attribute_neurons
from vesalius.numerics.quadrature import gauss_legendre

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
RULE = gauss_legendre(3)
HEADER = """# Families

Parity of the staircase with the papers' definitions on tiny random models, and which shortcuts the
probe confirmed. Made by `python tests/models/family_table.py`; the same comparison runs in
`tests/models/test_staircase_families.py`. Figures are max|a - b| / max|b| over all layers of a
padded batch of five prompts, 3 Gauss-Legendre nodes. Seam against eager: logits of the whole model.

torch {torch}, transformers {transformers}.

"""
COLUMNS = {
    **{"family": "---", "class": "---", "attention seam": "---"},
    **{f"{what} {dtype}": "--:" for what in ("neurons", "attention") for dtype in ("fp32", "fp64")},
    **{"seam against eager": "--:", "split block": "---", "target row": "---", "last row": "---"},
}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = [_row(family) for family in families.FAMILIES]
    head = HEADER.format(
        torch=torch.__version__.partition("+")[0], transformers=transformers.__version__
    )
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'|'.join(COLUMNS.values())}|", *rows]
    PAGE.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def _row(family: str) -> str:
    figures = [
        f"{_error(family, dtype, neurons):.0e}"
        for neurons in (True, False)
        for dtype in (torch.float32, torch.float64)
    ]
    report = check(_specimen(family, torch.float32, kernel=""))
    seam = report.attention_difference
    ticks = ["yes" if t else "no" for t in
             (report.split_block, report.target_row, report.last_row_replay)]  # fmt: skip
    cells = [family, f"`{report.architecture}`", report.attention_seam, *figures,
             "watched" if seam is None else f"{seam:.0e}", *ticks]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _error(family: str, dtype: torch.dtype, neurons: bool) -> float:
    # some eager classes take the softmax in single precision: compare eager with eager
    eager = dtype == torch.float64 and not neurons
    specimen = _specimen(family, dtype, kernel="eager" if eager else "")
    batch = specimen.probe()
    objective = token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")
    options = StaircaseOptions(rules=(RULE,))
    if neurons:
        wanted = definition.neuron_attributions(specimen, batch, objective, RULE)
        found = attribute_neurons(specimen, batch, objective=objective, options=options)
    else:
        wanted = definition.attention_attributions(specimen, batch, objective, RULE)
        found = attribute_attention(specimen, batch, objective=objective, options=options)
    return max(
        float((a - w).abs().max() / w.abs().max())
        for a, w in zip(found.attribution, wanted, strict=True)
    )


def _specimen(family: str, dtype: torch.dtype, *, kernel: str) -> Specimen:
    model = families.make(family, dtype=dtype)
    if kernel:
        model.set_attn_implementation(kernel)
    return Specimen(model=model, tokenizer=None, name=family, task=task_of(model))


if __name__ == "__main__":
    main()
