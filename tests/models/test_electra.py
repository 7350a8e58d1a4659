"""Pairs: what is shared, what a head sees, and that the exports are what was trained."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    ElectraForPreTraining,
    ModernBertForTokenClassification,
)

from electra_toys import (
    ARCHITECTURES,
    SHARINGS,
    SPECIAL,
    VOCAB,
    make_batches,
    make_objective,
    make_shape,
)
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.models.electra import EncoderPair, HardnessHead

WIDTHS = {"narrow generator": {}, "generator of the same width": {"generator_width": 24}}
KINDS = [(a, s, w) for a in ARCHITECTURES for s in SHARINGS for w in WIDTHS]
each_kind = pytest.mark.parametrize(("architecture", "sharing", "widths"), KINDS)


def _pair(architecture="electra", sharing="tied", widths="narrow generator", *, seed=0):
    """A pair whose tables, deltas included, are away from their start."""
    made = make_objective(architecture, sharing, seed=seed, shape=WIDTHS[widths])
    return made.pair.eval()


def _ids(seed=0, *, length=10):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCAB, (2, length), generator=generator)


def _tables(pair):
    """The tables of both networks by what they are for: generator's in and out, discriminator's."""
    modern = pair.shape.architecture == "modern"
    name = "tok_embeddings" if modern else "word_embeddings"
    looked_up = {"tok_embeddings": pair.table.weight} if pair.narrow is not None else {}
    generators = looked_up.get(
        name, pair._generator.get_input_embeddings().weight if pair.narrow is None else None
    )
    own = getattr(pair._discriminator.base_model.embeddings, name)
    return generators, pair.output_weight, own


@each_kind
def test_shared_tables_are_the_same_objects(architecture, sharing, widths):
    pair = _pair(architecture, sharing, widths)
    into, out, own = _tables(pair)
    assert into is out
    assert (own.weight is into) == (sharing == "tied")
    if sharing == "disentangled":
        assert own.base is into
        assert own.delta is not own.base
    if architecture == "electra":
        theirs, mine = (
            dict(body.base_model.embeddings.named_parameters())
            for body in (pair._generator, pair._discriminator)
        )
        positions = "position_embeddings.weight"
        if sharing == "tied":
            assert all(theirs[name] is mine[name] for name in theirs)
        else:
            assert sharing == "disentangled" or theirs[positions] is not mine[positions]


@each_kind
def test_ties_survive_saving_and_loading(architecture, sharing, widths, tmp_path):
    pair = _pair(architecture, sharing, widths)
    save_file({name: values.clone() for name, values in pair.state_dict().items()}, tmp_path / "p")
    other = _pair(architecture, sharing, widths, seed=5)
    with torch.no_grad():
        before = other.discriminator_logits(_ids())
        other.load_state_dict(load_file(tmp_path / "p"))
        assert not torch.equal(before, other.discriminator_logits(_ids()))
        assert torch.equal(other.discriminator_logits(_ids()), pair.discriminator_logits(_ids()))
    into, out, own = _tables(other)
    assert into is out
    assert (own.weight is into) == (sharing == "tied")
    if sharing == "disentangled":
        assert own.base is into


@each_kind
def test_logits_at_the_slots_are_those_taken_everywhere_and_picked(architecture, sharing, widths):
    pair = _pair(architecture, sharing, widths)
    slots = torch.tensor([1, 4, 5, 12, 19])
    with torch.no_grad():
        hidden, states = pair.generator_states(_ids(), slots)
        logits = states @ pair.output_weight.T + pair.output_bias
        everywhere = pair.as_generator()(input_ids=_ids()).logits.reshape(-1, VOCAB)
    torch.testing.assert_close(logits, everywhere[slots], rtol=1e-5, atol=1e-5)
    assert hidden.shape == (5, pair.shape.generator_width)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_disentangled_tables_start_equal(architecture):
    torch.manual_seed(0)
    pair = EncoderPair(make_shape(architecture, "disentangled"), SPECIAL)
    into, _, own = _tables(pair)
    assert torch.equal(own.weight, into)
    assert not own.delta.any()
    with torch.no_grad():
        own.delta += 1
    assert torch.equal(own.weight, into + 1)
    looked_up = own(torch.tensor([3, 5]))
    assert torch.equal(looked_up, own.weight[[3, 5]])
    (own.weight.sum() + looked_up.sum()).backward()
    assert own.base.grad is None
    assert own.delta.grad.any()


@each_kind
def test_exports_say_what_the_pair_says(architecture, sharing, widths, tmp_path):
    pair = _pair(architecture, sharing, widths)
    ids = _ids()
    kind = {"electra": ElectraForPreTraining, "modern": ModernBertForTokenClassification}
    pair.as_discriminator().save_pretrained(tmp_path / "discriminator")
    pair.as_generator().save_pretrained(tmp_path / "generator")
    discriminator, loading = kind[architecture].from_pretrained(
        tmp_path / "discriminator", output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    with torch.no_grad():
        found = discriminator.eval()(input_ids=ids).logits
        assert_equal_numbers(found.reshape(2, -1), pair.discriminator_logits(ids))
        own_body = pair._discriminator.base_model
        encoder = AutoModel.from_pretrained(tmp_path / "discriminator").eval()
        assert_equal_numbers(
            encoder(input_ids=ids).last_hidden_state, own_body(input_ids=ids).last_hidden_state
        )
        generator = AutoModelForMaskedLM.from_pretrained(tmp_path / "generator").eval()
        _, states = pair.generator_states(ids, torch.arange(ids.numel()))
        wanted = states @ pair.output_weight.T + pair.output_bias
        logits = generator(input_ids=ids).logits.reshape(-1, VOCAB)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_classifier_made_of_the_export_misses_nothing_but_its_own_head(architecture, tmp_path):
    _pair(architecture).as_discriminator().save_pretrained(tmp_path / "d")
    _, loading = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "d", num_labels=2, output_loading_info=True, ignore_mismatched_sizes=True
    )
    assert all(name.startswith("classifier") for name in loading["missing_keys"])


def test_an_export_has_weights_of_its_own():
    pair = _pair()
    copied = pair.as_discriminator()
    with torch.no_grad():
        for weight in copied.parameters():
            weight.zero_()
    assert all(weight.any() for name, weight in pair.named_parameters() if weight.ndim > 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_documents_of_a_row_do_not_see_each_other(architecture):
    pair = _pair(architecture)
    batch = make_batches()[0]
    ids, real = batch["input_ids"], batch["real"]
    places = {name: batch[name] for name in ("position_ids", "attention_mask")}
    starts = (batch["position_ids"] == 0) & real
    assert int(starts.sum()) > len(ids)
    with torch.no_grad():
        packed = pair.discriminator_logits(ids, **places)
        for row in range(len(ids)):
            owner = starts[row].long().cumsum(0) * real[row]
            for document in range(1, int(owner.max()) + 1):
                inside = owner == document
                alone = pair.discriminator_logits(ids[row][inside][None])[0]
                torch.testing.assert_close(packed[row][inside], alone, rtol=1e-5, atol=1e-5)


def test_a_head_scores_zero_at_first_and_everything_it_has_can_learn():
    torch.manual_seed(0)
    head = HardnessHead(width=16, embedding_size=12, vocab_size=VOCAB)
    hidden = torch.randn(5, 16)
    assert torch.equal(head(hidden), torch.zeros(5, 12))
    assert not head.bias.any()
    table = torch.randn(VOCAB, 12)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    for _ in range(2):  # the inner weights move once the last one has
        scores = head(hidden) @ table.T + head.bias
        optimizer.zero_grad()
        (scores - 1).square().mean().backward()
        optimizer.step()
    assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())


def test_the_embeddings_count_once():
    tied, apart = (make_objective(sharing=kind).pair for kind in ("tied", "none"))
    numbers = [sum(w.numel() for w in pair.parameters()) for pair in (tied, apart)]
    rows = VOCAB + 32 + 2 + 2  # tokens, positions, segments, and the norm's two vectors
    assert numbers[1] - numbers[0] == rows * 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"architecture": "bert"},
        {"sharing": "half"},
        {"dropout": 1.5},
        {"num_layers": 0},
        {"vocab_size": -1},
        {"num_heads": 5},
        {"generator_heads": 3},
        {"embedding_size": -1},
    ],
    ids=str,
)
def test_shapes_that_cannot_be_are_refused(wrong, as_users_call_it):
    with pytest.raises(VesaliusError) as caught:
        make_shape(**wrong)
    assert next(iter(wrong)) in str(caught.value)
