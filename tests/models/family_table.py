"""Make docs/families.md: python tests/models/family_table.py

Each row: a tiny random model, both attributions by the staircase against the definition written
plainly in tests/definition.py; the figure is max|a - b| / max|b| over all layers.
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

import definition
import families
from vesalius.models.attention_replay import read_attention, replay_heads
from vesalius.models.attention_sites import attention_sites
from vesalius.models.checking import check
from vesalius.models.objectives import token_objective
from vesalius.models.pruned import head_groups, prune_heads
from vesalius.models.reading import row_logits
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.staircase import StaircaseOptions, attribute_attention, attribute_neurons
from vesalius.numerics.quadrature import gauss_legendre

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
RULE = gauss_legendre(3)
HEADER = """# Families

Parity of the staircase with the papers' definitions on tiny random models, and which shortcuts the
probe confirmed. Made by `python tests/models/family_table.py`; the same comparison runs in
`tests/models/test_staircase_families.py`. Figures are max|a - b| / max|b| over all layers of a
padded batch of five prompts, 3 Gauss-Legendre nodes; with the uniform baseline the attention's
line begins where every token reads all it can see alike. Pruned heads against masked: logits of a
model from which heads were cut, beside the whole model with the same heads masked, fp32. Seam
against eager: logits of the whole model.

torch {torch}, transformers {transformers}.

"""
COLUMNS = {
    **{"family": "---", "class": "---", "attention seam": "---"},
    **{f"{what} {dtype}": "--:" for what in ("neurons", "attention") for dtype in ("fp32", "fp64")},
    **{"uniform baseline fp64": "--:", "pruned heads against masked": "--:"},
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
    figures += [f"{_uniform_error(family):.0e}", f"{_pruning_error(family):.0e}"]
    report = check(_specimen(family, torch.float32, kernel=""))
    seam = report.attention_difference
    ticks = ["yes" if t else "no" for t in
             (report.split_block, report.target_row, report.last_row_replay)]  # fmt: skip
    cells = [family, f"`{report.architecture}`", report.attention_seam, *figures,
             "watched" if seam is None else f"{seam:.0e}", *ticks]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _uniform_error(family: str) -> float:
    """Attention from the uniform baseline against the definition, in double precision."""
    specimen = _specimen(family, torch.float64, kernel="eager")
    batch = specimen.probe()
    objective = token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")
    clean, _ = read_attention(specimen, batch)
    start = [(w > 0).to(w) / (w > 0).sum(-1, keepdim=True) for w in clean]
    wanted = definition.attention_attributions(specimen, batch, objective, RULE, start=start)
    found = attribute_attention(
        specimen, batch, objective=objective, options=StaircaseOptions(rules=(RULE,)), start=start
    )
    return _difference(found.attribution, wanted)


def _pruning_error(family: str) -> float:
    """A model without the first group of every second site, against the masked one."""
    specimen = _specimen(family, torch.float32, kernel="")
    sites, groups = attention_sites(specimen), head_groups(specimen)
    shared = len({id(site.module) for site in sites}) < len(sites)
    removed = [(s.index, h) for s in sites if shared or s.index % 2 for h in groups[s.index][0]]
    batch = specimen.probe()
    pruned = prune_heads(specimen, removed)
    gates = torch.ones(1, 1, len(sites), max(site.num_heads for site in sites))
    for site, head in removed:
        gates[0, 0, site, head] = 0
    return _difference([row_logits(pruned, batch)], [replay_heads(specimen, batch, gates)[0]])


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
    return _difference(found.attribution, wanted)


def _difference(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    pairs = zip(found, wanted, strict=True)
    return max(float((a - w).abs().max() / w.abs().max()) for a, w in pairs)


def _specimen(family: str, dtype: torch.dtype, *, kernel: str) -> Specimen:
    model = families.make(family, dtype=dtype)
    if kernel:
        model.set_attn_implementation(kernel)
    return Specimen(model=model, tokenizer=None, name=family, task=task_of(model))


if __name__ == "__main__":
    main()
