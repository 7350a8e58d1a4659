"""Rank-one edits: the closed form of the change, the answer reached, the right layer kept."""

import numpy as np
import pytest
import torch

import families
from helpers import assert_equal_numbers
from tiny import word_tokenizer
from vesalius.core.cite import cite
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons.edits import Edit, edited
from vesalius.methods.knowledge_neurons.rank_one import rank_one, reference_texts, try_layer
from vesalius.methods.knowledge_neurons.value_search import (
    RankOneConfig,
    prepare_search,
    search_value,
)
from vesalius.models.activity import second_moments
from vesalius.models.answers import answer_log_probs, encode_answers
from vesalius.models.specimen import Specimen, task_of

PROMPTS = ("the capital of France is [MASK]", "France is in the country of [MASK]")
SHORT = RankOneConfig(num_steps=15)
TEXTS = tuple(
    f"the {a} of {b} is {c}"
    for a in ("capital", "language", "river", "seat")
    for b in ("Peru", "Italy", "Spain", "one city")
    for c in ("Lima .", "Rome , the city", "a one", "Madrid")
)


def specimen_of(family: str, *, dtype: torch.dtype = torch.float32) -> Specimen:
    model = families.make(family, dtype=dtype)
    return Specimen(model=model, tokenizer=word_tokenizer(), name=family, task=task_of(model))


def planned(specimen: Specimen, **options: object) -> Edit:
    given = {"subject": "France", "reference": TEXTS, "essence": "", "config": SHORT} | options
    return rank_one(specimen, PROMPTS, "Paris", "Rome", **given)


def probs(specimen: Specimen, answer: str) -> np.ndarray:
    steps = encode_answers(specimen, PROMPTS, [answer] * 2, several_tokens=True)
    return steps.total(answer_log_probs(specimen, steps)).exp().numpy()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_change_is_the_closed_form(family: str) -> None:
    """W' k = W k + d, W' moves nothing at keys that C makes orthogonal to k, and has rank one."""
    specimen = specimen_of(family, dtype=torch.float64)
    steps = encode_answers(specimen, PROMPTS, ["Rome"] * 2)
    config = RankOneConfig(ridge=0.5)
    search = prepare_search(specimen, PROMPTS, steps, subject="France", essence=None, config=config)
    (moment,) = second_moments(specimen, TEXTS, layers=[1]).values()
    trial = try_layer(search, 1, moment)
    slot = specimen.plan.calls[1].feed_forward
    before = slot.weight.detach() if family == "gpt2" else slot.weight.detach().T
    change, key = trial.slots.values - before, search.keys[1]
    assert torch.linalg.matrix_rank(change, rtol=1e-8) == 1
    assert_equal_numbers(key @ change, trial.value.shift)
    full = moment + 0.5 * moment.diagonal().mean() * torch.eye(len(key), dtype=torch.float64)
    other = torch.randn(len(key), generator=torch.Generator().manual_seed(0)).double()
    weighed = torch.linalg.solve(full, key)
    other -= (other @ weighed) / (key @ weighed) * key
    assert float((other @ change).norm()) <= 1e-9 * float(trial.value.shift.norm())
    assert trial.size == pytest.approx(float(change.norm() / before.norm()))
    again = search_value(search, 1)
    assert torch.equal(again.shift, trial.value.shift)  # nothing is drawn


@pytest.mark.parametrize("family", ["bert", "modernbert", "albert", "gpt2", "llama"])
@pytest.mark.parametrize("subject", ["France", ""])
def test_the_new_answer_is_reached_and_the_model_comes_back(family: str, subject: str) -> None:
    specimen = specimen_of(family)
    before, state = specimen.fingerprint, torch.get_rng_state()
    edit = planned(specimen, subject=subject)
    assert specimen.fingerprint == before
    assert torch.equal(torch.get_rng_state(), state)
    assert specimen.model.training is False
    assert all(parameter.requires_grad for parameter in specimen.model.parameters())
    plain = probs(specimen, "Rome")
    with edited(specimen, edit):
        after = probs(specimen, "Rome")
    assert specimen.fingerprint == before
    # one block that runs three times takes the change at three places
    assert after.mean() > plain.mean() or family == "albert"
    trials = edit.card.config["trials"]
    kept = next(trial for trial in trials if trial["layer"] == edit.card.config["layer"])
    assert kept["prob"] == pytest.approx(float(after.mean()), rel=1e-4)
    assert kept["size"] == pytest.approx(edit.size, rel=1e-4)
    assert [trial["layer"] for trial in trials] == [0, 1, 2]
    if kept["reached"] >= 0.5:
        reached = [trial for trial in trials if trial["reached"] >= 0.5]
        assert kept["size"] == min(trial["size"] for trial in reached)
        assert not edit.card.warnings
    else:
        assert "best one to" in edit.card.warnings[0]
        assert kept["prob"] == max(trial["prob"] for trial in trials)


def test_a_named_layer_is_taken_and_all_its_slots_are_listed(tmp_path) -> None:
    specimen = specimen_of("llama")
    edit = planned(specimen, layer=1)
    assert edit.slots == tuple((1, neuron) for neuron in range(48))
    assert (edit.method, edit.new_answer, edit.dropped) == ("rank-one", "Rome", ())
    again = load_result(edit.save(tmp_path / "edit"))
    assert "Locating and Editing" in cite(again)
    with edited(specimen, edit):
        wanted = specimen.fingerprint
    with edited(specimen, again):
        assert specimen.fingerprint == wanted


def test_the_essence_holds_the_subject_back() -> None:
    """A heavy divergence term keeps what the model says of the subject otherwise."""
    specimen = specimen_of("llama")
    essence = "France is a [MASK]"
    steps = encode_answers(specimen, PROMPTS, ["Rome"] * 2)
    lengths = []
    for weight in (0.0, 1000.0):
        config = RankOneConfig(kl_weight=weight)
        search = prepare_search(
            specimen, PROMPTS, steps, subject="France", essence=essence, config=config
        )
        assert (search.essence is None) == (weight == 0)
        lengths.append(search_value(search, 1).loss_nats)
    assert lengths[0] < lengths[1]


def test_known_moments_spare_the_counting() -> None:
    specimen = specimen_of("gpt2")
    known = second_moments(specimen, TEXTS, layers=range(3))
    counted = planned(specimen, layer=2)
    spared = planned(specimen, layer=2, moments=known, reference=())
    np.testing.assert_array_equal(counted.after, spared.after)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_new_answer_may_take_several_tokens(family: str) -> None:
    specimen = specimen_of(family)
    edit = rank_one(
        specimen, PROMPTS, "Paris", "Rome city", subject="France", reference=TEXTS, essence=""
    )
    plain = probs(specimen, "Rome city")
    with edited(specimen, edit):
        assert probs(specimen, "Rome city").mean() > plain.mean()


def test_a_causal_answer_of_several_tokens_is_edited_where_it_begins() -> None:
    specimen = specimen_of("llama")
    steps = encode_answers(specimen, PROMPTS, ["Rome city one"] * 2, several_tokens=True)
    search = prepare_search(
        specimen, PROMPTS, steps, subject="", essence=None, config=RankOneConfig()
    )
    read = steps.batch.inputs["input_ids"][torch.arange(6), search.rows]
    assert specimen.tokenizer.convert_ids_to_tokens(read) == ["is"] * 3 + ["of"] * 3
    assert search.essence is None


def test_the_bundled_texts_hold_facts_and_masks() -> None:
    plain, both = reference_texts(masks=False), reference_texts(masks=True)
    assert 200 < len(plain) == len(both) // 2
    assert not any("[MASK]" in text or "[X]" in text for text in plain)
    assert sum("[MASK]" in text for text in both) == len(plain)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("call", "given", "fix"),
    [
        (lambda x: planned(x, subject="Peru"), "'Peru'", "leave the subject out"),
        (lambda x: planned(x, layer=3), "layer 3", "from 0"),
        (lambda x: planned(x, reference="one text"), "one text", "list"),
        (lambda x: planned(x, essence="it is [MASK]"), "it is [MASK]", "spell"),
        (lambda x: planned(x, moments={1: torch.eye(48)}), "[1]", "second_moments"),
        (lambda x: planned(x, layer=1, moments={1: torch.eye(4)}), "(4, 4)", "second_moments"),
        (lambda x: planned(x, layer=1, moments={1: torch.eye(48) * np.nan}), "(48, 48)", ""),
        (lambda x: planned(x, layer=1, moments={1: torch.zeros(48, 48)}), "inverted", "ridge"),
        (lambda x: rank_one(x, PROMPTS, "Paris", "Paris"), "same tokens", "instead"),
        (lambda x: rank_one(x, PROMPTS, "Paris", "Rome city"), "several masks", "subject"),
        (lambda x: rank_one(x, [], "Paris", "Rome"), "no prompts", "[MASK]"),
        (lambda x: rank_one(x, PROMPTS, "Paris", "Lutetia"), "Lutetia", "spelling"),
        (lambda _: planned(specimen_of("bart")), "seq2seq-lm", "update"),
        (lambda _: RankOneConfig(num_steps=0), "num_steps=0", "40"),
        (lambda _: RankOneConfig(num_steps=2.5), "num_steps=2.5", "40"),
        (lambda _: RankOneConfig(learning_rate=0), "learning_rate=0", "0.2"),
        (lambda _: RankOneConfig(ridge=-1), "ridge=-1", "0.01"),
        (lambda _: RankOneConfig(max_length=float("inf")), "max_length=inf", "4"),
        (lambda _: RankOneConfig(kl_weight="a"), "kl_weight='a'", "0.0625"),
    ],
)
def test_what_cannot_be_planned_is_refused(call, given: str, fix: str) -> None:
    specimen = specimen_of("bert")
    before = specimen.fingerprint
    with pytest.raises(VesaliusError) as caught:
        call(specimen)
    assert given in caught.value.given
    assert fix in caught.value.fix
    assert specimen.fingerprint == before
