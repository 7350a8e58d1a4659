"""Answers read teacher forced, and what models say by themselves, against plain definitions."""

import math
from collections.abc import Sequence

import pytest
import torch

import families
from tiny import word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.models import reading
from vesalius.models.encoding import MASK
from vesalius.models.ladder import run_model
from vesalius.models.reading import read_answers
from vesalius.models.speaking import (
    ngram_entropy,
    room_for,
    sentence_perplexity,
    speak,
    starts_with_answer,
)
from vesalius.models.specimen import Specimen, task_of

PROMPTS = ("the capital of France is [MASK]", "in Peru people speak the language of [MASK]")
SPEAKERS = tuple(name for name in families.FAMILIES if name != "vit")


def specimen_of(family: str, *, dtype: torch.dtype = torch.float32) -> Specimen:
    model = families.make(family, dtype=dtype)
    return Specimen(model=model, tokenizer=word_tokenizer(), name=family, task=task_of(model))


def ids_of(specimen: Specimen, text: str) -> list[int]:
    return specimen.tokenizer(text, add_special_tokens=False)["input_ids"]


def greedy(specimen: Specimen, prompt: str, count: int) -> list[int]:
    """One prompt, one token at a time, without a cache, a batch or padding."""
    said: list[int] = []
    while len(said) < count:
        before = ids_of(specimen, prompt.partition(MASK)[0])
        inputs: dict[str, torch.Tensor] = {}
        if specimen.task == "causal-lm":
            inputs["input_ids"] = torch.tensor([[2, *before, *said]])
            place = -1
        elif specimen.task == "masked-lm":
            masks = [4] * (count - len(said))
            inputs["input_ids"] = torch.tensor([[2, *before, *said, *masks, 3]])
            place = 1 + len(before) + len(said)
        else:
            inputs["input_ids"] = torch.tensor([[2, *before, 4, 3]])
            start = specimen.model.config.decoder_start_token_id
            inputs["decoder_input_ids"] = torch.tensor([[start, *said]])
            place = -1
        with torch.no_grad():
            logits = specimen.model(**inputs).logits[0, place]
        said.append(int(logits.argmax()))
        if specimen.task != "masked-lm" and said[-1] == specimen.model.config.eos_token_id:
            return said[:-1]
    return said


@pytest.mark.parametrize("family", SPEAKERS)
def test_every_family_says_what_a_plain_loop_says(family: str) -> None:
    specimen = specimen_of(family)
    before = specimen.fingerprint
    said = speak(specimen, PROMPTS, num_tokens=6)
    assert [list(each.tokens) for each in said] == [greedy(specimen, p, 6) for p in PROMPTS]
    assert specimen.fingerprint == before
    one = speak(specimen, PROMPTS, num_tokens=[1, 3])
    if specimen.task != "masked-lm":  # a masked model sees how many masks there are
        assert [each.tokens for each in one] == [said[0].tokens[:1], said[1].tokens[:3]]


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "opt", "t5", "bart"])
def test_small_runs_say_and_read_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    specimen = specimen_of(family)
    answers = ("Paris", "Lima")
    said = speak(specimen, PROMPTS, num_tokens=4)
    read = read_answers(specimen, PROMPTS, answers)
    monkeypatch.setattr(reading, "_LOGIT_BYTES", 1)
    assert speak(specimen, PROMPTS, num_tokens=4) == said
    again = read_answers(specimen, PROMPTS, answers)
    torch.testing.assert_close(again.log_prob, read.log_prob)
    assert torch.equal(again.rank, read.rank)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_reading_is_the_softmax_at_every_step(family: str) -> None:
    specimen = specimen_of(family)
    answers = ("Paris", "Lima Peru of")
    read = read_answers(specimen, PROMPTS, answers)
    assert read.num_tokens == (1, 3)
    for i, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        log_prob, ranks, best = 0.0, [], []
        tokens = ids_of(specimen, answer)
        for step, token in enumerate(tokens):
            logits = _logits(specimen, prompt, tokens[:step], len(tokens) - step)
            log_prob += float(logits.log_softmax(-1)[token])
            ranks.append(logits.argsort(descending=True, stable=True).tolist().index(token) + 1)
            best.append(int(logits.argmax()))
        assert float(read.log_prob[i]) == pytest.approx(log_prob, rel=1e-5)
        assert int(read.rank[i]) == max(ranks)
        assert read.best[i] == tuple(best)


def _logits(specimen: Specimen, prompt: str, said: Sequence[int], num_open: int) -> torch.Tensor:
    before = [2, *ids_of(specimen, prompt.partition(MASK)[0])]
    inputs, place = {"input_ids": torch.tensor([[*before, *said]])}, -1
    if specimen.task == "masked-lm":
        inputs["input_ids"] = torch.tensor([[*before, *said, *[4] * num_open, 3]])
        place = len(before) + len(said)
    elif specimen.task == "seq2seq-lm":
        inputs["input_ids"] = torch.tensor([[*before, 4, 3]])
        inputs["decoder_input_ids"] = torch.tensor([[0, *said]])
    with torch.no_grad():
        return specimen.model(**inputs).logits[0, place]


def test_the_best_token_has_rank_one_also_among_equals() -> None:
    specimen = specimen_of("bert")
    with torch.no_grad():
        specimen.model.get_output_embeddings().weight.zero_()
        specimen.model.get_output_embeddings().bias.zero_()
    read = read_answers(specimen, PROMPTS, ("[PAD]", "Paris"))
    assert read.best == ((0,), (0,))
    assert read.rank.tolist()[1] == 1 + word_tokenizer().convert_tokens_to_ids("Paris")


def test_a_broken_model_is_no_perfect_one() -> None:
    specimen = specimen_of("gpt2")
    with torch.no_grad():
        specimen.model.transformer.ln_f.weight.fill_(float("nan"))
    for call in (
        lambda: read_answers(specimen, PROMPTS, ("Paris", "Lima")),
        lambda: speak(specimen, PROMPTS, num_tokens=2),
        lambda: sentence_perplexity(specimen, ["Paris is a city"]),
    ):
        with pytest.raises(VesaliusError, match="NaN"):
            call()


def test_a_text_stops_where_the_model_ends_it() -> None:
    specimen = specimen_of("gpt2")
    free = speak(specimen, PROMPTS, num_tokens=8)
    end = free[0].tokens[3]
    specimen.model.config.eos_token_id = [end, 96]
    said = speak(specimen, PROMPTS, num_tokens=8)
    assert said[0].tokens == free[0].tokens[: free[0].tokens.index(end)]


@pytest.mark.parametrize(
    ("text", "answer", "is_said"),
    [
        (" Paris .", "Paris", True),
        ("Paris", " Paris ", True),
        ("Parisian life", "Paris", False),
        ("in Paris", "Paris", False),
        ("", "Paris", False),
        ("Lima Peru", "Lima Peru", True),
        ("Lima", "Lima Peru", False),
    ],
)
def test_an_answer_is_whole_words_at_the_start(text: str, answer: str, is_said: bool) -> None:
    assert starts_with_answer(specimen_of("bert"), text, answer) is is_said


def test_entropy_of_words() -> None:
    assert ngram_entropy("") == ngram_entropy("one") == ngram_entropy("a a a a a") == 0
    # five different pairs and four different triples
    expected = (2 / 3 * math.log2(5) + 4 / 3 * math.log2(4)) / 2
    assert ngram_entropy("a b c, d e") == pytest.approx(expected)
    # pairs ab, ba, ab: 2/3 and 1/3; triples aba, bab
    pairs = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert ngram_entropy("a b a b") == pytest.approx((2 / 3 * pairs + 4 / 3) / 2)


def test_perplexity_of_sentences() -> None:
    sentences = ["Paris is a city", "the river unknownword"]
    causal = specimen_of("gpt2")
    surprises = []
    for sentence in sentences:
        ids = torch.tensor(causal.tokenizer(sentence)["input_ids"])
        with torch.no_grad():
            log_probs = causal.model(input_ids=ids[None]).logits[0].log_softmax(-1)
        places = [i for i in range(1, len(ids)) if ids[i] >= 5]
        surprises += [-float(log_probs[i - 1, ids[i]]) for i in places]
    assert len(surprises) == 6  # neither the unknown word nor the signs around the text
    expected = math.exp(sum(surprises) / 6)
    assert sentence_perplexity(causal, sentences) == pytest.approx(expected, rel=1e-5)

    masked = specimen_of("bert")
    surprises = []
    for sentence in sentences:
        ids = masked.tokenizer(sentence)["input_ids"]
        for i, token in enumerate(ids):
            if token >= 5:
                hidden = torch.tensor([[*ids[:i], 4, *ids[i + 1 :]]])
                with torch.no_grad():
                    row = masked.model(input_ids=hidden).logits[0, i]
                surprises.append(-float(row.log_softmax(-1)[token]))
    expected = math.exp(sum(surprises) / 6)
    assert sentence_perplexity(masked, sentences) == pytest.approx(expected, rel=1e-5)
    assert sentence_perplexity(masked, ["unknownword"]) is None
    assert sentence_perplexity(specimen_of("t5"), sentences) is None


def test_room_behind_a_prompt() -> None:
    specimen = specimen_of("gpt2")
    assert room_for(specimen, PROMPTS, 5) == 5
    room = room_for(specimen, PROMPTS, 1000)
    assert len(speak(specimen, PROMPTS, num_tokens=room)) == 2
    with pytest.raises(VesaliusError, match="a text of"):
        speak(specimen, PROMPTS, num_tokens=room + 2)


@pytest.mark.parametrize("num_tokens", [0, [1], [1, 0]])
def test_no_tokens_are_refused(num_tokens: int | list[int], as_users_call_it: None) -> None:
    with pytest.raises(VesaliusError, match="num_tokens="):
        speak(specimen_of("bert"), PROMPTS, num_tokens=num_tokens)


def test_half_precision_is_read_in_single() -> None:
    specimen = specimen_of("gpt2", dtype=torch.bfloat16)
    read = read_answers(specimen, PROMPTS, ("Paris", "Lima"))
    assert read.log_prob.dtype == torch.float32
    assert run_model(specimen.model, specimen.probe()).logits.dtype == torch.bfloat16
