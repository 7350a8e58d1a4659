"""verify-variance: every number against its definition, written as plainly as can be."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from electra_toys import ARCHITECTURES, SPECIAL, VOCAB, make_batches, make_objective, with_head
from vesalius.core.errors import VesaliusError
from vesalius.methods.electra.candidates import Candidates, Sampler, choose_candidates
from vesalius.methods.electra.config import ElectraOptions
from vesalius.methods.electra.head_fit import fit_head
from vesalius.methods.electra.moments import Enumeration
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.result import GENERATOR, LOGIT, LOSS, OPTIMA, PARAMETERS, QUANTITIES
from vesalius.methods.electra.variance import (
    PROBE_MEANINGS,
    probe_variance,
    variance_alarms,
    verify_variance,
)

HEADS = ("hardness-loss", "hardness-distribution")
FEW = Enumeration(num_top=10, num_draws=8)


def _places(batch):
    return {name: batch[name] for name in ("position_ids", "attention_mask") if name in batch}


def _definition(objective, batch, place: int):
    """Every candidate at one place of a whole packed batch, the others as drawn: l, slope, rest."""
    drawn = objective.draw(**{name: x for name, x in batch.items() if name != "real"})
    ids, flat = batch["input_ids"], batch["input_ids"].reshape(-1)
    found = []
    for token in range(VOCAB):
        corrupted = flat.clone()
        corrupted[batch["slots"]] = drawn.candidates
        corrupted[place] = token
        labels = (corrupted != flat).float().view_as(ids)
        logits = objective.pair.discriminator_logits(corrupted.view_as(ids), **_places(batch))
        nats = binary_cross_entropy_with_logits(logits, labels, reduction="none").reshape(-1)
        slope = logits.sigmoid().reshape(-1)[place] - labels.reshape(-1)[place]
        row, column = divmod(place, ids.shape[1])
        document = batch["attention_mask"][row, 0, column] == 0
        inside = nats.view_as(ids)[row][document].sum() - nats[place]
        found.append((nats[place], slope, inside))
    return tuple(torch.stack(part).double() for part in zip(*found, strict=True))


def _distributions(objective, batch, place: int):
    """q and p_S over the vocabulary at one place, from all logits."""
    shown = batch["input_ids"].reshape(-1).clone()
    shown[batch["slots"][batch["masked"]]] = SPECIAL.mask
    hidden, states = objective.pair.generator_states(
        shown.view_as(batch["input_ids"]), torch.tensor([place]), **_places(batch)
    )
    table = objective.pair.output_weight
    q = (states @ table.T + objective.pair.output_bias)[0].double().softmax(-1)
    scores = (objective.head(hidden) @ table.T + objective.head.bias)[0].double()
    hard = scores.exp()
    if objective.options.sampler == "hardness-loss":
        hard = softplus(scores) + objective.options.hardness_floor
    return q, q * hard / (q * hard).sum()


def _variance(p, q, size, mean):
    return float((p * (q / p * size) ** 2).sum() - mean**2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("sampler", HEADS)
def test_every_number_is_that_of_its_definition(architecture, sampler):
    objective = make_objective(architecture, sampler=sampler, head_spread=0.4, max_weight=1.2)
    batches = make_batches()
    result = verify_variance(objective, batches, num_slots=3, num_batches=2)
    assert result.samplers == (GENERATOR, sampler, OPTIMA[LOSS], OPTIMA[LOGIT])
    assert result.is_exact
    assert result.learned == (sampler,)
    for i, (number, place) in enumerate(zip(result.batch_numbers, result.slots, strict=True)):
        batch = batches[int(number)]
        original = int(batch["input_ids"].reshape(-1)[place])
        assert result.originals[i] == original
        slot = batch["slots"].tolist().index(int(place))
        assert result.masked[i] == bool(batch["masked"][slot])
        with torch.no_grad():
            nats, slope, rest = _definition(objective, batch, int(place))
            q, p = _distributions(objective, batch, int(place))
        j, g = float((q * nats).sum()), float((q * slope).sum())
        best = {LOSS: q * nats, LOGIT: q * slope.abs()}
        named = {GENERATOR: q, sampler: p} | {
            OPTIMA[name]: values / values.sum() for name, values in best.items()
        }
        for k, name in enumerate(result.samplers):
            chosen, w = named[name], q / named[name]
            wanted = [_variance(chosen, q, nats, j), _variance(chosen, q, slope, g)]
            np.testing.assert_allclose(result.variances[:2, k, i], wanted, rtol=2e-4, atol=1e-6)
            numbers = {
                "means_nats": j,
                "cut_means_nats": float((chosen * w.clamp_max(1.2) * nats).sum()),
                "elsewhere_nats": float((chosen * rest).sum()),
                "probs_original": float(chosen[original]),
                "effective_shares": float(1 / (chosen * w**2).sum()),
            }
            for field, value in numbers.items():
                assert getattr(result, field)[k, i] == pytest.approx(value, rel=1e-4), field
        assert result.cut_means_nats[1, i] < result.means_nats[1, i]
    assert np.isnan(result.variances[2]).all()
    assert result.largest_bias < 1e-5
    assert result.vocab_size == VOCAB


def test_the_gradients_variance_is_the_trace_of_its_covariance():
    objective = make_objective("modern", sampler="hardness-loss", head_spread=0.4)
    batches = make_batches()
    result = verify_variance(
        objective, batches, num_slots=2, num_batches=1, num_gradient_slots=1, seed=3
    )
    assert result.samplers[-1] == OPTIMA[PARAMETERS]
    (i,) = np.flatnonzero(np.isfinite(result.variances[2, 0]))
    batch, place = batches[0], int(result.slots[i])
    weights = list(objective.pair.parameters())
    nats, _, _ = _definition(objective, batch, place)
    rows = []
    for loss in nats:
        slopes = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
        rows.append(torch.cat([s.reshape(-1).double() for s in slopes if s is not None]))
    with torch.no_grad():
        q, p = _distributions(objective, batch, place)
    each = torch.stack(rows)
    mean = q @ each
    best = q * each.norm(dim=1)
    for k, chosen in ((0, q), (1, p), (4, best / best.sum())):
        apart = (q / chosen)[:, None] * each - mean
        trace = float((chosen * apart.square().sum(1)).sum())
        assert result.variances[2, k, i] == pytest.approx(trace, rel=1e-4)
        ratio = trace / result.variances[2, 0, i]
        assert result.slot_ratios(result.samplers[k], PARAMETERS)[i] == pytest.approx(
            ratio, rel=1e-4
        )


@pytest.mark.parametrize("sampler", ["generator", *HEADS])
def test_nothing_beats_the_best_for_a_quantity(sampler):
    objective = make_objective("modern", sampler=sampler, head_spread=0.6)
    result = verify_variance(objective, make_batches(), num_slots=8, num_gradient_slots=2)
    for q, quantity in enumerate(QUANTITIES):
        best = result.variances[q, result.samplers.index(OPTIMA[quantity])]
        taken = np.isfinite(best)
        assert taken.sum() == (2 if quantity == PARAMETERS else 8)
        others = result.variances[q][:, taken]
        others = others[np.isfinite(others).all(1)]
        assert (best[taken] <= others * (1 + 1e-9) + 1e-15).all()
    best = result.variances[0, result.samplers.index(OPTIMA[LOSS])]
    assert (best <= 1e-14).all()
    # at the optimum the weights' effective sample size is small: it must never be an alarm
    shares = result.effective_shares[result.samplers.index(OPTIMA[LOSS])]
    assert shares.min() < 0.6
    assert result.effective_shares[0] == pytest.approx(1.0)


@pytest.mark.parametrize("sampler", HEADS)
def test_a_zero_head_has_the_generators_variance_and_raises_no_alarm(sampler):
    objective = make_objective(sampler=sampler)
    result = verify_variance(objective, make_batches(), num_slots=8)
    np.testing.assert_allclose(result.slot_ratios(sampler), 1.0, rtol=1e-9)
    assert result.alarms() == ()
    assert variance_alarms(probe_variance(objective, make_batches()[0])) == []


def test_a_sampler_that_does_harm_raises_the_alarm():
    objective = make_objective(sampler="hardness-distribution", head_spread=1.5)
    result = verify_variance(objective, make_batches(), num_slots=12)
    assert result.ratio("hardness-distribution").median.estimate > 1
    (alarm,) = result.alarms()
    assert "hardness-distribution" in alarm
    probed = probe_variance(objective, make_batches()[0])
    assert variance_alarms(probed)
    assert variance_alarms({"variance_ratio_median": 0.9, "effective_share": 0.01}) == []
    assert variance_alarms({}) == []


def test_heads_fitted_to_a_pair_at_rest_lower_the_variance_and_leave_the_pair_as_it_was():
    objective = make_objective("modern")
    before = {name: values.clone() for name, values in objective.state_dict().items()}
    random = torch.get_rng_state()
    train, held_out = make_batches(seed=1), make_batches()
    heads = {
        name: fit_head(objective, train, sampler=name, num_steps=60, learning_rate=0.02)
        for name in HEADS
    }
    assert torch.equal(random, torch.get_rng_state())
    assert objective.training
    assert all(weight.requires_grad for weight in objective.parameters())
    for name, values in objective.state_dict().items():
        assert torch.equal(values, before[name])
    result = verify_variance(objective, held_out, others=heads, num_slots=24)
    assert result.learned == HEADS
    for name in HEADS:
        found = result.ratio(name)
        assert found.median.estimate < 0.8
        assert found.median.low <= found.median.estimate <= found.median.high
    assert result.largest_bias < 1e-5


def test_a_probe_is_the_same_number_and_disturbs_nothing():
    objective = make_objective(sampler="hardness-loss", head_spread=0.4, shape={"dropout": 0.3})
    batch = make_batches()[0]
    random = torch.get_rng_state()
    how = Enumeration()
    first = probe_variance(objective, batch, enumeration=how)
    assert objective.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(weight.grad is None for weight in objective.parameters())
    assert probe_variance(objective, batch, enumeration=how) == first
    assert first.keys() == PROBE_MEANINGS.keys()
    result = verify_variance(objective, [batch], num_batches=1, num_slots=16)
    wanted = {
        "variance_ratio_median": result.ratio("hardness-loss").median.estimate,
        "variance_ratio_mean": result.ratio("hardness-loss").mean.estimate,
        "variance_ratio_total": result.ratio("hardness-loss").total.estimate,
        "gradient_ratio_median": result.ratio("hardness-loss", LOGIT).median.estimate,
        "gradient_ratio_mean": result.ratio("hardness-loss", LOGIT).mean.estimate,
        "generator_variance": result.variances[0, 0].mean(),
    }
    assert first == pytest.approx(wanted)
    plain = probe_variance(make_objective(), batch)
    assert plain.keys() == {"generator_variance"}


def test_compiled_bodies_rest_while_a_pair_is_probed(monkeypatch):
    """They would be compiled anew for the length of every document."""
    asked = []

    def watched(stance):
        asked.append(stance)
        return nullcontext()

    monkeypatch.setattr(torch.compiler, "set_stance", watched)
    objective, batch = make_objective(sampler="hardness-loss"), make_batches()[0]
    probe_variance(objective, batch)
    assert asked == []  # the import behind it takes seconds
    body = objective.pair._discriminator.base_model
    body._compiled_call_impl = body._call_impl
    probe_variance(objective, batch)
    assert asked == ["force_eager"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_really_compiled_bodies_are_not_compiled_anew():
    objective = make_objective(sampler="hardness-loss", head_spread=0.4)
    batch = make_batches()[0]
    wanted = probe_variance(objective, batch)
    objective.pair.compile_bodies()
    assert probe_variance(objective, batch) == wanted
    assert torch._dynamo.utils.counters["stats"].get("unique_graphs", 0) == 0


@pytest.mark.parametrize("sampler", HEADS)
def test_an_excluded_original_is_left_out_of_every_sum(sampler):
    objective = make_objective(sampler=sampler, head_spread=0.4, exclude_original=True)
    result = verify_variance(objective, make_batches(), num_slots=6)
    assert (result.num_candidates == VOCAB - 1).all()
    assert not result.probs_original.any()
    assert np.isfinite(result.variances[:2]).all()
    assert result.largest_bias < 1e-5


def test_the_temperature_is_that_which_is_asked_for():
    objective, warm = make_objective(), make_objective(temperature=3.0)
    batches = make_batches()
    wanted = verify_variance(warm, batches, num_slots=5)
    asked = verify_variance(objective, batches, num_slots=5, temperature=3.0)
    scheduled = verify_variance(
        objective, make_batches(temperature=lambda number: 3.0), num_slots=5
    )
    for found in (asked, scheduled):
        np.testing.assert_array_equal(found.variances, wanted.variances)
    plain = verify_variance(objective, batches, num_slots=5)
    assert not np.allclose(plain.variances[:2], wanted.variances[:2])


def _sums(candidates: Candidates, sampler: Sampler, sizes) -> np.ndarray:
    square = candidates.squared_mean(sizes)
    return np.array(
        [
            candidates.mean(sizes),
            square,
            sampler.variance(candidates, sizes, squared_mean=square),
        ]
    )


def test_draws_from_the_rest_of_a_large_vocabulary_are_unbiased():
    generator = torch.Generator().manual_seed(0)
    log_q = (2 * torch.randn(60, generator=generator, dtype=torch.float64)).log_softmax(-1)
    sizes = torch.rand(60, generator=generator, dtype=torch.float64) * 3
    hard = sizes * torch.rand(60, generator=generator, dtype=torch.float64).add(0.5)
    options = {"always": 59, "num_draws": 6, "generator": generator}
    everything = choose_candidates(log_q, num_top=60, **options)
    assert everything.is_exact
    assert everything.ids.tolist() == list(range(60))
    for normalised in (True, False):
        ratio = hard / (log_q.exp() @ hard) if normalised else hard
        sampler = {"name": "x", "is_normalised": normalised}
        wanted = _sums(everything, Sampler(ratio=ratio, **sampler), sizes)
        found = []
        for _ in range(400):
            some = choose_candidates(log_q, num_top=8, **options)
            assert not some.is_exact
            assert len(some.ids) <= 8 + 1 + 6
            assert 59 in some.ids
            torch.testing.assert_close(some.mass.sum(1), torch.ones(2, dtype=torch.float64))
            found.append(_sums(some, Sampler(ratio=ratio[some.ids], **sampler), sizes[some.ids]))
        error = np.std(found, axis=0) / len(found) ** 0.5
        assert (np.abs(np.mean(found, axis=0) - wanted) <= 4 * error).all()


def test_a_few_tokens_and_draws_come_near_all_of_them():
    objective = make_objective(sampler="hardness-loss", head_spread=0.1)
    batches = make_batches((24,) * 40, rows_per_batch=8)
    exact = verify_variance(objective, batches, num_slots=40)
    some = verify_variance(objective, batches, num_slots=40, enumeration=FEW)
    assert not some.is_exact
    assert some.num_candidates.max() <= 10 + 1 + 8 < VOCAB
    np.testing.assert_array_equal(some.slots, exact.slots)
    for name in ("median", "mean", "total"):
        near = getattr(some.ratio("hardness-loss"), name).estimate
        assert near == pytest.approx(getattr(exact.ratio("hardness-loss"), name).estimate, abs=0.15)
    small = verify_variance(
        objective, batches, num_slots=3, enumeration=Enumeration(tokens_at_once=1)
    )
    whole = verify_variance(objective, batches, num_slots=3)
    np.testing.assert_allclose(small.variances[:2], whole.variances[:2], rtol=1e-5)


def test_rows_without_a_mask_are_one_document():
    objective = make_objective(sampler="hardness-loss", head_spread=0.4)
    batch = make_batches((24,) * 8)[0]
    assert "attention_mask" not in batch
    result = verify_variance(objective, [batch], num_batches=1, num_slots=2)
    assert np.isfinite(result.variances[:2]).all()


def test_what_cannot_be_is_refused(as_users_call_it):
    objective, batches = make_objective(sampler="hardness-loss"), make_batches()
    wrong = {
        "num_slots": {"num_slots": 0},
        "num_batches": {"num_batches": 0},
        "num_gradient_slots": {"num_gradient_slots": -1},
    }
    for name, options in wrong.items():
        with pytest.raises(VesaliusError, match=name):
            verify_variance(objective, batches, **options)
    for name in ("num_top", "num_draws", "tokens_at_once"):
        with pytest.raises(VesaliusError, match=name):
            Enumeration(**{name: 0})
    empty = dict(batches[0]) | {
        "slots": torch.zeros(0, dtype=torch.int64), "masked": torch.zeros(0, dtype=torch.bool),
        "uniforms": torch.zeros(0, dtype=torch.float64),
    }  # fmt: skip
    with pytest.raises(VesaliusError, match="without a slot"):
        probe_variance(objective, empty)
    others = {
        "of another pair": with_head(make_objective(), "hardness-loss"),
        "of another temperature": with_head(objective, "hardness-loss", temperature=2.0),
        "hardness-loss": with_head(objective, "hardness-loss"),
        "headless": ReplacedTokenObjective(objective.pair, options=ElectraOptions()),
    }
    for name, other in others.items():
        with pytest.raises(VesaliusError, match=name):
            verify_variance(objective, batches, others={name: other})
    with pytest.raises(VesaliusError, match="no head"):
        fit_head(objective, batches, sampler="generator")
    with pytest.raises(VesaliusError, match="num_steps"):
        fit_head(objective, batches, sampler="hardness-loss", num_steps=0)


def test_fewer_slots_than_asked_for_are_said():
    result = verify_variance(make_objective(), make_batches(), num_slots=1000, num_batches=1)
    assert len(result.slots) == len(make_batches()[0]["slots"])
    assert "fewer than the 1000" in result.card.warnings[0]
    off = make_objective(sampler="hardness-loss", importance_weights=False)
    result = verify_variance(off, make_batches(), num_slots=2)
    assert "weighs nothing" in result.card.warnings[0]
