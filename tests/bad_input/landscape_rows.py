"""Every public function of landscapes, fed what it cannot take."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import vesalius
from bad_input.lab import Call, Lab
from bad_input.landscape_result_rows import RESULT_ROWS
from landscape_results import make_rollback
from vesalius.data.labelled import LabelledData, LabelledSplit

la = vesalius.landscape
GRID = {"bounds": ((-1, 2), (-1, 1)), "steps": (2, 2)}


def _split(*texts: str) -> LabelledSplit:
    return LabelledSplit(texts=texts, pairs=None, labels=tuple(i % 2 for i in range(len(texts))))


DATA = LabelledData(
    name="mail",
    label_names=("ham", "spam"),
    splits={"train": _split("Paris", "Rome is a city"), "dev": _split("Tokyo", "a city")},
    columns=("text", "label"),
    notes=(),
)


def _batch(num: int = 2) -> dict[str, Tensor]:
    ids = torch.arange(5, 5 + 3 * num).reshape(num, 3)
    return {"input_ids": ids, "attention_mask": ids * 0 + 1, "labels": torch.arange(num) % 2}


def _examples() -> Any:
    return la.Examples.of_batches({"train": [_batch()], "held_out": [_batch(3)]})


def _labelled(changes: Mapping[str, Any], lab: Lab) -> Any:
    return la.Examples.of_labelled(changes.get("specimen", lab.classifier), DATA, **changes)


def _state(lab: Lab, *, shift: float = 0.1) -> dict[str, Tensor]:
    return {name: tensor + shift for name, tensor in lab.classifier.model.state_dict().items()}


def _without(state: dict[str, Tensor], ending: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith(ending)}


def _spoilt(state: dict[str, Tensor], change: Any) -> dict[str, Tensor]:
    name = "bert.encoder.layer.1.output.dense.weight"
    return state | {name: change(state[name])}


def _cut(tensor: Tensor) -> Tensor:
    return tensor[:3]


def _frame(lab: Lab, *axes: Any, **more: Any) -> Any:
    axes = axes or ("solution", "random")
    return la.make_frame(lab.classifier, axes, **{"start": _state(lab)} | more)


def _line(lab: Lab, **changes: Any) -> Any:
    return la.line(lab.classifier, _examples(), _frame(lab, "random"), **{"steps": 2} | changes)


def _surface(lab: Lab, *axes: Any, **changes: Any) -> Any:
    return la.surface(lab.classifier, _examples(), _frame(lab, *axes), **GRID | changes)


def _resumed(lab: Lab, **changes: Any) -> Any:
    run = la.Run(out=lab.tmp / "run")
    _line(lab, run=run)
    return _line(lab, **{"run": run} | changes)


def _with_other_data(lab: Lab) -> Any:
    run = la.Run(out=lab.tmp / "run")
    _line(lab, run=run)
    other = la.Examples.of_batches({"train": [_batch(4)]})
    return la.line(lab.classifier, other, _frame(lab, "random"), steps=2, run=run)


def _with_other_weights(lab: Lab) -> Any:
    run, frame = la.Run(out=lab.tmp / "run"), _frame(lab, "random")
    la.line(lab.classifier, _examples(), frame, steps=2, run=run)
    other = lab.opened("other_weights")
    return la.line(other, _examples(), la.make_frame(other, ("random",)), steps=2, run=run)


def _of_another(lab: Lab) -> Any:
    return la.line(lab.opened("other_weights"), _examples(), _frame(lab, "random"), steps=2)


def _walk(lab: Lab, checkpoints: Any, **more: Any) -> Any:
    frame = _frame(lab, *more.pop("axes", ()))
    return la.trajectory(lab.classifier, _examples(), frame, checkpoints, **more)


def _rolled(lab: Lab, **changes: Any) -> Any:
    given: dict[str, Any] = {"start": _state(lab), "num_resamples": 10, **changes}
    return la.rollback(lab.classifier, _examples(), **given)


def _barrier(lab: Lab, other: Any, **more: Any) -> Any:
    return la.barrier(lab.classifier, _examples(), other, **{"steps": 3} | more)


# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
LANDSCAPE_ROWS: list[tuple[str, Call, str, str]] = [
    *[
        (f"Examples: {name}", call, given, fix)
        for name, call, given, fix in [
            ("no batch", lambda _: la.Examples.of_batches({}), "no split", "one example"),
            ("empty split", lambda _: la.Examples.of_batches({"train": []}), "without a batch",
             "one example"),
            ("split", lambda _: la.Examples.of_batches({"exam": [_batch()]}), "split='exam'",
             "train"),
            ("held-out alone", lambda _: la.Examples.of_batches({"held_out": [_batch()]}),
             "held_out", "of train"),
            ("no such batches", lambda _: _examples().batches("exam"), "split='exam'", "train"),
            ("texts to a classifier", lambda x: la.Examples.of_texts(x.classifier, ["a"]),
             "'classifier'", "labelled data"),
            ("no texts", lambda x: la.Examples.of_texts(x.gpt, []), "no texts", "one example"),
            ("one text", lambda x: la.Examples.of_texts(x.gpt, "a b"), "one text", "one example"),
            ("texts without a tokenizer", lambda x: la.Examples.of_texts(
                replace(x.gpt, tokenizer=None), ["a"]), "without a tokenizer", "tokenizer="),
            ("nothing to mask", lambda x: la.Examples.of_texts(x.bert, ["[MASK]"]),
             "special tokens alone", "one example"),
            ("empty text", lambda x: la.Examples.of_texts(x.bert, [""]), "special tokens alone",
             "one example"),
            ("labels to a language model", lambda x: la.Examples.of_labelled(x.bert, DATA),
             "'masked-lm'", "of_texts"),
            ("classes", lambda x: la.Examples.of_labelled(x.pairs, DATA), "with 3 classes",
             "own data"),
            ("no tokenizer", lambda x: la.Examples.of_labelled(
                replace(x.classifier, tokenizer=None), DATA), "without a tokenizer", "tokenizer="),
            *[(f"labelled {n}", partial(_labelled, changes), given, fix)
              for n, changes, given, fix in [
                ("split", {"held_out": "exam"}, "held_out='exam'", "dev"),
                ("no split", {"held_out": "test"}, "no split 'test'", "--held-out"),
                ("number", {"max_train": -1}, "=-1", "512"),
                ("length", {"max_length": 0}, "max_length=0", "128"),
                ("batch", {"batch_tokens": 0}, "batch_tokens=0", "4096"),
                ("metric name", {"metrics": {"loss": max}}, "'loss'", "brier"),
                ("metric", {"metrics": {"mine": "no.such:thing"}}, "no.such:thing", "imported"),
                ("metric path", {"metrics": {"mine": "json"}}, "'json'", "imported"),
                ("metric value", {"metrics": {"mine": "math:pi"}}, "a float stands", "imported"),
            ]],
        ]
    ],
    *[
        (f"Examples: metric gives {name}", lambda x, metric=metric: _labelled(
            {"metrics": {"mine": metric}}, x).measure(x.classifier), f"metric 'mine': {given}",
         "return such")
        for name, metric, given in [
            ("a number", lambda *_: 1.0, "a float for 2 examples"),
            ("all logits", lambda logits, _: logits, "a Tensor of shape [2, 2] for 2"),
            ("a mean", lambda logits, _: logits.mean(), "a Tensor of shape [] for 2"),
            ("an error", lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
        ]
    ],
    *[
        (f"make_frame: {name}", call, given, fix)
        for name, call, given, fix in [
            ("word", lambda x: _frame(x, "luck"), "axis='luck'", "solution"),
            ("three", lambda x: _frame(x, *["random"] * 3), "random, random, random", "random"),
            ("none", lambda x: la.make_frame(x.classifier, ()), "axes none", "solution"),
            ("two solutions", lambda x: _frame(x, "solution", "solution"), "solution, solution",
             "random"),
            ("other alone", lambda x: _frame(x, "other", other=_state(x)), "without axis",
             "solution"),
            ("no start", lambda x: la.make_frame(x.classifier), "'solution' without start",
             "--start"),
            ("no other", lambda x: _frame(x, "solution", "other"), "'other' without other",
             "--other"),
            ("start is the solution", lambda x: _frame(x, start=x.classifier.model),
             "have the same weights", "another one"),
            ("other is the start", lambda x: _frame(x, "solution", "other", other=_state(x)),
             "have the same weights", "another one"),
            ("other is the solution", lambda x: _frame(x, "solution", "other",
             other=x.classifier.model), "two axes that are one", "another second solution"),
            ("no such start", lambda x: _frame(x, start=x.tmp / "none"), "none", "spelling"),
            ("missing name", lambda x: _frame(x, start=_without(_state(x), "rd_embeddings.weight")),
             "no tensor for bert.embeddings.word_embeddings.weight", "same model"),
            ("shape", lambda x: _frame(x, start=_spoilt(_state(x), _cut)),
             "layer.1.output.dense.weight of shape [3, 24]", "same architecture"),
            ("NaN", lambda x: _frame(x, start=_spoilt(_state(x), lambda t: t * math.nan)),
             "NaN or infinity in bert.encoder.layer.1", "another checkpoint"),
            ("another architecture", lambda x: _frame(x, start=x.gpt.model), "no tensor for",
             "same model"),
            ("group", lambda x: _frame(x, moved="layer 9"), "group 'layer 9'", "encoder"),
            ("normalisation", lambda x: _frame(x, normalisation="luck"), "'luck'", "filter"),
            ("one checkpoint", lambda x: _frame(x, "pca", checkpoints=[_state(x)]),
             "'pca' without checkpoints", "--checkpoints"),
            ("components", lambda x: _frame(x, "pca", "pca", checkpoints=[_state(x)] * 3),
             "num=2 principal axes of 3 points", "more points"),
            ("hessian", lambda x: _frame(x, "hessian"), "'hessian' without examples", "examples"),
            ("gradient", lambda x: _frame(x, "gradient"), "'gradient' without examples",
             "examples"),
        ]
    ],
    ("Frame: axis", lambda x: _frame(x).along(2), "axis 2", "from 0"),
    ("Frame: off the axis", lambda x: _frame(x).along(1), "axis 1 alone", "alone"),
    *[
        (f"line: {name}", call, given, fix)
        for name, call, given, fix in [
            ("bounds", lambda x: _line(x, bounds=(1, -1)), "bounds=(1, -1)", "-1 and 2"),
            ("bounds NaN", lambda x: _line(x, bounds=(0, math.nan)), "nan", "-1 and 2"),
            ("one bound", lambda x: _line(x, bounds=(1,)), "(1,)", "-1 and 2"),
            ("steps", lambda x: _line(x, steps=1), "=1", "25"),
            ("another model", _of_another, "where", "make the frame again"),
            ("folder", lambda x: _line(x, run=la.Run(out=x.file("mine", "").parent)),
             "holds something else", "another output folder"),
            ("under a file", lambda x: _line(x, run=la.Run(out=x.file("mine", "") / "run")),
             "output path", "another output path"),
            ("other grid", lambda x: _resumed(x, steps=3), "a run with steps = 2, now 3",
             "another output folder"),
            ("other weights", _with_other_weights, "a run with weights =", "old command"),
            ("other data", _with_other_data, "a run with data =", "old command"),
        ]
    ],
    *[
        (f"surface: {name}", call, given, fix)
        for name, call, given, fix in [
            ("one axis", lambda x: _surface(x, "random"), "one axis", "second axis"),
            ("second bounds", lambda x: _surface(x, bounds=((0, 1), (2, 1))), "second bounds",
             "-1 and 2"),
            ("steps", lambda x: _surface(x, steps=(2, 1)), "steps of second bounds=1", "25"),
            ("adaptive", lambda x: _surface(x, adaptive=0.1, keep_examples=True), "single examples",
             "leave"),
            ("tolerance", lambda x: _surface(x, adaptive=-1.0), "tolerance=-1", ""),
            ("tolerance NaN", lambda x: _surface(x, adaptive=math.nan), "tolerance=nan", ""),
        ]
    ],
    *[
        (f"Run: {name}", lambda x, more=more: _line(x, run=la.Run(out=x.tmp / "run", **more)),
         given, fix)
        for name, more, given, fix in [
            ("workers", {"workers": 0}, "workers=0", "workers=1"),
            ("engine", {"engine": "steam"}, "engine='steam'", "local"),
            ("address", {"address": "a:1"}, "address='a:1'", "--engine ray"),
            ("memory", {"memory": "much"}, "memory='much'", "2GiB"),
        ]
    ],
    *[
        (f"trajectory: {name}", call, given, fix)
        for name, call, given, fix in [
            ("none", lambda x: _walk(x, []), "no checkpoint", "folder"),
            ("folder", lambda x: _walk(x, x.tmp), "no checkpoint in it", "seed-0"),
            ("no pairs", lambda x: _walk(x, [_state(x)]), "given as dict", "[(0, first)"),
            ("order", lambda x: _walk(x, [(1, _state(x)), (0, _state(x))]), "step 0 after step 1",
             "sort"),
            ("projection", lambda x: _walk(x, [], projection="luck"), "projection='luck'",
             "least-squares"),
            ("heads", lambda x: _walk(x, [], heads="mine"), "heads='mine'", "own"),
            ("paper", lambda x: _walk(x, [(0, _state(x))], projection="paper", axes=("random",)),
             "'paper' with the first axis", "least-squares"),
            ("shape", lambda x: _walk(x, [(0, _state(x)), (5, _spoilt(_state(x), _cut))]),
             "step 5: bert.encoder.layer.1", "same architecture"),
            ("head", lambda x: _walk(x, [(0, _without(_state(x), "classifier.bias"))]),
             "step 0: no tensor for classifier.bias", "heads='solution'"),
        ]
    ],
    *[
        (f"rollback: {name}", lambda x, more=more: _rolled(x, **more), given, fix)
        for name, more, given, fix in [
            ("groups", {"groups": "halves"}, "groups='halves'", "thirds"),
            ("direction", {"direction": "up"}, "direction='up'", "back"),
            ("split", {"split": "exam"}, "split='exam'", "train"),
            ("resamples", {"num_resamples": 0}, "num_resamples=0", ""),
            ("start", {"start": {}}, "the start: no tensor for", "same model"),
        ]
    ],
    ("rollback: start is the model", lambda x: _rolled(x, start=x.classifier.model),
     "a start with the same weights", "--start"),
    ("Rollback: group", lambda _: make_rollback().row("layer 9"), "group 'layer 9'", "both"),
    *[
        (f"flatness: {name}", lambda x, more=more: la.flatness(
            x.classifier, _examples(), **more), given, fix)
        for name, more, given, fix in [
            ("split", {"split": "exam"}, "split='exam'", "train"),
            ("tau", {"tau_nats": 0}, "tau_nats=0", "0.1"),
            ("sigma", {"sigma": -1}, "sigma=-1", "0.05"),
            ("rho", {"rho": math.nan}, "rho=nan", "0.05"),
            ("rho normalised", {"rho_normalised": math.inf}, "rho_normalised=inf", "0.5"),
            ("draws", {"num_gaussian": 1}, "num_gaussian=1", "10"),
            ("steps", {"num_steps": 0}, "num_steps=0", "1"),
            ("probes", {"num_probes": 1}, "num_probes=1", "10"),
            ("eigenvalues", {"num_eigenvalues": -1}, "num_eigenvalues=-1", "1"),
            ("group", {"moved": "tail"}, "group 'tail'", "encoder"),
            ("memory", {"memory": 100}, "vectors of", "num_eigenvalues=0"),
        ]
    ],
    *[
        (f"barrier: {name}", call, given, fix)
        for name, call, given, fix in [
            ("itself", lambda x: _barrier(x, x.classifier.model), "same weights", "another one"),
            ("steps", lambda x: _barrier(x, _state(x), steps=1), "steps=1", "25"),
            ("head", lambda x: _barrier(x, _without(_state(x), "classifier.weight")),
             "no tensor for classifier.weight", "moved='encoder'"),
            ("nothing there", lambda x: _barrier(x, x.tmp / "none"), "none", ""),
            ("group", lambda x: _barrier(x, _state(x), moved="tail"), "group 'tail'", "encoder"),
        ]
    ],
    *RESULT_ROWS,
]  # fmt: skip

# Public names that no row needs, each with the reason.
LANDSCAPE_REASONS = {
    "Axis": "made by make_frame",
    **dict.fromkeys(
        ("AxisWidth", "BarrierHeight", "Flatness", "LowRegion", "Pair", "RollbackRow",
         "Sharpness", "SurfaceAgreement"),
        "made by functions that check",
    ),
    "landscape": "the module of the verbs, whose names are rows of their own",
}  # fmt: skip
