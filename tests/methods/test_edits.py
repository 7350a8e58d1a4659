"""Edits: the definition, undone bit for bit on every family, nested, kept, written and read."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

import families
from helpers import assert_equal_numbers
from tiny import plant, tiny_masked_lm, word_tokenizer
from vesalius.core.cite import cite
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons.edits import NOTE, Edit, edited, write_checkpoint
from vesalius.methods.knowledge_neurons.erase import erase, most_frequent
from vesalius.methods.knowledge_neurons.intervene import random_sets
from vesalius.methods.knowledge_neurons.update import shared_neurons, update
from vesalius.models import open as open_model
from vesalius.models.edits import read_slots
from vesalius.models.encoding import encode_prompts
from vesalius.models.neurons import read_neurons
from vesalius.models.specimen import Specimen, task_of

PROMPTS = ("the capital of France is [MASK] .", "people speak of the city of [MASK] .")
TRIED = ("bert", "gpt2", "llama", "albert", "modernbert", "t5", "bart")
NEURONS = ((0, 3), (0, 7), (2, 1))


def specimen_of(family: str, **options: torch.dtype) -> Specimen:
    model = families.make(family, **options)
    words = word_tokenizer()
    if family == "t5":
        words.add_tokens(["<extra_id_0>"])
        words.mask_token = None
    return Specimen(model=model, tokenizer=words, name=family, task=task_of(model))


def logits_of(specimen: Specimen) -> torch.Tensor:
    with torch.no_grad():
        return specimen.model(**specimen.probe().inputs).logits


def planned(specimen: Specimen, neurons: Sequence[tuple[int, int]] = NEURONS) -> Edit:
    """An update where the model has word vectors of its width, else an erasure."""
    if specimen.name == "albert":
        return erase(specimen, [neurons])
    return update(specimen, PROMPTS, "Paris", "Rome", neurons)


@pytest.mark.parametrize("family", TRIED)
def test_an_edit_is_undone_bit_for_bit(family: str) -> None:
    specimen = specimen_of(family)
    before, plain = specimen.fingerprint, logits_of(specimen)
    edit = planned(specimen)
    assert specimen.fingerprint == before  # planning touches nothing
    with edited(specimen, edit):
        assert specimen.fingerprint != before
        assert not torch.equal(logits_of(specimen), plain)
        for (layer, neuron), after in zip(edit.slots, edit.after, strict=True):
            now = read_slots(specimen, layer, torch.tensor([neuron]))[0].numpy()
            np.testing.assert_array_equal(now, after)
    assert specimen.fingerprint == before
    assert torch.equal(logits_of(specimen), plain)
    with pytest.raises(RuntimeError, match="boom"):
        fail_inside(specimen, edit)
    assert specimen.fingerprint == before


def fail_inside(specimen: Specimen, edit: Edit) -> None:
    with edited(specimen, edit) as handle:
        handle.commit()
        raise RuntimeError("boom")


@pytest.mark.parametrize("family", TRIED)
def test_edits_nest_and_are_undone_one_by_one(family: str) -> None:
    specimen = specimen_of(family)
    before = specimen.fingerprint
    first = planned(specimen)
    with edited(specimen, first):
        between = specimen.fingerprint
        second = planned(specimen, ((0, 3), (1, 4)))  # one slot of the first, once more
        with edited(specimen, second):
            assert specimen.fingerprint not in (before, between)
        assert specimen.fingerprint == between
    assert specimen.fingerprint == before


@pytest.mark.parametrize("family", TRIED)
@pytest.mark.parametrize("closing", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (1, 2, 0)])
def test_edits_are_undone_in_any_order(family: str, closing: Sequence[int]) -> None:
    """Not one inside the other, as where each is held by hand: nothing may be left behind."""
    specimen = specimen_of(family)
    before = specimen.fingerprint
    edits = [planned(specimen, ((0, 3), (1, number))) for number in (4, 5, 4)]
    opened = [edited(specimen, edit, stacked=True) for edit in edits]
    for each in opened:
        each.__enter__()
    changed = torch.tensor([3])
    last = read_slots(specimen, 0, changed)
    opened[closing[0]].__exit__(None, None, None)
    assert torch.equal(read_slots(specimen, 0, changed), last)  # what is still open stays
    for number in closing[1:]:
        opened[number].__exit__(None, None, None)
    assert specimen.fingerprint == before


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert"])
def test_an_update_is_its_definition(family: str) -> None:
    """V + s |V| (8 e(new)/|e(new)| - e(old)/|e(old)|), slot by slot, and nothing else moves."""
    specimen = specimen_of(family, dtype=torch.float64)
    words = specimen.model.get_output_embeddings().weight.detach()
    old, new = (words[specimen.tokenizer.convert_tokens_to_ids(w)] for w in ("Paris", "Rome"))
    calls = specimen.plan.calls
    batch = encode_prompts(specimen, PROMPTS)
    seen = read_neurons(specimen.model, specimen.parts, batch, calls=calls)
    edit = update(specimen, PROMPTS, "Paris", "Rome", NEURONS)
    letter = update(specimen, PROMPTS, "Paris", "Rome", NEURONS, by_sign=False)
    assert edit.slots == NEURONS
    for place, (layer, neuron) in enumerate(NEURONS):
        weight = calls[layer].feed_forward.weight.detach()
        slot = weight[neuron] if family == "gpt2" else weight[:, neuron]  # Conv1D is transposed
        step = slot.norm() * (8 * new / new.norm() - old / old.norm())
        sign = 1.0 if seen[layer][:, neuron].mean() >= 0 else -1.0
        assert_equal_numbers(edit.after[place], slot + sign * step)
        assert_equal_numbers(letter.after[place], slot + step)
    before = {name: value.clone() for name, value in specimen.model.state_dict().items()}
    with edited(specimen, edit):
        changed = {
            n for n, v in specimen.model.state_dict().items() if not torch.equal(v, before[n])
        }
    written = {f"{calls[layer].feed_forward.name}.weight" for layer in (0, 2)}
    assert changed == written  # the tied embedding is only read


@pytest.mark.parametrize("value", [2.0, -2.0])
def test_an_update_moves_the_answer_and_random_neurons_do_not(value: float) -> None:
    """Also where the neuron is negative: there the paper's formula pushes the answer away."""
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    hidden = specimen.model.bert.encoder.layer[2].intermediate
    hidden.intermediate_act_fn = torch.nn.Identity()
    with torch.no_grad():
        hidden.dense.bias[7] = value
        specimen.model.bert.encoder.layer[2].output.dense.weight[:, 7] *= value / 2
    tokens = specimen.tokenizer.convert_tokens_to_ids(["Paris", "Rome"])

    def probs(edit: Edit | None) -> list[float]:
        batch = encode_prompts(specimen, PROMPTS)
        if edit is None:
            logits = specimen.model(**batch.inputs).logits
        else:
            with edited(specimen, edit):
                logits = specimen.model(**batch.inputs).logits
        rows = logits[torch.arange(2), batch.row].softmax(-1)
        return rows[:, tokens].mean(0).tolist()

    paris, rome = probs(None)
    assert paris > rome
    after = probs(update(specimen, PROMPTS, "Paris", "Rome", [(2, 7)]))
    assert after[1] > 10 * rome
    assert after[0] < paris / 4
    letter = probs(update(specimen, PROMPTS, "Paris", "Rome", [(2, 7)], by_sign=False))
    assert (letter[1] > rome) == (value > 0)
    (others,) = random_sets(specimen, [(2, 7)], num_sets=1, seed=0)
    assert probs(update(specimen, PROMPTS, "Paris", "Rome", others))[1] < after[1] / 2


def test_neurons_that_a_relation_shares_are_left_alone() -> None:
    specimen = tiny_masked_lm()
    sets = [NEURONS, *[((0, 3),)] * 2, *[((1, number),) for number in range(17)]]
    edit = update(specimen, PROMPTS, "Paris", "Rome", NEURONS, relation_sets=sets)
    assert edit.dropped == ((0, 3),)  # in 3 of 20 sets
    assert edit.slots == NEURONS[1:]
    kept = update(specimen, PROMPTS, "Paris", "Rome", NEURONS, relation_sets=sets, max_shared=0.15)
    assert kept.dropped == ()
    with pytest.raises(VesaliusError, match="3 neurons, each in more than 10%"):
        update(specimen, PROMPTS, "Paris", "Rome", NEURONS, relation_sets=[NEURONS, NEURONS])


def test_a_neuron_of_one_fact_is_shared_with_nobody() -> None:
    own, common = (0, 1), (2, 3)
    assert shared_neurons([frozenset({own, common}), frozenset({common})]) == {common}
    assert shared_neurons([frozenset({own})]) == frozenset()
    many = [frozenset({common}) if number < 10 else frozenset() for number in range(100)]
    assert shared_neurons(many) == frozenset()  # 10 % is not more than 10 %


def test_erasing_takes_the_most_frequent_and_ties_in_order() -> None:
    specimen = tiny_masked_lm()
    sets = [[(2, 5), (1, 9)], [(2, 5), (1, 9), (0, 4)], [(0, 4), (2, 40)], [(1, 2)]]
    assert most_frequent(specimen, sets, num_neurons=4) == [
        ((0, 4), 2), ((1, 9), 2), ((2, 5), 2), ((1, 2), 1)]  # fmt: skip
    edit = erase(specimen, sets, num_neurons=4)
    assert edit.slots == ((0, 4), (1, 2), (1, 9), (2, 5))
    assert not edit.after.any()
    assert edit.before.all(axis=None)
    assert edit.card.config["counts"] == {"0:4": 2, "1:9": 2, "2:5": 2, "1:2": 1}
    assert erase(specimen, sets[::-1], num_neurons=4).slots == edit.slots
    assert not edit.card.warnings
    (warning,) = erase(specimen, sets).card.warnings
    assert "5 neurons, fewer than the 20" in warning


def test_erasing_what_is_erased_moves_nothing() -> None:
    specimen = tiny_masked_lm()
    first = erase(specimen, [NEURONS])
    assert first.size == pytest.approx(1)
    with edited(specimen, first):
        again = erase(specimen, [NEURONS])
    assert again.size == 0
    assert replace(again, after=first.before).size == np.inf


def test_a_block_that_runs_several_times_has_its_slots_once() -> None:
    specimen = specimen_of("albert")
    assert most_frequent(specimen, [[(0, 3), (2, 3)], [(1, 3)]]) == [((0, 3), 2)]
    assert erase(specimen, [[(2, 3), (1, 3), (1, 5)]]).slots == ((0, 3), (0, 5))


def test_other_weights_are_named_and_refused() -> None:
    specimen, other = specimen_of("bert"), tiny_masked_lm(seed=1)
    edit = planned(specimen)
    with pytest.raises(VesaliusError) as caught:
        edited(other, edit).__enter__()
    assert specimen.fingerprint in caught.value.given
    assert other.fingerprint in caught.value.given
    assert "stacked" in caught.value.fix
    with edited(specimen, edit) as handle:
        handle.commit()
    with pytest.raises(VesaliusError, match="weights for which"):
        edited(specimen, edit).__enter__()  # it is in force already
    narrow = hf.BertConfig(
        vocab_size=97, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    small = replace(specimen, model=hf.BertForMaskedLM(narrow).eval())
    with pytest.raises(VesaliusError, match="width 32"):
        edited(small, edit, stacked=True).__enter__()


def test_edits_of_one_model_are_stacked() -> None:
    specimen = specimen_of("bert")
    before = specimen.fingerprint
    first, second = planned(specimen), planned(specimen, ((0, 3), (1, 4)))
    gone = erase(specimen, [((0, 3),)])
    changed = torch.tensor([3])
    with edited(specimen, first), edited(specimen, second, stacked=True):
        both = torch.from_numpy(first.after[0] + (second.after[0] - second.before[0]))
        torch.testing.assert_close(read_slots(specimen, 0, changed)[0], both)
        own = read_slots(specimen, 1, torch.tensor([4]))[0].numpy()
        np.testing.assert_array_equal(own, second.after[1])  # untouched so far: no rounding
        with edited(specimen, gone, stacked=True):
            assert not read_slots(specimen, 0, changed).any()
    assert specimen.fingerprint == before


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", hf.AutoModelForMaskedLM),
        ("albert", hf.AutoModelForMaskedLM),
        ("modernbert", hf.AutoModelForMaskedLM),
        ("gpt2", hf.AutoModelForCausalLM),
        ("llama", hf.AutoModelForCausalLM),
        ("t5", hf.AutoModelForSeq2SeqLM),
        ("bart", hf.AutoModelForSeq2SeqLM),
    ],
)
def test_plain_transformers_loads_the_edited_model(family: str, head, tmp_path: Path) -> None:
    specimen = specimen_of(family)
    before = specimen.fingerprint
    edit = planned(specimen)
    folder = write_checkpoint(specimen, edit, tmp_path / "edited")
    assert specimen.fingerprint == before
    again = head.from_pretrained(folder).eval()
    with edited(specimen, edit), torch.no_grad():
        wanted = logits_of(specimen)
        assert json.loads((folder / NOTE).read_text())["fingerprint"] == specimen.fingerprint
        assert torch.equal(again(**specimen.probe().inputs).logits, wanted)
    assert str(tmp_path) not in (folder / "config.json").read_text()


def test_a_checkpoint_opens_and_is_replaced_only_by_force(tmp_path: Path) -> None:
    specimen = tiny_masked_lm()
    edit = planned(specimen)
    folder = write_checkpoint(specimen, edit, tmp_path / "edited")
    assert open_model(folder).tokenizer.mask_token == "[MASK]"
    with pytest.raises(VesaliusError, match="exists"):
        write_checkpoint(specimen, edit, folder)
    write_checkpoint(specimen, edit, folder, force=True)
    specimen.model.save_pretrained(tmp_path / "mine")
    with pytest.raises(VesaliusError, match="not replaced even with force"):
        write_checkpoint(specimen, edit, tmp_path / "mine", force=True)
    with pytest.raises(VesaliusError, match="weights"):
        write_checkpoint(tiny_masked_lm(seed=1), edit, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edited", "mine"]


def test_an_adapter_is_merged_first(tmp_path: Path) -> None:
    specimen = tiny_masked_lm()
    edit = planned(specimen)
    specimen.model.peft_config = {}
    with pytest.raises(VesaliusError, match="merge_and_unload"):
        write_checkpoint(specimen, edit, tmp_path / "edited")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_edit_comes_back_from_the_disk(dtype: torch.dtype, tmp_path: Path) -> None:
    specimen = specimen_of("llama", dtype=dtype)
    edit = planned(specimen)
    again = load_result(edit.save(tmp_path / "edit"))
    assert isinstance(again, Edit)
    assert again.slots == edit.slots
    assert again.dropped == edit.dropped
    assert again.size == edit.size > 0
    np.testing.assert_array_equal(again.after, edit.after)
    with edited(specimen, edit):
        wanted = specimen.fingerprint
    with edited(specimen, again):
        assert specimen.fingerprint == wanted
    table = again.to_table().to_pylist()
    assert [(row["layer"], row["neuron"]) for row in table] == list(NEURONS)
    assert "Knowledge Neurons" in cite(again)


def bad(specimen: Specimen, **options: object) -> Edit:
    given = {"answer": "Paris", "new_answer": "Rome", "neurons": NEURONS} | options
    return update(
        specimen,
        given.pop("prompts", PROMPTS),
        given.pop("answer"),
        given.pop("new_answer"),
        given.pop("neurons"),
        **given,
    )


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("call", "given", "fix"),
    [
        (lambda x: bad(x, new_answer="Paris"), "same tokens", "instead"),
        (lambda x: bad(x, new_answer="Roman city"), "Roman city", "one-token"),
        (lambda x: bad(x, answer="Lutetia"), "Lutetia", "one-token"),
        (lambda x: bad(x, neurons=[]), "no neurons", "locate"),
        (lambda x: bad(x, neurons=[(3, 0)]), "layer 3", "from 0"),
        (lambda x: bad(x, neurons=[(0, 48)]), "neuron 48", "from 0"),
        (lambda x: bad(x, neurons=[(0, 1.5)]), "1.5", "(3, 117)"),
        (lambda x: bad(x, neurons=[7]), "[7]", "(3, 117)"),
        (lambda x: bad(x, prompts=[]), "no prompts", "[MASK]"),
        (lambda x: bad(x, prompts="Paris"), "0 masks", "one gap"),
        (lambda x: bad(x, max_shared=2), "max_shared=2", "0.1"),
        (lambda x: bad(x, weight_new=float("nan")), "weight_new=nan", "8"),
        (lambda x: bad(x, weight_old=-1), "weight_old=-1", "8"),
        (lambda x: bad(x, weight_old="a"), "weight_old='a'", "8"),
        (lambda x: bad(x, weight_new=1e300), "no finite numbers", "smaller weights"),
        (lambda x: bad(x, relation_sets=[[(9, 9)]]), "layer 9", "from 0"),
        (lambda x: erase(x, []), "none", "locate"),
        (lambda x: erase(x, [[], ()]), "all empty", "locate"),
        (lambda x: erase(x, [NEURONS], num_neurons=0), "num_neurons=0", "20"),
        (lambda x: erase(x, [[(0, -1)]]), "neuron -1", "from 0"),
        (lambda x: update(specimen_of("albert"), PROMPTS, "Paris", "Rome", NEURONS), "width 16",
         "rank_one"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused(call, given: str, fix: str) -> None:
    specimen = tiny_masked_lm()
    before = specimen.fingerprint
    with pytest.raises(VesaliusError) as caught:
        call(specimen)
    assert given in caught.value.given
    assert fix in caught.value.fix
    assert specimen.fingerprint == before


def test_an_erased_slot_has_no_length_to_update_by() -> None:
    specimen = tiny_masked_lm()
    with edited(specimen, erase(specimen, [NEURONS])), pytest.raises(VesaliusError, match="zeros"):
        planned(specimen)


def test_quantised_and_offloaded_weights_are_refused() -> None:
    for dtype, device, words in ((torch.int8, "cpu", "int8"), (torch.float32, "meta", "in memory")):
        specimen = specimen_of("llama")
        slot = specimen.model.model.layers[0].mlp.down_proj
        _ = specimen.plan  # neither would run
        weight = slot.weight.data.to(device=device, dtype=dtype)
        slot.weight = torch.nn.Parameter(weight, requires_grad=False)
        with pytest.raises(VesaliusError, match=words):
            erase(specimen, [((0, 1),)])
