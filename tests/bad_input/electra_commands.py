"""`vesalius pretrain electra` and `vesalius electra ...`, fed what they cannot take."""

from pathlib import Path

import pretrain_toys as toys
from vesalius.data.prepare import prepare
from vesalius.recipes.pretrain import pretrain_electra
from vesalius.recipes.pretrain_text import open_tokenizer

WORDS = ("--text", "{tmp}/words.txt", "--tokenizer", "{bert}", "--context-length", "16")
FEW = (*WORDS, "--rows-per-batch", "2")

ELECTRA_FILES: dict[str, str | bytes] = {
    "words.txt": "\n\n".join(toys.sentences(30)) + "\n",
    "short.txt": "Paris is a city\n\nRome\n\nTokyo is a city\n",
    "nothing.txt": "",
    "latin.txt": b"Paris is a city\n\nTh\xe9 capital\n",
}

# (what is wrong; the words of the command; exit code; parts of the message)
ELECTRA_COMMANDS: list[tuple[str, list[str], int, tuple[str, ...]]] = [
    *[
        (f"pretrain electra: {name}", ["pretrain", "electra", "--out", "{tmp}/o", *words],
         code, parts)
        for name, words, code, parts in [
            ("two texts", [*WORDS, "--data", "{tmp}/o"], 2, ("--text and --data",)),
            ("two tokenizers", [*WORDS, "--train-tokenizer", "99"], 2,
             ("--train-tokenizer and --tokenizer",)),
            ("learned from ids", ["--data", "{tmp}", "--train-tokenizer", "99"], 2,
             ("--train-tokenizer and --data",)),
            ("no file", ["--text", "{tmp}/no.txt"], 1, ("no.txt", "does not exist")),
            ("empty file", ["--text", "{tmp}/nothing.txt"], 1, ("nothing.txt", "empty file")),
            ("blank file", ["--text", "{tmp}/empty.txt"], 1, ("empty.txt", "no document")),
            ("not UTF-8", ["--text", "{tmp}/latin.txt"], 1,
             ("latin.txt', line 3", "0xe9", "UTF-8")),
            ("kind of file", ["--text", "{bert}/config.json"], 1, ("config.json", ".txt")),
            ("boundary", [*FEW, "--boundary", "page"], 1, ("boundary='page'", "blank-line")),
            ("column of text", [*FEW, "--column", "body"], 1, ("words.txt", "--column")),
            ("less than a batch", [*WORDS, "--rows-per-batch", "99"], 1,
             ("which fill", "rows_per_batch smaller")),
            ("less than a row", ["--text", "{tmp}/short.txt", "--tokenizer", "{bert}"], 1,
             ("one batch at least",)),
            ("no shards", ["--data", "{tmp}"], 1, ("manifest.json", "vesalius data prepare")),
            ("other shards", ["--data", "{shards}"], 1, ("tokenizer with hash", "tiny-bert")),
            ("no mask token", ["--tokenizer", "mini-gpt"], 1, ("without a mask", "mini-bert")),
            ("no tokenizer", ["--tokenizer", "{tmp}/none"], 1, ("none", "look at the name")),
            ("small vocabulary", ["--text", "{tmp}/words.txt", "--train-tokenizer", "3"], 1,
             ("vocab_size=3", "8000")),
            ("preset", [*FEW, "--preset", "huge"], 1, ("preset='huge'", "tiny, small, base")),
            ("recipe", [*FEW, "--recipe", "luck"], 1, ("preset='luck'", "hardness+focal")),
            ("sampler", [*FEW, "--sampler", "luck"], 1, ("sampler='luck'", "hardness-loss")),
            ("architecture", [*FEW, "--architecture", "rnn"], 1, ("architecture='rnn'",)),
            ("sharing", [*FEW, "--sharing", "some"], 1, ("sharing='some'", "disentangled")),
            ("heads", [*FEW, "--width", "30"], 1, ("width=30, num_heads=4",)),
            ("long rows", [*FEW, "--context-length", "256"], 1,
             ("context_length=256 with max_length=128", "--max-length")),
            ("mask share", [*FEW, "--mask-prob", "1.5"], 1, ("mask_prob=1.5",)),
            ("temperature", [*FEW, "--temperature", "0"], 1, ("temperature=0",)),
            ("gamma", [*FEW, "--focal-gamma", "nan"], 1, ("focal_gamma=nan",)),
            ("steps", [*FEW, "--steps", "0"], 2, ("--steps",)),
            ("lr", [*FEW, "--lr", "-1"], 1, ("lr=-1.0",)),
            ("optimizer", [*FEW, "--optimizer", "sgd"], 1, ("optimizer='sgd'", "muon")),
            ("fsdp with muon", [*FEW, "--parallel", "fsdp"], 1, ("muon", "fsdp")),
            ("device", [*FEW, "--device", "abacus"], 1, ("abacus", "cpu")),
            ("threads", [*FEW, "--threads", "-1"], 2, ("--threads",)),
            ("out exists", [*FEW, "--out", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", [*FEW, "--out", "{tmp}", "--force"], 1, ("run.json",)),
            ("out is a file", [*FEW, "--out", "{tmp}/mine.txt"], 1, ("mine.txt", "exists")),
            ("under a file", [*FEW, "--out", "{tmp}/mine.txt/o"], 1, ("'mine.txt' is a file",)),
            ("another run", [*FEW, "--out", "{run}"], 1, ("width: 16 then, 128 now", "--force")),
        ]
    ],
    *[
        (f"electra {verb}: {name}", ["electra", verb, *words], code, parts)
        for verb, more in {"export": ["{tmp}/o"], "verify-variance": []}.items()
        for name, words, code, parts in [
            ("no run", ["{tmp}/none", *more], 1, ("without run.json", "--out")),
            ("not a run", ["{bert}", *more], 1, ("without run.json",)),
            ("no run named", [], 2, ("Missing argument",)),
        ]
    ],
    ("electra export: exists", ["electra", "export", "{run}", "{tmp}"], 1, ("exists", "--force")),
    ("electra export: not ours", ["electra", "export", "{run}", "{tmp}", "--force"], 1,
     ("pair.json",)),
    *[
        (f"electra verify-variance: {name}", ["electra", "verify-variance", "{run}", *words], code,
         parts)
        for name, words, code, parts in [
            ("slots", ["--slots", "0"], 2, ("--slots",)),
            ("no file", ["--text", "{tmp}/no.txt"], 1, ("no.txt",)),
            ("picture", ["--plot", "p.gif"], 2, ("p.gif", ".png")),
            ("page exists", ["--html", "{tmp}/mine.txt"], 1, ("exists", "--force")),
            ("steps", ["--head-steps", "-1"], 2, ("--head-steps",)),
        ]
    ],
]  # fmt: skip


def trained_pair(folder: Path, tokenizer: Path) -> dict[str, Path]:
    """A finished run, and token shards of the tiny tokenizer."""
    text = toys.write_text(folder / "words.txt")
    options = toys.options(num_steps=2)
    pretrain_electra(folder / "run", text=[text], tokenizer=tokenizer, options=options)
    prepare([text], tokenizer=open_tokenizer(tokenizer), out=folder / "shards")
    return {"run": folder / "run", "shards": folder / "shards"}
