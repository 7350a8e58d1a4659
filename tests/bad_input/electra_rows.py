"""Every public function of ELECTRA pretraining, fed what it cannot take."""

from dataclasses import replace
from typing import Any

import electra_toys
import pretrain_toys as toys
import vesalius
from bad_input.lab import Call
from vesalius.data.tokenizer import train_tokenizer
from vesalius.recipes import pretrain_run, pretrain_text
from vesalius.recipes.pretrain import plan_pretrain, pretrain_electra
from vesalius.recipes.pretrain_config import options_from, pretrain_preset
from vesalius.recipes.pretrain_text import TextRequest

el = vesalius.electra
BATCH: Any = electra_toys.make_batches()


def _measured(**changes: Any) -> Any:
    objective = electra_toys.make_objective()
    return el.verify_variance(objective, BATCH, **({"num_batches": 1, "num_slots": 1} | changes))


def _fitted(**changes: Any) -> Any:
    words: Any = {"sampler": "hardness-loss", "num_steps": 1} | changes
    return el.fit_head(electra_toys.make_objective(), BATCH, **words)


# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
ELECTRA_ROWS: list[tuple[str, Call, str, str]] = [
    *[
        (f"ElectraOptions: {name}", lambda _, w={name: value}: el.ElectraOptions(**w),
         f"{name}={value!r}", fix)
        for name, value, fix in (
            ("sampler", "luck", "generator"), ("hardness", "size", "loss"),
            ("mask_prob", 0.0, "0.15"), ("mask_token_prob", 1.5, "0.85"),
            ("temperature", 0.0, "1.0"), ("max_weight", -1.0, "20.0"),
            ("hardness_floor", 0.0, "0.02"), ("final_temperature", -1.0, "0.0"),
            ("focal_gamma", float("inf"), "1.0"), ("discriminator_weight", "a", "50.0"),
            ("hardness_weight", -0.5, "1.0"),
        )
    ],
    ("electra_preset: name", lambda _: el.electra_preset("luck"), "preset='luck'", "plain"),
    ("electra_preset: option", lambda _: el.electra_preset("plain", gamma=1), "with gamma",
     "ElectraOptions"),
    ("Enumeration: no tokens", lambda _: el.Enumeration(num_top=0), "num_top=0", "1024"),
    ("Enumeration: draws", lambda _: el.Enumeration(num_draws=1), "num_draws=1", "64"),
    ("verify_variance: slots", lambda _: _measured(num_slots=0), "num_slots=0", "256"),
    ("verify_variance: batches", lambda _: _measured(num_batches=0), "num_batches=0", "8"),
    ("verify_variance: gradients", lambda _: _measured(num_gradient_slots=-1),
     "num_gradient_slots=-1", "4"),
    ("fit_head: sampler", lambda _: _fitted(sampler="generator"), "'generator'", "hardness-loss"),
    ("fit_head: steps", lambda _: _fitted(num_steps=0), "num_steps=0", "200"),
    ("VarianceResult: load nothing", lambda x: el.VarianceResult.load(x.tmp / "no"), "no",
     "save()"),
    ("pretrain_preset: name", lambda _: pretrain_preset("huge"), "preset='huge'", "tiny"),
    ("pretrain_preset: recipe", lambda _: pretrain_preset(recipe="luck"), "'luck'", "plain"),
    ("pretrain_preset: option", lambda _: pretrain_preset(depth=3), "with depth", "help"),
    ("pretrain_preset: long rows", lambda _: pretrain_preset(context_length=999),
     "context_length=999 with max_length=128", "max_length 999"),
    ("pretrain_preset: short rows", lambda _: pretrain_preset(context_length=2),
     "context_length=2", "128"),
    ("options_from: an older release", lambda _: options_from({"width": 3}),
     "without architecture", "release"),
    ("TextRequest: two texts", lambda _: TextRequest(text=("a",), data="b"), "text and data",
     "leave one out"),
    ("TextRequest: learned from ids", lambda _: TextRequest(data="b", train_tokenizer=9),
     "train_tokenizer with data", "give the texts"),
    ("open_tokenizer: unknown", lambda x: pretrain_text.open_tokenizer(x.tmp / "no"), "no", "name"),
    ("open_tokenizer: none", lambda x: pretrain_text.open_tokenizer(x.folder("no_tokenizer")),
     "no vocabulary", "save_pretrained"),
    ("train_tokenizer: no room", lambda _: train_tokenizer(["a"], vocab_size=5), "vocab_size=5",
     "8000"),
    ("encode_texts: spaces", lambda x: pretrain_text.encode_texts(
        [" "], tokenizer=x.bert.tokenizer), "no document", "empty texts"),
    ("plan_pretrain: a folder of something else", lambda x: plan_pretrain(
        out=x.file("f", "").parent, options=toys.options()), "exists", "--force"),
    ("plan_pretrain: device", lambda x: plan_pretrain(
        out=x.tmp / "o", options=replace(toys.options(), device="abacus")), "abacus", "cpu"),
    ("pretrain_electra: no mask", lambda x: pretrain_electra(
        x.tmp / "o", tokenizer="mini-gpt", options=toys.options()), "without a mask", "mini-bert"),
    ("open_run: nothing", lambda x: pretrain_run.open_run(x.tmp), "without run.json", "--out"),
    ("read_record: damaged", lambda x: pretrain_run.read_record(
        x.file("run.json", "{").parent), "run.json", "another folder"),
]  # fmt: skip

ELECTRA_REASONS = {
    "ElectraOutput": "made by the objective",
    "Draw": "made by draw_replacements",
    "HeadScores": "tensors; the shape checks judge them",
    "ReplacedTokenObjective": "takes a pair and options, which are judged when they are made",
    **dict.fromkeys(("SlotExample", "VarianceRatio"), "made by verify_variance"),
    **dict.fromkeys(
        ("draw_replacements", "focal_loss", "importance_weights"),
        "tensors and options; the shape checks judge them",
    ),
    "probe_variance": "called by the loop with a batch of slots; verify_variance has the rows",
    "variance_alarms": "reads numbers by name",
    "electra": "the module of the verbs, whose names are rows of their own",
}
