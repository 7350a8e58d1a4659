"""The joint objective: what it counts, where its gradients go, where it is ELECTRA to the bit."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from electra_toys import (
    ARCHITECTURES,
    SHARINGS,
    SPECIAL,
    gradients,
    make_batches,
    make_objective,
)
from helpers import assert_equal_numbers
from vesalius.methods.electra.objective import MEANINGS, STATISTICS

HEADS = ("hardness-loss", "hardness-distribution")


def _terms(objective, batch):
    return objective(**batch).terms.detach()


def _draws(objective, batch):
    return objective.draw(**{name: values for name, values in batch.items() if name != "real"})


def _plain_terms(objective, batch, *, weights=None):
    """The two losses of ELECTRA, written as plainly as can be, with all logits."""
    ids, slots = batch["input_ids"], batch["slots"]
    places = {name: batch[name] for name in ("position_ids", "attention_mask") if name in batch}
    flat = ids.reshape(-1)
    shown, corrupted, labels = flat.clone(), flat.clone(), torch.zeros(ids.shape)
    drawn = _draws(objective, batch).candidates
    for place, is_masked, token in zip(slots.tolist(), batch["masked"], drawn, strict=True):
        if is_masked:
            shown[place] = SPECIAL.mask
        corrupted[place] = token
        labels.view(-1)[place] = float(token != flat[place])
    everywhere = torch.arange(flat.numel())
    _, states = objective.pair.generator_states(shown.view_as(ids), everywhere, **places)
    logits = states @ objective.pair.output_weight.T + objective.pair.output_bias
    generator = cross_entropy(logits[slots], flat[slots])
    scores = objective.pair.discriminator_logits(corrupted.view_as(ids), **places)
    nats = binary_cross_entropy_with_logits(scores, labels, reduction="none")
    share = torch.ones(flat.numel())
    if weights is not None:
        share[slots] = weights
    num_real = int(batch["real"].sum())
    discriminator = (nats.view(-1) * share)[batch["real"].view(-1)].sum() / num_real
    return generator, 50 * discriminator


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("sharing", SHARINGS)
def test_the_losses_are_those_of_electra_written_plainly(architecture, sharing):
    objective = make_objective(architecture, sharing).eval()
    batch = make_batches()[0]
    with torch.no_grad():
        generator, discriminator = _plain_terms(objective, batch)
        assert_equal_numbers(_terms(objective, batch), torch.stack([generator, discriminator]))


@pytest.mark.parametrize("sampler", HEADS)
def test_weights_multiply_the_loss_at_the_slots_alone(sampler):
    objective = make_objective(sampler=sampler, head_spread=0.5, max_weight=1.1).eval()
    batch = make_batches()[0]
    with torch.no_grad():
        weights = _draws(objective, batch).log_weight.exp().clamp_max(1.1)
        assert (weights == 1.1).any()
        assert (weights < 1).any()
        _, discriminator = _plain_terms(objective, batch, weights=weights)
        assert_equal_numbers(_terms(objective, batch)[1], discriminator)
        unweighted = make_objective(sampler=sampler, head_spread=0.5, importance_weights=False)
        _, plain = _plain_terms(unweighted, batch)
        assert_equal_numbers(_terms(unweighted, batch)[1], plain)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("sampler", HEADS)
def test_a_zero_head_is_electra_to_the_bit(architecture, sampler):
    plain = make_objective(architecture)
    headed = make_objective(architecture, sampler=sampler)
    for number in range(3):
        batch = make_batches()[number]
        assert torch.equal(_draws(headed, batch).candidates, _draws(plain, batch).candidates)
        assert torch.equal(_terms(headed, batch)[:2], _terms(plain, batch))


@pytest.mark.parametrize("sampler", HEADS)
def test_a_detached_head_leaves_every_other_gradient_to_the_bit(sampler):
    plain = make_objective()
    headed = make_objective(sampler=sampler)
    batch = make_batches()[0]
    wanted = gradients(plain, plain(**batch).loss)
    found = gradients(headed, headed(**batch).loss)
    for name, slope in wanted.items():
        assert torch.equal(found[name], slope), name
    own = {name: slope for name, slope in found.items() if name.startswith("head.")}
    assert own["head.project.weight"].any()
    assert own["head.bias"].any()


def test_a_head_that_is_attached_moves_the_generator():
    batch = make_batches()[0]
    for detach, reached in ((True, False), (False, True)):
        objective = make_objective(sampler="hardness-loss", head_spread=0.3, detach_head=detach)
        slopes = gradients(objective, objective(**batch).terms[2])
        body = [slope for name, slope in slopes.items() if name.startswith("pair._generator.")]
        assert any(bool(slope.any()) for slope in body if slope is not None) == reached
        discriminator = [
            s for name, s in slopes.items() if "_discriminator.electra.encoder" in name
        ]
        assert not any(bool(slope.any()) for slope in discriminator)


def _reached(objective, term) -> set[str]:
    slopes = gradients(objective, objective(**make_batches()[0]).terms[term])
    return {name for name, slope in slopes.items() if slope is not None and slope.any()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("sampler", ["generator", *HEADS])
def test_the_discriminators_loss_reaches_the_generator_through_shared_tables_alone(
    architecture, sampler
):
    tied = make_objective(architecture, "tied", sampler=sampler, head_spread=0.3)
    shared = {
        name
        for name, weight in tied.named_parameters()
        if any(weight is other for other in tied.pair._discriminator.parameters())
    }
    reached = _reached(tied, 1)
    assert reached <= shared
    assert any("word_embeddings" in name or "tok_embeddings" in name for name in reached)
    for sharing in ("disentangled", "none"):
        apart = make_objective(architecture, sharing, sampler=sampler, head_spread=0.3)
        reached = _reached(apart, 1)
        assert reached
        assert all(name.startswith("pair._discriminator.") for name in reached)
        assert not any(name.endswith(".base") for name in reached)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_generators_loss_never_reaches_the_discriminators_own_table(architecture):
    apart = make_objective(architecture, "disentangled")
    reached = _reached(apart, 0)
    assert not any(name.endswith(".delta") for name in reached)
    assert not any("_discriminator" in name for name in reached if not name.endswith(".base"))


def test_a_sampled_original_is_labelled_original():
    """With a generator that is sure of the original, nothing at all is replaced."""
    objective = make_objective().eval()
    batch = make_batches()[0]
    drawn = _draws(objective, batch).candidates
    flat = batch["input_ids"].reshape(-1)
    pair = objective.pair
    asked = []
    inner = pair.discriminator_logits

    def watched(input_ids, **places):
        asked.append(input_ids)
        return inner(input_ids, **places)

    pair.discriminator_logits = watched
    original = flat[batch["slots"]]
    assert (drawn != original).any()
    uncertain = objective(**batch)
    with torch.no_grad():  # one token for every slot: then it is certain
        batch["input_ids"].view(-1)[batch["slots"]] = 7
        pair.output_bias[7] = 1e4
    sure = objective(**batch)
    labels = {name: asked[place] for place, name in enumerate(("uncertain", "sure"))}
    assert torch.equal(labels["sure"], batch["input_ids"])
    nats = binary_cross_entropy_with_logits(
        inner(batch["input_ids"], position_ids=batch["position_ids"],
              attention_mask=batch["attention_mask"]),
        torch.zeros(batch["input_ids"].shape), reduction="none",
    )  # fmt: skip
    assert_equal_numbers(sure.terms[1], 50 * nats[batch["real"]].mean())
    assert objective.describe(sure.sums, sure.maxima)["correct_samples"] == 1
    assert objective.describe(uncertain.sums, uncertain.maxima)["correct_samples"] < 1


def test_terms_count_slots_and_all_real_tokens():
    objective = make_objective(sampler="hardness-loss")
    batch = make_batches()[0]
    num_real = int((batch["input_ids"] != SPECIAL.pad).sum())
    assert num_real < batch["input_ids"].numel()  # free places, which do not count
    num_slots = len(batch["slots"])
    assert objective.count_terms(batch) == (num_slots, num_real, num_slots)
    assert make_objective().count_terms(batch) == (num_slots, num_real)
    assert objective.count_tokens(batch) == num_real


def test_terms_of_parts_weighed_by_their_counts_are_those_of_the_whole():
    """What processes and micro-batches rely on: sum of count_t / total_t times terms_t."""
    objective = make_objective(sampler="hardness-distribution", head_spread=0.3).eval()
    whole = make_batches(rows_per_batch=2)[0]
    parts = []
    length = whole["input_ids"].shape[1]
    for row in range(2):
        mine = (whole["slots"] // length) == row
        part = {name: whole[name][mine] for name in ("masked", "uniforms")}
        part["slots"] = whole["slots"][mine] - row * length
        for name in ("input_ids", "real", "position_ids", "attention_mask"):
            part[name] = whole[name][row : row + 1]
        parts.append(part)
    counts = torch.tensor([objective.count_terms(part) for part in parts])
    assert counts.sum(0).tolist() == list(objective.count_terms(whole))
    assert counts[0].tolist() != counts[1].tolist()
    found = [objective(**part) for part in parts]
    summed = sum(
        count / counts.sum(0) * each.terms.detach()
        for count, each in zip(counts, found, strict=True)
    )
    together = objective(**whole)
    torch.testing.assert_close(summed, together.terms.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0].sums + found[1].sums, together.sums, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(torch.maximum(found[0].maxima, found[1].maxima), together.maxima)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_rows_give_what_their_documents_give_alone(architecture):
    objective = make_objective(architecture, sampler="hardness-loss", head_spread=0.3).eval()
    packed = make_batches()[0]
    ids, length = packed["input_ids"], packed["input_ids"].shape[1]
    totals = torch.zeros(3, dtype=torch.float64)
    num_documents = 0
    for row in range(len(ids)):
        starts = [p for p in range(length) if packed["position_ids"][row, p] == 0]
        starts = [p for p in starts if packed["real"][row, p]]
        ends = [*starts[1:], int(packed["real"][row].sum())]
        for begin, end in zip(starts, ends, strict=True):
            first, last = row * length + begin, row * length + end
            mine = (packed["slots"] >= first) & (packed["slots"] < last)
            num_documents += 1
            alone = {
                "input_ids": ids[row : row + 1, begin:end],
                "slots": packed["slots"][mine] - first,
                "masked": packed["masked"][mine],
                "uniforms": packed["uniforms"][mine],
                "real": packed["real"][row : row + 1, begin:end],
            }
            if mine.any():
                counts = torch.tensor(objective.count_terms(alone))
                totals += (objective(**alone).terms.detach() * counts).double()
            else:  # no slot: the discriminator's loss is all there is
                nats = binary_cross_entropy_with_logits(
                    objective.pair.discriminator_logits(alone["input_ids"]),
                    torch.zeros(1, end - begin), reduction="sum",
                )  # fmt: skip
                totals[1] += 50 * nats.item()
    assert num_documents > len(ids)
    wanted = totals / torch.tensor(objective.count_terms(packed))
    torch.testing.assert_close(_terms(objective, packed).double(), wanted, rtol=1e-5, atol=1e-5)


def test_gradient_hardness_is_what_the_sigmoid_is_off_by():
    batch = make_batches()[0]
    for hardness in ("loss", "gradient"):
        objective = make_objective(sampler="hardness-loss", head_spread=0.3, hardness=hardness)
        drawn = _draws(objective, batch)
        corrupted = batch["input_ids"].reshape(-1).index_copy(0, batch["slots"], drawn.candidates)
        corrupted = corrupted.view_as(batch["input_ids"])
        logits = objective.pair.discriminator_logits(
            corrupted, position_ids=batch["position_ids"], attention_mask=batch["attention_mask"]
        )
        labels = (corrupted != batch["input_ids"]).float()
        at = {
            "loss": binary_cross_entropy_with_logits(logits, labels, reduction="none"),
            "gradient": (logits.sigmoid() - labels).abs(),
        }[hardness].reshape(-1)[batch["slots"]]
        wanted = (drawn.predicted - at).square().mean()
        assert_equal_numbers(_terms(objective, batch)[2], wanted)


def test_the_distribution_heads_loss_is_the_weighted_cross_entropy_of_the_drawn():
    batch = make_batches()[0]
    objective = make_objective(
        sampler="hardness-distribution", head_spread=0.3, hardness_weight=3.0
    )
    drawn = _draws(objective, batch)
    plain = make_objective(sampler="hardness-distribution", head_spread=0.3)
    out = objective(**batch)
    assert_equal_numbers(out.terms[2].detach(), 3 * _terms(plain, batch)[2])
    (slope,) = torch.autograd.grad(out.terms[2], [objective.head.bias])
    assert slope.sum().abs() < 1e-5  # that of a softmax: only differences matter
    assert drawn.predicted.requires_grad


@pytest.mark.parametrize(
    ("options", "same", "other"),
    [
        ({"temperature": 2.0}, [], [1]),
        ({"exclude_original": True}, [0], [1]),
        ({"focal_gamma": 1.0}, [1], [0]),
    ],
    ids=str,
)
def test_each_option_moves_its_own_term(options, same, other):
    batch = make_batches()[0]
    plain, changed = make_objective(), make_objective(**options)
    originals = batch["input_ids"].reshape(-1)[batch["slots"]]
    with torch.no_grad():  # so that originals are drawn now and then, but not always
        for each in (plain, changed):
            each.pair.output_bias[originals] += 1.0
    before, after = _terms(plain, batch), _terms(changed, batch)
    for term in same:
        assert torch.equal(before[term], after[term])
    for term in other:
        assert before[term] != after[term]


def test_a_batchs_temperature_stands_in_for_that_of_the_options():
    batch = make_batches()[0]
    asked = make_objective(temperature=2.5)
    given = make_objective()
    warm = given(**batch, temperature=torch.tensor(2.5, dtype=torch.float64))
    assert torch.equal(_terms(asked, batch), warm.terms.detach())


def test_normalised_weights_average_to_one_over_the_batch():
    batch = make_batches()[0]
    objective = make_objective(sampler="hardness-loss", head_spread=0.5, normalise_weights=True)
    weights = _draws(objective, batch).log_weight.exp().clamp_max(20)
    _, wanted = _plain_terms(objective, batch, weights=weights / weights.mean())
    assert_equal_numbers(_terms(objective, batch)[1], wanted.detach())


def test_measures_are_means_of_what_was_drawn():
    batch = make_batches()[0]
    objective = make_objective(sampler="hardness-loss", head_spread=0.5)
    out, drawn = objective(**batch), _draws(objective, batch)
    measures = objective.describe(out.sums, out.maxima)
    assert len(out.sums) == len(STATISTICS)
    assert measures.keys() == MEANINGS.keys() == objective.describe_names().keys()
    originals = batch["input_ids"].reshape(-1)[batch["slots"]]
    weight = drawn.log_weight.exp()
    wanted = {
        "correct_samples": (drawn.candidates == originals).double().mean(),
        "generator_prob_original": drawn.prob_original.mean(),
        "sampler_prob_original": drawn.sampler_prob_original.mean(),
        "generator_entropy_nats": drawn.entropy_nats.mean(),
        "generator_accuracy": drawn.is_first_choice.double().mean(),
        "generator_nats": drawn.generator_loss.mean(),
        "mean_weight": weight.mean(),
        "max_weight": weight.max(),
    }
    for name, value in wanted.items():
        assert measures[name] == pytest.approx(value.item(), rel=1e-5, abs=1e-7), name
    num_slots, num_real = len(originals), int(batch["real"].sum())
    everything = num_slots * measures["discriminator_nats_masked"]
    everything += (num_real - num_slots) * measures["discriminator_nats_unmasked"]
    unweighted = make_objective(sampler="hardness-loss", head_spread=0.5, importance_weights=False)
    assert 50 * everything / num_real == pytest.approx(
        float(_terms(unweighted, batch)[1]), rel=1e-5
    )
    assert -1 <= measures["hardness_correlation"] <= 1
    plain = make_objective()
    out = plain(**batch)
    assert plain.describe(out.sums, out.maxima).keys() < measures.keys()


def test_the_correlation_of_predicted_and_true_hardness_is_pearsons():
    batch = make_batches(lengths=(24,) * 8, rows_per_batch=8)[0]
    objective = make_objective(sampler="hardness-loss", head_spread=0.5)
    out = objective(**batch)
    predicted = _draws(objective, batch).predicted.detach()
    losses: list[torch.Tensor] = []
    inner = objective._head_loss

    def watched(drawn, hardness):
        losses.append(hardness)
        return inner(drawn, hardness)

    objective._head_loss = watched
    objective(**batch)
    (pearson,) = torch.corrcoef(torch.stack([predicted, losses[0]]))[0, 1:].tolist()
    found = objective.describe(out.sums, out.maxima)["hardness_correlation"]
    assert found == pytest.approx(pearson, abs=1e-4)


def test_weights_that_do_not_average_to_one_raise_the_alarm():
    objective = make_objective()
    for mean, alarmed in ((0.85, True), (0.95, False), (1.05, False), (1.2, True)):
        assert bool(objective.alarms({"mean_weight": mean})) == alarmed
    assert objective.alarms({}) == []


def test_draws_do_not_depend_on_anything_but_the_batch():
    batch = make_batches()[0]
    objective = make_objective(sampler="hardness-distribution", head_spread=0.3)
    torch.manual_seed(1)
    first = _draws(objective, batch).candidates
    torch.manual_seed(2)
    assert torch.equal(first, _draws(objective, batch).candidates)
