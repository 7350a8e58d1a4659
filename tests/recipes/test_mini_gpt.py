"""The causal models' recipe, on a corpus of a few sentences."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.data import few_shot, packing, plain_text
from vesalius.data.masking import IGNORE
from vesalius.data.tokenizer import train_bpe_tokenizer
from vesalius.recipes import mini_gpt, mini_gpt_card, mini_gpt_corpus, mini_gpt_scores, zoo_verify
from vesalius.training.config import TrainingOptions

WORDS = ["river", "mountain", "city", "film", "song", "story", "good", "bad", "old", "new", "king"]
CORPUS = mini_gpt_corpus.CorpusOptions(
    first_context=32, second_context=64, tokens_per_batch=128, first_share=0.5, num_prompts=60
)
TINY = mini_gpt.MiniGptPreset(
    d_model=32,
    num_layers=2,
    d_ff=48,
    vocab_size=400,
    first_steps=3,
    corpus=CORPUS,
    training=TrainingOptions(
        num_steps=6, micro_batches=2, optimizer="muon", warmup_steps=2, log_every=1,
        evaluate_every=3, checkpoint_every=2,
    ),
)  # fmt: skip


def _sentence(random: np.random.Generator, number: int) -> str:
    return f"The {' '.join(random.choice(WORDS, 9))} number {number}."


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few made-up rows in the place of every file the recipe reads."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for source in plain_text.SOURCES.values():
        rows: list[dict[str, Any]] = [
            {"text": _sentence(random, i), "genres": "Drama" if i % 2 else "Comedy"}
            for i in range(60)
        ]
        (folder / source.path).parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / source.path)
    for task in few_shot.load_tasks().values():
        if task.path.split("/")[0] == "text" or not task.path:
            continue
        num_labels = len(task.merge) or task.num_labels
        rows = [
            {field: _sentence(random, i) for field in task.fields}
            | {"label": i % num_labels, "split": ("train", "train", "dev", "test")[i // 20]}
            for i in range(80)
        ]
        (folder / task.path).parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / task.path)
    return folder


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "HELD_OUT_SHARE", 0.1)
    monkeypatch.setattr(mini_gpt_scores, "_QUICK_ROWS", 3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_bpe_tokenizer([" ".join(WORDS), "Review: Sentiment:"] * 3, vocab_size=400)


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return mini_gpt.build_mini_gpt(TINY, tokenizer=tokenizer, seed=0).eval()


def test_training_stopped_and_gone_on_ends_with_the_same_weights(data_dir: Path, tmp_path: Path):
    whole = mini_gpt.train_mini_gpt(data_dir, tmp_path / "whole", preset=TINY)
    assert whole.summary.num_steps == 6
    given = {"preset": TINY, "tokenizer": tmp_path / "whole" / "tokenizer"}
    for stop in (1, 4, None):
        mini_gpt.train_mini_gpt(data_dir, tmp_path / "parts", stop_after_step=stop, **given)
    weights = [
        load_file(tmp_path / name / "checkpoint" / "model.safetensors")
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    log = (tmp_path / "whole" / "log.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["step"] for line in lines if "loss_nats" in line] == [1, 2, 3, 4, 5, 6]
    changed = replace(TINY, first_steps=2)
    with pytest.raises(VesaliusError, match="other options"):
        mini_gpt.train_mini_gpt(data_dir, tmp_path / "parts", **given | {"preset": changed})


def test_the_export_is_an_ordinary_checkpoint_that_verifies(data_dir: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = mini_gpt.train_mini_gpt(data_dir, tmp_path / "run", preset=TINY)
    folder = tmp_path / "run" / "model"
    card = mini_gpt_card.export_mini_gpt(
        run, data_dir=data_dir, folder=folder, command="a command", notes=["a note"],
        num_rows=6, seeds=(0, 1),
    )  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert sum(p.numel() for p in loaded.parameters()) == card["num_parameters"]
    assert len(AutoTokenizer.from_pretrained(folder)) <= 400
    readme = (folder / "README.md").read_text("utf-8")
    for words in ("a command", "a note", "CC BY-SA", "perplexity", "agnews", "| never |"):
        assert words in readme
    assert {row["task"] for row in card["few_shot"] if not row["seen"]} == {
        "agnews", "amazon", "rte",
    }  # fmt: skip
    assert (folder / "curves.png").stat().st_size > 1000
    assert (folder / "generation_config.json").is_file()
    num_files, num_numbers, difference = zoo_verify.verify_folder(folder)
    assert num_files >= 7
    assert num_numbers == 6
    assert difference < 1e-4


def test_the_loss_is_that_of_transformers_where_all_weights_are_one(model: Any):
    ids = torch.randint(0, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, 0] = labels[1, 5] = IGNORE
    wrapped = mini_gpt.WeightedCausal(model)
    ours = wrapped(input_ids=ids, labels=labels, loss_weights=torch.ones(2, 12)).loss
    assert_equal_numbers(ours.detach(), model(input_ids=ids, labels=labels).loss.detach())
    weights = torch.ones(2, 12)
    weights[0, 3] = 4.0
    heavier = wrapped(input_ids=ids, labels=labels, loss_weights=weights).loss
    one = torch.full_like(labels, IGNORE)
    one[0, 3] = labels[0, 3]
    alone = wrapped(input_ids=ids, labels=one, loss_weights=torch.ones(2, 12)).loss
    num_labels = int((labels != IGNORE).sum())
    expected = (ours * num_labels + 3 * alone) / (num_labels + 3)
    assert_equal_numbers(heavier.detach(), expected.detach())


def test_packed_documents_do_not_see_each_other(model: Any):
    packing.check_documents_apart(model, context_length=64, vocab_size=300)


def test_marks_become_labels_and_weights(tokenizer: Any):
    prompt = few_shot.FewShotText(text="Review: old\nSentiment: bad", answers=((23, 26),))
    assert prompt.text[23:26] == "bad"
    size = len(tokenizer)
    encoded = [
        mini_gpt_corpus.encode_prompts([prompt], tokenizer=tokenizer, max_length=64, seed=seed)[0]
        for seed in range(20)
    ]
    assert len({tuple(ids) for ids in encoded}) == 2  # all tokens are learned, or only answers
    plain = tokenizer(prompt.text)["input_ids"] + [0]
    for ids in encoded:
        assert [i % size for i in ids] == plain
        answer = tokenizer.decode([i % size for i in ids if i >= 2 * size])
        assert answer.strip() == "bad"
    rest = {i // size for i in min(encoded, key=sum)}, {i // size for i in max(encoded, key=sum)}
    assert rest == ({0, 2}, {1, 2})


@pytest.mark.parametrize("second_only", [False, True])
def test_batches_are_pure_functions_of_their_number(
    data_dir: Path, tokenizer: Any, second_only: bool
):
    texts = mini_gpt_corpus.collect_texts(data_dir, options=CORPUS, seed=0)
    assert texts == mini_gpt_corpus.collect_texts(data_dir, options=CORPUS, seed=0)
    assert not set(texts.held_out) & {*texts.first, *texts.second}
    made = mini_gpt_corpus.make_batches(
        texts, tokenizer=tokenizer, options=CORPUS, num_first=0 if second_only else 2, seed=0
    )
    first, later = made.batches[1], made.batches[4]
    assert first["input_ids"].shape == ((2, 64) if second_only else (4, 32))
    assert later["input_ids"].shape == (2, 64)
    assert all(torch.equal(value, made.batches[4][name]) for name, value in later.items())
    for batch in (first, later):
        assert int(batch["input_ids"].max()) < len(tokenizer)
        kept = batch["labels"] != IGNORE
        assert torch.equal(batch["labels"][kept], batch["input_ids"][kept])
        heavy = batch["loss_weights"] == mini_gpt_corpus.ANSWER_WEIGHT
        assert bool(kept[heavy].all())


def test_label_words_score_as_each_alone_with_the_prompt(model: Any, tokenizer: Any):
    prompts = ["The old king", "A new river story is good, and the", "Film:"]
    words = ("bad", "unheard of", "zebra crossing", "good")
    found = mini_gpt_scores.label_log_probs(
        model, tokenizer=tokenizer, prompts=prompts, words=words
    )
    for i, prompt in enumerate(prompts):
        for j, word in enumerate(words):
            start = tokenizer(prompt)["input_ids"]
            end = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_probs = model(torch.tensor([start + end])).logits[0].log_softmax(-1)
            places = torch.arange(len(start) - 1, len(start) + len(end) - 1)
            expected = log_probs[places, torch.tensor(end)].sum()
            assert_equal_numbers(found[i, j], expected)


def test_text_loss_is_the_mean_over_tokens_and_counts_bytes(model: Any, tokenizer: Any):
    texts = ["a river and a city", "the king of the old film", "é"]
    found = mini_gpt_scores.measure_text_loss(model, tokenizer=tokenizer, texts=texts)
    losses: list[float] = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
    assert found.num_tokens == len(losses)
    assert found.nats_per_token == pytest.approx(np.mean(losses), rel=1e-5)
    num_bytes = sum(len(text.encode()) for text in texts)
    assert found.bits_per_byte == pytest.approx(sum(losses) / num_bytes / np.log(2), rel=1e-5)


def test_few_shot_scores_find_a_model_that_knows(tokenizer: Any, monkeypatch: pytest.MonkeyPatch):
    task = few_shot.find_task("sst2")
    rows = [
        few_shot.LabelledRow(texts=(f"{('bad', 'good')[i % 2]} story {i}",), label=i % 2)
        for i in range(12)
    ]

    def know(_: Any, *, prompts: list[str], words: Any, **__: Any) -> torch.Tensor:
        asked = [p.rpartition(" story")[0].endswith("bad") for p in prompts]
        return torch.tensor([[1.0, 0.0] if bad else [0.0, 1.0] for bad in asked])

    monkeypatch.setattr(mini_gpt_scores, "label_log_probs", know)
    found = mini_gpt_scores.score_few_shot(
        torch.nn.Identity(), tokenizer=tokenizer, task=task, pool=rows, rows=rows[:7],
        num_demonstrations=4, seeds=(0, 1, 2),
    )  # fmt: skip
    assert found.accuracies == (1.0, 1.0, 1.0)
    assert (found.majority, found.chance) == (pytest.approx(4 / 7), 0.5)


def test_a_prompt_fits_into_what_was_trained(tokenizer: Any):
    rows = [few_shot.LabelledRow(texts=("river " * 200,), label=0) for _ in range(5)]
    task = few_shot.find_task("sst2")
    prompt = mini_gpt_scores.write_prompt(
        rows, template=task.templates[0], words=task.verbalisers[0], tokenizer=tokenizer
    )
    assert prompt.endswith("Sentiment:")
    assert len(tokenizer(prompt)["input_ids"]) <= mini_gpt_scores.PROMPT_TOKENS


BAD = {
    "unknown model": (lambda f, _: mini_gpt.train_mini_gpt(f, f, name="maxi-gpt"), "maxi-gpt"),
    "unknown preset": (lambda f, _: mini_gpt_card.make_mini_gpt(f, f, preset="gpu"), "gpu"),
    "no data": (lambda f, _: mini_gpt.train_mini_gpt(f, f / "o"), "trex_sentences"),
    "no notes": (lambda f, _: mini_gpt_card.make_mini_gpt(f, f, notes=f / "none"), "notes"),
    "no text": (
        lambda _, t: mini_gpt_scores.measure_text_loss(torch.nn.Identity(), tokenizer=t, texts=[]),
        "no text",
    ),
    "no words": (
        lambda _, t: mini_gpt_scores.label_log_probs(
            torch.nn.Identity(), tokenizer=t, prompts=["a"], words=()
        ),
        "0 label words",
    ),
    "small pool": (
        lambda _, t: mini_gpt_scores.score_few_shot(
            torch.nn.Identity(), tokenizer=t, task=few_shot.find_task("sst2"), pool=[],
            rows=[few_shot.LabelledRow(texts=("a",), label=0)], num_demonstrations=1, seeds=(0,),
        ),
        "0 to draw 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
@pytest.mark.usefixtures("as_users_call_it")
def test_bad_input_meets_a_clear_message(what: str, tmp_path: Path, tokenizer: Any):
    call, part = BAD[what]
    with pytest.raises(VesaliusError, match=part):
        call(tmp_path, tokenizer)
