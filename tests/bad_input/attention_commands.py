"""Every command of attention, fed what it cannot take."""

from bad_input.lab import PROMPT, TEXT

TEXTED = ("--text", TEXT)
LABELLED = ("--data", "{opinions}")

# (what is wrong; the words of the command; exit code; parts of the message)
ATTENTION_COMMANDS: list[tuple[str, list[str], int, tuple[str, ...]]] = [
    *[
        (f"{verb}: {name}", ["attention", verb, "--model", "{clf}", *words], code, parts)
        for verb in ("attribute", "tree", "graph")
        for name, words, code, parts in [
            ("no text", [], 2, ("no text", "--texts")),
            ("two sources", [*TEXTED, "--texts", "f.txt"], 2, ("--text and --texts",)),
            ("pair with a file", ["--texts", "f", "--pair", "a"], 2, ("--pair with --texts",)),
            ("pairs", [*TEXTED, "--pair", "a", "--pair", "b"], 2, ("1 --text and 2 --pair",)),
            ("labels", [*TEXTED, *("--label", "0") * 2], 2, ("2 --label for 1 text",)),
            ("no file", ["--texts", "{tmp}/no.txt"], 1, ("no.txt", "spelling")),
            ("a folder", ["--texts", "{tmp}"], 1, ("directory", "spelling")),
            ("an empty file", ["--texts", "{tmp}/empty.txt"], 1, ("empty.txt: no text",)),
            ("tabs", ["--texts", "{tmp}/tabs.tsv"], 1, ("tabs.tsv, line 3: 1 text and 0 tabs",)),
            ("empty text", ["--text", " "], 1, ("empty text",)),
            ("long text", ["--text", "a " * 40], 1, ("42 tokens", "at most 32", "shorten")),
            ("class", [*TEXTED, "--label", "neutral"], 1, ("'neutral'", "negative, positive")),
            ("foil alone", [*TEXTED, "--foil", "positive"], 1, ("a foil with",)),
            ("foil", [*TEXTED, "--target", "logit-difference", "--foil", "x"], 1, ("'x'",)),
            ("target", [*TEXTED, "--target", "fame"], 1, ("target='fame'", "probability")),
            ("baseline", [*TEXTED, "--baseline", "one"], 1, ("baseline='one'", "uniform")),
            ("mean alone", [*TEXTED, "--baseline", "mean"], 2, ("mean without --reference",)),
            ("reference alone", [*TEXTED, "--reference", "f"], 2, ("zero with --reference",)),
            ("reference", [*TEXTED, "--baseline", "mean", "--reference", "{tmp}/no"], 1, ("no",)),
            ("preset", [*TEXTED, "--preset", "fast"], 1, ("preset='fast'", "paper")),
            ("rule", [*TEXTED, "--rule", "simpson"], 1, ("simpson", "gauss_legendre")),
            ("nodes", [*TEXTED, "--nodes", "0"], 1, ("num_nodes=0",)),
            ("memory", [*TEXTED, "--memory", "much"], 1, ("much", "2GiB")),
            ("keep", [*TEXTED, "--keep", "-1"], 1, ("keep=-1",)),
            ("tau", [*TEXTED, "--tau", "2"], 1, ("tau=2", "0.4")),
            ("tree rule", [*TEXTED, "--tree-rule", "oak"], 1, ("tree-rule='oak'", "score")),
            ("root", [*TEXTED, "--root", "top"], 1, ("root='top'", "reader")),
            ("links", [*TEXTED, "--per-layer", "0"], 2, ("--per-layer",)),
            ("picture", [*TEXTED, "--plot", "p.gif"], 2, ("p.gif", ".png")),
            ("out exists", [*TEXTED, "--out", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", [*TEXTED, "--out", "{tmp}", "--force"], 1, ("result.json",)),
            ("inside", [*TEXTED, "--out", "{tmp}/o", "--html", "{tmp}/o/p"], 2, ("beside",)),
            ("dry run", [*TEXTED, "--dry-run", "--label", "neutral"], 1, ("'neutral'",)),
        ]
    ],
    *[
        (f"attribute: {name}", ["attention", "attribute", "--model", *words], 1, parts)
        for name, words, parts in [
            ("regression", ["{regression}", *TEXTED], ("one label", "--target logit")),
            ("one text of a pair", ["{pairs}", *TEXTED], ("single texts", "--pair")),
            ("two of one", ["{single_texts}", *TEXTED, "--pair", "a"], ("pairs of texts",)),
            ("pairs of a prompt", ["{bert}", "--text", PROMPT, "--pair", "a"], ("pairs", "MASK")),
            ("no mask", ["{bert}", *TEXTED], ("0 masks",)),
            ("word", ["{bert}", "--text", PROMPT, "--label", "Parisian"], ("one token",)),
            ("images", ["{images}", *TEXTED], ("classifies images", "pixel")),
            ("NaN", ["{not_a_number}", *TEXTED], ("NaN", "another checkpoint")),
            ("out of reach", ["{out_of_reach}", "--text", "Paris is"], ("logits",)),
        ]
    ],
    *[
        (f"{verb}: {name}", ["attention", verb, "--model", "{clf}", *words, *extra], code, parts)
        for verb, extra in {
            "faithfulness": [], "heads": [], "prune": [], "sweep": ["--out", "{tmp}/sweep"]
        }.items()
        for name, words, code, parts in [
            ("no data", ["--data", "{tmp}/no.tsv"], 1, ("no.tsv",)),
            ("split", [*LABELLED, "--split", "exam"], 1, ("'exam'", "train, dev, test")),
            ("number", [*LABELLED, "--max-texts", "-1"], 2, ("--max-texts",)),
            ("mean alone", [*LABELLED, "--baseline", "mean"], 2, ("without --reference",)),
            ("target", [*LABELLED, "--target", "fame"], 1, ("target='fame'",)),
        ]
    ],
    *[
        (f"{verb}: other labels", ["attention", verb, "--model", "{clf}", "--data",
         "{tmp}/mail.tsv", "--dev-share", "0.5", *extra], 1, ("label 'ham'", "negative, positive"))
        for verb, extra in {
            "heads": [], "prune": ["--on", "train"], "sweep": ["--gold", "--out", "{tmp}/sweep"]
        }.items()
    ],
    *[
        (f"faithfulness: {name}", ["attention", "faithfulness", *LABELLED, *words], code, parts)
        for name, words, code, parts in [
            ("tau", ["--tau", "2"], 1, ("tau=2",)),
            ("rule", ["--tree-rule", "oak"], 1, ("'oak'",)),
            ("controls", ["--controls", "0"], 2, ("--controls",)),
            ("regression", ["--model", "{regression}"], 1, ("one label",)),
            ("inside", ["--out", "{tmp}/o", "--plot", "{tmp}/o/p.png"], 2, ("beside",)),
        ]
    ],
    ("sweep: tree rule", ["attention", "sweep", *LABELLED, "--tree-rule", "oak", "--out",
     "{tmp}/o"], 1, ("'oak'",)),
    ("sweep: tau", ["attention", "sweep", *LABELLED, "--tau", "nan", "--out", "{tmp}/o"], 1,
     ("tau=nan",)),
    ("sweep: engine", ["attention", "sweep", "--model", "{clf}", *LABELLED, "--engine", "steam",
     "--out", "{tmp}/o"], 1, ("engine='steam'",)),
    ("heads: words", ["attention", "heads", "--model", "{bert}", *LABELLED], 1, ("0 masks",)),
    *[
        (f"prune: {name}", ["attention", "prune", "--model", "{clf}", *LABELLED, *words],
         code, parts)
        for name, words, code, parts in [
            ("share", ["--share", "2"], 1, ("share=2", "0.5")),
            ("share NaN", ["--share", "nan"], 1, ("share=nan",)),
            ("by", ["--by", "luck"], 1, ("by='luck'", "taylor")),
            ("not measured", ["--heads", "{heads}", "--by", "taylor"], 1, ("--no-baselines",)),
            ("one split", ["--on", "dev"], 2, ("--split dev and --on dev",)),
            ("measured texts", ["--heads", "{heads}", "--on", "dev"], 1, ("measured on", "test")),
            ("no such curve", ["--heads", "{heads}", "--on", "exam"], 1, ("'exam'",)),
            ("no heads", ["--heads", "{tmp}"], 1, ("result.json",)),
            ("heads of another", ["--model", "{other_weights}", "--heads", "{heads}"], 1,
             ("the heads of tiny-classifier", "attention heads")),
            ("measured twice", ["--heads", "{heads}", "--baseline", "uniform"], 2,
             ("--heads with --baseline",)),
            ("smaller", ["--smaller"], 2, ("--smaller without --plain",)),
            ("not smaller", ["--heads", "{heads}", "--plain", "{tmp}/p", "--smaller"], 1,
             ("--checkpoint",)),
            ("nothing to cut", ["--heads", "{heads}", "--share", "0", "--checkpoint", "{tmp}/c"], 1,
             ("--share 0",)),
            ("one folder", ["--plain", "{tmp}/p", "--checkpoint", "{tmp}/p"], 2, ("beside",)),
            ("no curve to write", ["--on", "none", "--out", "{tmp}/o"], 2, ("--on none",)),
            ("checkpoint exists", ["--checkpoint", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", ["--checkpoint", "{tmp}", "--force"], 1, ("config.json",)),
            ("controls", ["--controls", "-1"], 2, ("--controls",)),
        ]
    ],
    *[
        (f"triggers: {name}", ["attention", "triggers", "--model", "{clf}", *LABELLED, *words],
         code, parts)
        for name, words, code, parts in [
            ("one split", ["--on", "train"], 2, ("--split-from train and --on train",)),
            ("nothing to read", ["--on", "none", "--transfer", "m"], 2, ("--on none with",)),
            ("no triggers", ["--triggers", "{tmp}"], 1, ("result.json",)),
            ("class", ["--label", "neutral"], 1, ("'neutral'",)),
            ("by", ["--by", "luck"], 1, ("by='luck'", "attribution")),
            ("no split", ["--split-from", "exam"], 1, ("'exam'",)),
            ("prompts", ["--model", "{bert}"], 1, ("masked-lm",)),
            ("out exists", ["--out", "{tmp}"], 1, ("exists", "--force")),
        ]
    ],
]  # fmt: skip
