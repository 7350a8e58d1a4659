"""Every public function of calibration, fed what it cannot take."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import vesalius
from bad_input.lab import Call, Lab
from bad_input.labelled_rows import LABELLED_ROWS
from bad_input.labelled_rows import harness_samples as some
from vesalius.methods.calibration.store import StoreIdentity

ca = vesalius.calibrate
WORDS = ("France", "Japan")
PROMPT = ca.LabelPrompt(template="{text} is in {label}", words=WORDS)
PAIRS = ca.LabelPrompt(template="{first}: {second} is in {label}", words=WORDS)
TEXTS = ("Paris", "Tokyo")
ROWS = [ca.LabelledRow(texts=(text,), label=i) for i, text in enumerate(TEXTS)]
SCORES = np.log([[0.7, 0.2], [0.1, 0.3], [0.5, 0.4], [0.2, 0.6]])
LABELS = np.array([0, 1, 0, 1])
LONG = "Paris " * 40
IDENTITY = StoreIdentity(model="m", fingerprint="f", dtype="float32", prompt="p", words=WORDS)


def _spoilt(value: float, rows: object = slice(None)) -> np.ndarray:
    scores = SCORES.copy()
    scores[rows] = value
    return scores


def _kept(lab: Lab, **changes: Any) -> Any:
    made = ca.FewShotClassifier(
        prompt=PROMPT, calibrator=ca.Uncalibrated().fit(SCORES), label_names=WORDS,
        model="tiny-gpt", fingerprint=lab.gpt.fingerprint,
    )  # fmt: skip
    return replace(made, **changes)


def _half_kept(lab: Lab, name: str, text: str = "") -> Any:
    folder = _kept(lab).save(lab.tmp / "kept")
    (folder / name).unlink()
    if text:
        (folder / name).write_text(text, "utf-8")
    return ca.FewShotClassifier.load(folder)


def _stored(lab: Lab, *, prompt: Any = PROMPT, options: Any = None) -> Any:
    ca.score(lab.gpt, PROMPT, TEXTS, store=lab.tmp / "store")
    return ca.score(lab.gpt, prompt, TEXTS, store=lab.tmp / "store", options=options)


def _compared() -> Any:
    return ca.compare(SCORES, LABELS, inputs={}, methods=["none"], num_resamples=20)


def _study(**changes: Any) -> Any:
    design = ca.StudyDesign(
        axes=("seed",), methods=("none",), num_seeds=1, estimate_per_class=1, base_shots=1,
        shots=(1,), estimate_sizes=(1,),
    )  # fmt: skip
    train = [ca.LabelledRow(texts=(f"{t} {i}",), label=i % 2) for i, t in enumerate("abcdef")]
    given: dict[str, Any] = {
        "prompt": PROMPT, "train": train, "test": ROWS,
        "score_texts": lambda _, texts: np.zeros((len(texts), 2)),
    }  # fmt: skip
    return ca.run_study(design, **given | changes)


LIKE_SCORES = [
    ("NaN", _spoilt(np.nan, 1), "nan at row 1", "single precision"),
    ("infinity", _spoilt(np.inf, (2, 0)), "inf at row 2, label 0", "single precision"),
    ("nothing left", _spoilt(-np.inf, 3), "row 3, in which every label has -inf", "leave that"),
    ("a single row", SCORES[0], "shape [2]", "one row for each text"),
    ("one label", SCORES[:, :1], "shape [4, 1]", "one row for each text"),
    ("words", np.array([["a", "b"]]), "<U1", "one row for each text"),
    ("no rows", SCORES[:0], "0 rows", "score some texts"),
]
FITTED_ON_SCORES = (
    "ContextualCalibration", "DomainContextCalibration", "BatchCalibration", "PMICalibration",
    "PrototypicalCalibration", "GenerativeCalibration", "TemperatureScaling", "PlattScaling",
    "IsotonicCalibration", "AffineCalibration",
)  # fmt: skip
LABELLED = FITTED_ON_SCORES[-4:]

# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
CALIBRATION_ROWS: list[tuple[str, Call, str, str]] = [
    *[
        (f"{kind}: {name}",
         lambda _, kind=kind, bad=bad: getattr(ca, kind)().fit(bad, np.zeros(len(bad), dtype=int)),
         given, fix)
        for kind in FITTED_ON_SCORES
        for name, bad, given, fix in LIKE_SCORES
    ],
    *[
        (f"{kind}: {name} labels",
         lambda _, kind=kind, labels=labels: getattr(ca, kind)().fit(SCORES, labels), given, fix)
        for kind in LABELLED
        for name, labels, given, fix in [
            ("no", None, "not one label", "batch"),
            ("unknown", LABELS - LABELS - 1, "not one label", "batch"),
            ("few", LABELS[:2], "shape [2]", "number the classes"),
            ("high", LABELS + 1, "labels from 1 to 2", "number the classes"),
            ("broken", LABELS / 2, "float64", "number the classes"),
        ]
    ],
    *[
        (f"{kind}: {name} to predict",
         lambda _, kind=kind, bad=bad: getattr(ca, kind)().fit(SCORES, LABELS).predict(bad),
         given, "")
        for kind in ("Uncalibrated", *FITTED_ON_SCORES)
        for name, bad, given in [("NaN", _spoilt(np.nan), "nan at row 0"),
                                 ("three labels", np.zeros((1, 3)), "scores of 3 labels")]
    ],
    *[(f"{kind}: not fitted", lambda _, kind=kind: getattr(ca, kind)().predict(SCORES),
       "not fitted", "call fit") for kind in ("Uncalibrated", *FITTED_ON_SCORES)],
    *[
        (f"make_calibrator: {name}",
         partial(lambda method, options, _: ca.make_calibrator(method, **options), method, options),
         given, fix)
        for name, method, options, given, fix in [
            ("unknown", "magic", {}, "method='magic'", "none"),
            ("option", "batch", {"speed": 2}, "option 'speed' of batch", "help("),
            ("average", "batch", {"average": "median"}, "average='median'", "log"),
            ("strength", "batch", {"strength": "high"}, "strength='high'", "strength=1"),
            ("restarts", "prototypical", {"num_restarts": 0}, "num_restarts=0", "100"),
            ("covariance", "prototypical", {"covariance": "round"}, "'round'", "auto"),
            ("selection", "prototypical", {"selection": "luck"}, "'luck'", "assignment"),
            ("engine", "prototypical", {"engine": "steam"}, "'steam'", "batched"),
            ("guards", "prototypical", {"engine": "sklearn"}, "with guards", "paper()"),
            ("tolerance", "prototypical", {"tolerance": 0}, "tolerance=0", "0.001"),
            ("target", "generative", {"target": [1, -1]}, "target=[1, -1]", "leave target out"),
            ("penalty", "affine", {"regularisation": np.nan}, "regularisation=nan", "1"),
        ]
    ],
    ("PrototypicalCalibration: texts", lambda _: ca.PrototypicalCalibration().fit(
        np.zeros((2, 3)) - 1), "2 texts for 3 labels", "score more"),
    ("GenerativeCalibration: target", lambda _: ca.GenerativeCalibration(target=[1, 1, 1]).fit(
        SCORES), "target of 3 classes", "in the order"),
    ("Uncalibrated: save exists", lambda x: ca.Uncalibrated().fit(SCORES).save(
        x.file("c.json", "mine")), "exists", "--force"),
    ("load_calibrator: nothing", lambda x: ca.load_calibrator(x.tmp / "no.json"), "no.json",
     "check the path"),
    ("load_calibrator: no JSON", lambda x: ca.load_calibrator(x.file("c.json", "{")), "c.json",
     "fit the calibrator again"),
    ("load_calibrator: another", lambda x: ca.load_calibrator(x.file("c.json", "{}")),
     "not marked as one", "fit the calibrator again"),
    *[
        (f"advise: {name}", lambda _, scores=scores, more=more: ca.advise(scores, **more), given,
         fix)
        for name, scores, more, given, fix in [
            ("NaN", _spoilt(np.nan), {}, "nan at row 0", "single precision"),
            ("predictions", SCORES, {"predictions": {"mine": LABELS[:2]}}, "shape [2]", "number"),
            ("not fitted", SCORES, {"calibrators": {"batch": ca.BatchCalibration()}},
             "not fitted", "call fit"),
        ]
    ],
    ("Advice: method", lambda _: ca.advise(SCORES).agreement_of("none", "magic"), "'magic'",
     "advise()"),
    *[
        (f"LabelPrompt: {name}", partial(lambda changes, _: replace(PROMPT, **changes), changes),
         given, fix)
        for name, changes, given, fix in [
            ("no label", {"template": "{text}"}, "{{label}} 0 times", "write it like"),
            ("two labels", {"template": "{label} {text} {label}"}, "2 times", "write it like"),
            ("no text", {"template": "{label}"}, "no text", "write it like"),
            ("field", {"template": "{txt} {label}"}, "{{txt}}", "{{ or }}"),
            ("brace", {"template": "{ {text} {label}"}, "template", "write it like"),
            ("one word", {"words": ("a",)}, "label words", "negative"),
            ("duplicate words", {"words": ("a", "a")}, "'a', twice", "cannot be told apart"),
            ("empty word", {"words": ("a", " ")}, "which is empty", "cannot be told apart"),
            ("space", {"words": ("a", " b")}, "white space", "in the template"),
            ("numbers", {"words": (0, 1)}, "(0, 1)", "negative"),
            ("separator", {"separator": None}, "separator=None", ""),
            ("demonstration", {"demonstrations": (replace(ROWS[0], label=2),)}, "label 2", "word"),
            ("pairs", {"demonstrations": (replace(ROWS[0], texts=TEXTS),)}, "of 2 texts", "{text}"),
        ]
    ],
    ("LabelPrompt: late text", lambda _: replace(PROMPT, template="{label}: {text}").query(("a",)),
     "comes after {{label}}", "cloze"),
    *[
        (f"score: {name}", call, given, fix)
        for name, call, given, fix in [
            ("no texts", lambda x: ca.score(x.gpt, PROMPT, []), "no texts", "pass"),
            ("one text", lambda x: ca.score(x.gpt, PROMPT, "a"), "one text, not a list", "["),
            ("no text", lambda x: ca.score(x.gpt, PROMPT, [None]), "text 0: None", "leave"),
            ("a pair", lambda x: ca.score(x.gpt, PROMPT, [TEXTS]), "query of 2 texts", "{text}"),
            ("one of two", lambda x: ca.score(x.gpt, PAIRS, TEXTS), "query of 1 texts", "{first}"),
            ("half a character", lambda x: ca.score(x.gpt, PROMPT, ["\ud83d"]), "text 0 with half",
             "mend"),
            ("too long", lambda x: ca.score(x.gpt, PROMPT, [*TEXTS, LONG]), "text 2 is 11 over",
             "skip"),
            ("all too long", lambda x: ca.score(x.gpt, PROMPT, [LONG], options=ca.ScoreOptions(
                too_long="skip")), "every one longer than tiny-gpt", "demonstrations"),
            ("long word", lambda x: ca.score(x.gpt, replace(PROMPT, words=("a", "Parisian")), TEXTS,
             options=ca.ScoreOptions(preset="paper")), "['Paris', '##i', '##a', '##n']", "leave"),
            ("unknown word", lambda x: ca.score(x.gpt, replace(PROMPT, words=("a", "%")), TEXTS),
             "'%'", "spelling"),
            ("classifier", lambda x: ca.score(x.classifier, PROMPT, TEXTS), "'classifier'",
             "mini-gpt"),
            ("encoder-decoder", lambda x: ca.score(replace(x.gpt, task="seq2seq-lm"), PROMPT,
             TEXTS), "'seq2seq-lm'", "encoder-decoders"),
            ("no tokenizer", lambda x: ca.score(replace(x.gpt, tokenizer=None), PROMPT, TEXTS),
             "without a tokenizer", "tokenizer="),
            ("a mask too many", lambda x: ca.score(x.bert, PROMPT, ["[MASK]"]), "text 0 with 2",
             "causal"),
            ("labels", lambda x: ca.score(x.gpt, PROMPT, TEXTS, labels=[0, 2]), "from 0 to 2",
             "number"),
            ("few labels", lambda x: ca.score(x.gpt, PROMPT, TEXTS, labels=[0]), "shape [1]",
             "number"),
            ("names", lambda x: ca.score(x.gpt, PROMPT, TEXTS, label_names=["a"]), "1 names",
             "leave"),
            ("store of another prompt", lambda x: _stored(x, prompt=replace(PROMPT, words=TEXTS)),
             "with prompt", "another folder"),
            ("store of other scores", lambda x: _stored(x, options=ca.ScoreOptions(
                label_mass=False)), "with label_mass True", "another folder"),
            ("store in a file", lambda x: ca.score(x.gpt, PROMPT, TEXTS, store=x.file("s", "")),
             "no score store", "another folder"),
        ]
    ],
    *[(f"ScoreOptions: {word}", partial(lambda options, _: ca.ScoreOptions(**options), options),
       given, fix)
      for word, options, given, fix in [
          ("preset", {"preset": "fast"}, "preset='fast'", "default"),
          ("too long", {"too_long": "cut"}, "too_long='cut'", "error"),
          ("tokens", {"tokens_per_batch": 0}, "tokens_per_batch=0", "2048"),
      ]],
    ("make_scorer: too long", lambda x: ca.make_scorer(x.gpt)(PROMPT, [(LONG,)]), "11 over",
     "skip"),
    ("ScoreStore: not ours", lambda x: ca.ScoreStore(x.tmp, IDENTITY), "no score store", "another"),
    ("fit_inputs: kind", lambda x: ca.fit_inputs(x.gpt, PROMPT, ROWS, kinds=["luck"]),
     "kind='luck'", "content-free"),
    ("fit_inputs: too long", lambda x: ca.fit_inputs(x.gpt, PROMPT, [replace(ROWS[0], texts=(
        LONG,))], kinds=["estimate"]), "11 over", "skip"),
    *[
        (f"generate_texts: {name}", lambda x, more=more: ca.generate_texts(x.gpt, PROMPT, **more),
         given, fix)
        for name, more, given, fix in [
            ("none", {"num": 0}, "num=0", "100"),
            ("orders", {"num_orders": 0}, "num_orders=0", "1"),
            ("tokens", {"num_tokens": 0}, "num_tokens=0", "128"),
            ("temperature", {"temperature": 0}, "temperature=0", "1"),
            ("noise", {"num": 1, "num_tokens": 4}, "none in the prompt's layout", "show more"),
        ]
    ],
    ("generate_texts: no room", lambda x: ca.generate_texts(x.gpt, replace(
        PROMPT, instruction=LONG), num=1), "a prompt of 41 tokens", "fewer or shorter"),
    ("generate_texts: masked", lambda x: ca.generate_texts(x.bert, PROMPT, num=1), "'masked-lm'",
     "texts of your own"),
    ("FewShotClassifier: nothing", lambda x: ca.FewShotClassifier.load(x.tmp), "no classifier",
     "fit it again"),
    ("FewShotClassifier: no JSON", lambda x: _half_kept(x, "classifier.json", "{"), "'kept'",
     "fit it again"),
    ("FewShotClassifier: another", lambda x: _half_kept(x, "classifier.json", "[1]"), "'kept'",
     "fit it again"),
    ("FewShotClassifier: half", lambda x: _half_kept(x, "calibrator.json"), "calibrator.json",
     "fit it again"),
    ("FewShotClassifier: another model", lambda x: _kept(x).classify(x.bert, TEXTS), "tiny-bert",
     "open that model"),
    ("FewShotClassifier: exists", lambda x: _kept(x).save(x.tmp), "exists", "--force"),
    ("FewShotClassifier: not ours", lambda x: _kept(x).save(x.file("mine", "").parent, force=True),
     "without 'classifier.json'", "another output path"),
    *[
        (f"compare: {name}",
         lambda _, scores=scores, labels=labels, more=more: ca.compare(
             scores, labels, **{"inputs": {"estimate": SCORES}} | more), given, fix)
        for name, scores, labels, more, given, fix in [
            ("labels", SCORES, LABELS[:2], {}, "2 labels", "same run"),
            ("unknown labels", SCORES, LABELS - LABELS - 1, {}, "0 known labels", "give the lab"),
            ("high labels", SCORES, LABELS + 1, {}, "from 1 to 2", "give the labels"),
            ("names", SCORES, LABELS, {"label_names": ["a"]}, "1 names", "same run"),
            ("method", SCORES, LABELS, {"methods": ["magic"]}, "method='magic'", "none"),
            ("no method", SCORES, LABELS, {"methods": []}, "no methods", "leave it out"),
            ("no inputs", SCORES, LABELS, {"inputs": {}, "methods": ["batch"]}, "none were given",
             "add 'none'"),
            ("kind", SCORES, LABELS, {"inputs": {"luck": SCORES}}, "'luck'", "content-free"),
            ("columns", SCORES, LABELS, {"inputs": {"estimate": np.zeros((3, 3))}}, "[3, 3]",
             "same label words"),
            ("pair", SCORES, LABELS, {"inputs": {"labelled": SCORES}}, "labelled inputs", ""),
            ("level", SCORES, LABELS, {"level": 2}, "level=2", "0.95"),
            ("option", SCORES, LABELS, {"options": {"batch": {"speed": 1}}}, "'speed'", "help("),
            ("NaN", _spoilt(np.nan), LABELS, {"methods": ["none"]}, "nan at row 0", ""),
        ]
    ],
    ("Comparison: metric", lambda _: _compared().value("none", "luck"), "'luck'", "use accuracy"),
    ("Comparison: method", lambda _: _compared().value("magic"), "'magic'", "use none"),
    ("Comparison: difference", lambda _: _compared().difference("batch"), "batch against none",
     "both methods"),
    ("Comparison: picture", lambda _: _compared().plot(kind="cake"), "cake", ""),
    *[(f"{name}: load nothing", lambda x, name=name: getattr(ca, name).load(x.tmp / "no"), "no",
       "save()") for name in ("Comparison", "Robustness", "Scores")],
    ("Scores: load another", lambda x: ca.Scores.load(_compared().save(x.tmp / "c")),
     "calibration.comparison", "load_result"),
    *[
        (f"StudyDesign: {name}", partial(lambda options, _: ca.StudyDesign(**options), options),
         given, fix)
        for name, options, given, fix in [
            ("axis", {"axes": ("luck",)}, "axis='luck'", "template"),
            ("no axis", {"axes": ()}, "axes ()", ""),
            ("method", {"methods": ("magic",)}, "method='magic'", "none"),
            ("generative", {"methods": ("generative",)}, "generative", "leave generative out"),
            ("seeds", {"num_seeds": 0}, "num_seeds=0", "5"),
            ("share", {"proportions": (2,)}, "proportion=2", "0.5"),
            ("size", {"estimate_sizes": (200,)}, "estimate size of 200", "leave that size out"),
        ]
    ],
    ("plan_study: leading", lambda _: ca.plan_study(ca.StudyDesign(leading=2), prompt=PROMPT,
     train=ROWS), "leading=2", "leading=0"),
    ("plan_study: variants", lambda _: ca.plan_study(ca.StudyDesign(), prompt=PROMPT, train=ROWS,
     variants={"other": PAIRS}), "template 'other'", "one label word"),
    ("plan_study: rows", lambda _: ca.plan_study(ca.StudyDesign(axes=("seed",)), prompt=PROMPT,
     train=ROWS), "from 2 different rows", "give more rows"),
    ("run_study: no test", lambda _: _study(test=[]), "0 rows to judge by", "labelled rows"),
    ("run_study: seen", lambda _: _study(test=[ca.LabelledRow(texts=("a 0",), label=0)]),
     "1 texts in train and in test", "leave them out"),
    ("run_study: scores", lambda _: _study(score_texts=lambda *_: np.zeros((1, 2))), "[1, 2]",
     "a row for every text"),
    ("calibrate_samples: few", lambda x: ca.calibrate_samples(some(x, num=3)), "3 documents",
     "more documents"),
    ("calibrate_samples: no targets", lambda x: ca.calibrate_samples(some(x, {"target": -1})),
     "0 known labels", "give the labels"),
    ("calibrate_samples: choices", lambda x: ca.calibrate_samples(some(x), estimate=replace(
        some(x), choices=("a", "b"))), "the choices a, b", "same task"),
    ("calibrate_samples: method", lambda x: ca.calibrate_samples(some(x), methods=["magic"]),
     "method='magic'", "none"),
    *LABELLED_ROWS,
]  # fmt: skip

# Public names that no row needs, each with the reason.
CALIBRATION_REASONS = {
    **dict.fromkeys(("Answers", "FitInputs", "GeneratedTexts"), "made by functions that check"),
    **dict.fromkeys(("CONTENT_FREE", "METHODS"), "constants"),
    "LabelledRow": "texts and a number; the prompt that takes it judges them",
    "label_tasks": "takes nothing",
    "order_demonstrations": "any rows have an order",
    "calibrate": "the module of the verbs, whose names are rows of their own",
}  # fmt: skip
