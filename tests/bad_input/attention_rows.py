"""Every public function of attention attribution and of pruning, fed what it cannot take."""

from dataclasses import replace
from functools import partial

import numpy as np

import vesalius
from bad_input import bad_models
from bad_input.lab import PROMPT, TEXT, Call
from vesalius.models.pruned import export_plain, head_groups, prune_heads, save_pruned

at = vesalius.attention
A = at.AttributeConfig

# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
ATTENTION_ROWS: list[tuple[str, Call, str, str]] = [
    *[
        (f"attribute: {name}", call, given, fix)
        for name, call, given, fix in [
            ("no texts", lambda x: at.attribute(x.classifier, []), "no texts", "pass"),
            ("one text", lambda x: at.attribute(x.classifier, TEXT), "one text, not a list", "["),
            ("empty text", lambda x: at.attribute(x.classifier, [""]), "an empty text", ""),
            ("too long", lambda x: at.attribute(x.classifier, ["a " * 40]), "42 tokens", "shorten"),
            ("class", lambda x: at.attribute(x.classifier, [TEXT], targets="x"), "class 'x'", ""),
            ("number", lambda x: at.attribute(x.classifier, [TEXT], targets=2), "class 2", ""),
            ("targets", lambda x: at.attribute(x.classifier, [TEXT], targets=[0, 1]),
             "2 targets for 1 text", "targets="),
            ("foil", lambda x: at.attribute(x.classifier, [TEXT], foils=1), "a foil with", "drop"),
            ("word", lambda x: at.attribute(x.bert, [PROMPT], targets="Parisian"), "Parisian",
             "one-token"),
            ("no mask", lambda x: at.attribute(x.bert, [TEXT]), "0 masks", "one gap"),
            ("prompts in pairs", lambda x: at.attribute(x.bert, [PROMPT], pairs=["a"]),
             "pairs of texts", "[MASK]"),
            ("single text", lambda x: at.attribute(x.pairs, [TEXT]), "single texts", "pairs="),
            ("pair", lambda x: at.attribute(x.opened("single_texts"), [TEXT], pairs=["a"]),
             "pairs of texts", "leave"),
            ("second texts", lambda x: at.attribute(x.classifier, [TEXT], pairs=["a", "b"]),
             "1 first texts and 2", "same length"),
            ("images", lambda x: at.attribute(x.opened("images"), [TEXT]), "classifies images",
             "pixel_values"),
            ("regression", lambda x: at.attribute(x.opened("regression"), [TEXT]), "one label",
             "logit"),
            ("not climbed", lambda x: at.attribute(x.opened("out_of_reach"), [TEXT]), "logits", ""),
            ("no seam", lambda _: at.attribute(bad_models.without_seam(), [TEXT]), "own", ""),
            ("config and preset", lambda x: at.attribute(x.classifier, [TEXT], config=A(),
             preset="paper"), "preset", ""),
        ]
    ],
    *[
        (f"AttributeConfig: {name}", partial(lambda options, _: A(**options), options), given, fix)
        for name, options, given, fix in [
            ("target", {"target": "fame"}, "target='fame'", "probability"),
            ("baseline", {"baseline": "one"}, "baseline='one'", "zero"),
            ("mean", {"baseline": "mean"}, "baseline='mean' with 0 ref", "texts"),
            ("no mean", {"reference": ("a",)}, "baseline='zero' with 1 ref", "leave both out"),
            ("second", {"baseline": "mean", "reference": ("a",), "reference_pairs": ("b", "c")},
             "1 reference texts, 2", "as many"),
            ("rule", {"rule": "simpson"}, "rule='simpson'", "gauss_legendre"),
            ("nodes", {"num_nodes": 0}, "num_nodes=0", "num_nodes=8"),
            ("keep", {"keep": -1}, "keep=-1", "keep=0"),
            ("pad", {"pad_to": 0}, "pad_to=0", "pad_to=128"),
            ("tolerance", {"tolerance": -1}, "tolerance=-1", "1e-3"),
            ("memory", {"memory": "much"}, "memory='much'", "2GiB"),
        ]
    ],
    ("attribute_preset: unknown", lambda _: at.attribute_preset("fast"), "preset='fast'",
     "default"),
    ("attribute_preset: option", lambda _: at.attribute_preset("paper", nodes=3), "nodes", "help("),
    ("AttributeTask: other weights",
     lambda x: at.AttributeTask(model=str(x.bert_folder), fingerprint="another").open(),
     "fingerprint", "same weights"),
    *[(f"{name}: load nothing", lambda x, name=name: getattr(at, name).load(x.tmp / "no"), "no",
       "save()") for name in ("Attributions", "Faithfulness", "HeadStudy")],
    ("HeadImportance: load another", lambda x: at.HeadImportance.load(
        at.attribute(x.classifier, [TEXT]).save(x.tmp / "a")), "attention_attribution.attribute",
     "load_result"),
    ("Attributions: text", lambda x: at.attribute(x.classifier, [TEXT]).layer_links(1), "text 1",
     "count"),
    ("HeadImportance: measure", lambda x: x.heads().importance("luck"), "'luck'", "max"),
    ("HeadImportance: not taken", lambda x: x.heads().importance("taylor"), "'taylor'", "take it"),
    ("LayerLinks: shapes", lambda x: replace(x.links(), tokens=("a",)), "1 tokens", "layer_links"),
    ("LayerLinks: NaN", lambda x: replace(x.links(), scores=x.links().scores * np.nan),
     "not a number", "float32"),
    ("PruneCurve: order", lambda x: x.curve().accuracy("luck"), "'luck'", ""),
    ("build_tree: tau", lambda x: at.build_tree(x.links(), tau=2), "tau=2", "0.4"),
    ("build_tree: rule", lambda x: at.build_tree(x.links(), rule="oak"), "rule='oak'", "score"),
    ("build_tree: root", lambda x: at.build_tree(x.links(), root="top"), "root='top'", "word"),
    ("sweep_tau: tau", lambda x: at.sweep_tau(x.links(), taus=[0.1, -1]), "tau=-1", "0.4"),
    ("build_graph: none", lambda x: at.build_graph(x.links(), per_layer=0), "per_layer=0", "8"),
    ("faithfulness: controls", lambda x: at.faithfulness(x.classifier, [TEXT], num_random=0),
     "num_random=0", "20"),
    ("faithfulness: tau", lambda x: at.faithfulness(x.classifier, [TEXT], tau=2), "tau=2", "0.4"),
    ("head_importance: baseline", lambda x: at.head_importance(x.classifier, [TEXT],
     baselines=["luck"]), "'luck'", "raw attention"),
    ("head_importance: class", lambda x: at.head_importance(x.classifier, [TEXT], labels="x"),
     "class 'x'", ""),
    ("head_study: labels", lambda x: at.head_study(x.classifier, [TEXT], labels=[0, 1]),
     "2 targets for 1", "targets="),
    ("correlate_heads: one", lambda x: at.correlate_heads([x.heads()], names=["a"]), "1 results",
     "another task"),
    ("plot_importance: measure", lambda x: at.plot_importance(x.heads(), by="luck"), "'luck'",
     "max"),
    ("plot_correlation: kind", lambda x: at.plot_correlation(
        at.correlate_heads([x.heads(), x.heads()], names=["a", "b"]), kind="kendall"), "kendall",
     "pearson"),
    ("prune: share", lambda x: at.prune(x.classifier, x.heads(), share=2), "share=2", "0.5"),
    ("prune: measure", lambda x: at.prune(x.classifier, x.heads(), by="luck"), "'luck'", "max"),
    ("prune: other weights", lambda x: at.prune(x.opened("other_weights"), x.heads()),
     "the heads of tiny-classifier", "attention heads"),
    ("prune: shape", lambda x: at.prune(x.classifier, np.ones((1, 2))), "[1, 2]", "importance"),
    ("prune: NaN", lambda x: at.prune(x.classifier, np.full((2, 2), np.nan)), "[2, 2]", ""),
    ("prune: no heads found", lambda _: at.prune(bad_models.without_seam(), np.ones((2, 2))), "own",
     ""),
    ("prune_curve: its own texts", lambda x: at.prune_curve(x.classifier, [TEXT], x.heads(),
     labels=0), "1 texts that the importance", "test"),
    ("prune_curve: controls", lambda x: at.prune_curve(x.classifier, ["Rome"], x.heads(), labels=0,
     num_random=-1), "num_random=-1", "10"),
    ("prune_curve: shares", lambda x: at.prune_curve(x.classifier, ["Rome"], x.heads(), labels=0,
     shares=[0, 2]), "share=2", "0.5"),
    ("removal_units: unknown attention", lambda _: at.removal_units(bad_models.homemade()),
     "no Transformer block", "register_parts"),
    ("prune_heads: no such head", lambda x: prune_heads(x.classifier, [(0, 7)]), "head (0, 7)",
     "attention_sites"),
    ("prune_heads: no such site", lambda x: prune_heads(x.classifier, [(9, 0)]), "head (9, 0)", ""),
    ("prune_heads: grouped", lambda x: prune_heads(x.opened("grouped"), [(0, 0)]),
     "without the rest of their group [0, 1]", "head_groups"),
    ("head_groups: unknown", lambda _: head_groups(bad_models.homemade()), "no Transformer block",
     "register_parts"),
    ("save_pruned: a whole model", lambda x: save_pruned(x.classifier, x.tmp / "c"),
     "no head was pruned", "prune it first"),
    ("save_pruned: exists", lambda x: save_pruned(prune_heads(x.classifier, [(0, 0)]), x.tmp),
     "exists", "--force"),
    ("export_plain: pruned already", lambda x: export_plain(
        prune_heads(x.classifier, [(0, 0)]), [(0, 0)], x.tmp / "c"), "pruned already", "save_p"),
    ("export_plain: not smaller", lambda x: export_plain(x.classifier, [(0, 0)], x.tmp / "c",
     smaller=True), "sites keep different numbers", "--checkpoint"),
    ("export_plain: d_head", lambda x: export_plain(x.classifier, [(0, 0), (1, 0)], x.tmp / "c",
     smaller=True), "size mismatch", "--checkpoint"),
    *[(f"{name}: load nothing", lambda x, name=name: getattr(at, name).load(x.tmp / "no"), "no",
       "save()") for name in ("Triggers", "Attack")],
    ("find_triggers: no texts", lambda x: at.find_triggers(x.classifier, []), "no texts", ""),
    ("find_triggers: prompts", lambda x: at.find_triggers(x.bert, [PROMPT]), "masked-lm",
     "mini-classifier"),
    ("find_triggers: regression", lambda x: at.find_triggers(x.opened("regression"), [TEXT]),
     "1 class", "no class to flip"),
    ("attack: no triggers", lambda x: at.attack(x.classifier, [TEXT], replace(
        at.find_triggers(x.classifier, [TEXT]), triggers=()), labels=0), "no triggers",
     "--min-score"),
]  # fmt: skip

# Public names that no row needs, each with the reason.
ATTENTION_REASONS = {
    **dict.fromkeys(("Example", "Graph", "Hierarchy", "HeadCorrelation", "PrunedModel", "TauSweep",
                     "Tree", "Trigger"), "made by the functions, which check"),
    "hierarchy": "LayerLinks judge themselves",
    **dict.fromkeys(("receptive_field", "plot_tree", "plot_graph", "plot_tau_sweep",
                     "plot_receptive_field"), "made things, or none of them"),
    "attention": "the module of the verbs, whose names are rows of their own",
    "pruned_class": "makes a class; opening judges the list of heads",
}  # fmt: skip
