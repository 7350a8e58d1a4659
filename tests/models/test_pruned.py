"""A model without heads gives the logits of the model with those heads masked, on every family."""

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import families
from helpers import assert_equal_numbers
from masking import Heads, logits_of, masked_logits, num_weights, specimen_of, uneven
from vesalius.core.errors import VesaliusError
from vesalius.models.attention_sites import attention_sites
from vesalius.models.head_layout import find_layouts
from vesalius.models.integrals import StaircaseOptions
from vesalius.models.objectives import token_objective
from vesalius.models.opening import open
from vesalius.models.pruned import head_groups, prune_heads
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.staircase import attribute_attention, attribute_neurons
from vesalius.numerics.quadrature import gauss_legendre

GROUPED = ("llama", "mistral", "qwen3", "gemma3", "phi3")


def weights_of_heads(specimen: Specimen, removed: Heads) -> int:
    """How many weights belong to the heads: rows of q, k, v with biases, columns of the output."""
    total = 0
    for site in attention_sites(specimen):
        if site.index > 0 and site.module is attention_sites(specimen)[site.index - 1].module:
            continue  # ALBERT's one module is counted once
        layout = find_layouts(specimen.model)[site.name]
        heads = sum(s == site.index for s, _ in removed)
        groups = heads * layout.num_groups // layout.num_heads
        d_head = layout.d_head
        total += heads * d_head * layout.output.num_outputs
        for projection in layout.projections:
            linear = projection.linear
            biased = getattr(linear.module, "bias", None) is not None
            shares = {"query": heads, "key or value": groups}
            rows = d_head * shares.get(projection.role, heads + 2 * groups)
            total += rows * (linear.num_inputs + biased)
    return total


def bits_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_pruned_equals_masked(family: str, dtype: torch.dtype) -> None:
    # some eager classes take the softmax in single precision, and so do both sides then
    specimen = specimen_of(family, dtype)
    removed = uneven(specimen)
    before, settings = bits_of(specimen.model), specimen.model.config.to_dict()
    pruned = prune_heads(specimen, removed)
    assert_equal_numbers(logits_of(pruned), masked_logits(specimen, removed))
    change = (logits_of(pruned) - logits_of(specimen)).abs().max()
    assert change > 0.05 * logits_of(specimen).abs().max()  # these heads say something
    assert num_weights(specimen) - num_weights(pruned) == weights_of_heads(specimen, removed)
    counts = [
        site.num_heads - sum(s == site.index for s, _ in removed)
        for site in attention_sites(specimen)
    ]
    assert [site.num_heads for site in attention_sites(pruned)] == counts
    assert pruned.fingerprint != specimen.fingerprint
    assert pruned.name == f"{family}-pruned"
    assert pruned.plan.seam == specimen.plan.seam
    assert specimen.model.config.to_dict() == settings
    assert all(torch.equal(before[n], t) for n, t in specimen.model.state_dict().items())


@pytest.mark.parametrize("family", families.FAMILIES)
def test_eager_attention_knows_the_heads_that_are_left(family: str) -> None:
    specimen = specimen_of(family, kernel="eager")
    removed = uneven(specimen)
    pruned = prune_heads(specimen_of(family), removed)
    pruned.model.set_attn_implementation("eager")
    with torch.no_grad():
        output = pruned.model(**pruned.probe().inputs, output_attentions=True)
    names = ("encoder_attentions", "decoder_attentions", "attentions")
    seen = [a.shape[1] for name in names for a in output.get(name) or ()]
    own = [site.num_heads for site in attention_sites(pruned) if site.kind == "self"]
    assert seen == own
    assert_equal_numbers(logits_of(pruned), masked_logits(specimen, removed))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_layer_may_lose_all_its_heads(family: str) -> None:
    specimen = specimen_of(family)
    sites = attention_sites(specimen)
    lost = sites[1:2] if family != "albert" else sites
    removed = [(site.index, head) for site in lost for head in range(site.num_heads)]
    pruned = prune_heads(specimen, removed)
    assert_equal_numbers(logits_of(pruned), masked_logits(specimen, removed))
    group = len(head_groups(specimen)[1][0])
    assert attention_sites(pruned)[1].num_heads == group  # a placeholder
    layout = find_layouts(pruned.model)[sites[1].name]
    assert not layout.output.weight.any()
    # and the placeholder may go, which changes nothing
    heads = [(site.index, head) for site in lost for head in range(group)]
    again = prune_heads(pruned, heads)
    assert torch.equal(logits_of(again), logits_of(pruned))
    assert again.model.config.vesalius_kept_heads == pruned.model.config.vesalius_kept_heads


@pytest.mark.parametrize("family", families.FAMILIES)
def test_pruning_twice_is_pruning_at_once(family: str) -> None:
    specimen = specimen_of(family)
    shared = family == "albert"
    groups = head_groups(specimen)
    sites = range(len(groups)) if shared else (len(groups) - 1,)
    first = [(site, head) for site in sites for head in groups[site][0]]
    second = [(0, head) for head in groups[0][-1]]
    # ALBERT's module is the same at all sites, and its head 3 is head 2 once head 0 is gone
    then = [(site, 2) for site in sites] if shared else second
    both = [*first, *((site, 3) for site in sites)] if shared else [*first, *second]
    once, twice = prune_heads(specimen, both), prune_heads(prune_heads(specimen, first), then)
    assert once.model.config.vesalius_kept_heads == twice.model.config.vesalius_kept_heads
    assert once.fingerprint == twice.fingerprint
    assert torch.equal(logits_of(once), logits_of(twice))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_attribution_is_complete_on_a_pruned_model(family: str) -> None:
    specimen = specimen_of(family, torch.float64, kernel="eager")
    pruned = prune_heads(specimen, uneven(specimen))
    batch = pruned.probe()
    answers = torch.arange(batch.num_prompts) % 5
    objective = token_objective(answers, kind="log-probability")
    # a line that begins at zero bends sharply there under RMSNorm, with and without pruning
    options = StaircaseOptions(rules=(gauss_legendre(384),))
    for attribute in (attribute_attention, attribute_neurons):
        found = attribute(pruned, batch, objective=objective, options=options)
        for layer, scores in enumerate(found.attribution):
            change = found.end_value - found.start_value[layer]
            gap = scores.flatten(1).sum(1) - change
            assert gap.abs().max() <= 5e-3 * change.abs().max() + 1e-9
        if attribute is attribute_attention:
            heads = [site.num_heads for site in attention_sites(pruned)]
            assert [scores.shape[1] for scores in found.attribution] == heads


@pytest.mark.parametrize("family", families.FAMILIES)
def test_half_precision_is_pruned_too(family: str) -> None:
    specimen = specimen_of(family, torch.bfloat16)
    removed = uneven(specimen)
    pruned = prune_heads(specimen, removed)
    assert {p.dtype for p in pruned.model.parameters()} == {torch.bfloat16}
    wanted = masked_logits(specimen, removed).float()
    # eight bits, through three layers
    assert (logits_of(pruned).float() - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_a_dispatched_model_is_pruned() -> None:
    accelerate = pytest.importorskip("accelerate")  # it puts a forward of its own on every module
    specimen = specimen_of("llama")
    removed = uneven(specimen)
    wanted = masked_logits(specimen, removed)
    accelerate.dispatch_model(specimen.model, {"": "cpu"}, main_device="cpu", force_hooks=True)
    assert_equal_numbers(logits_of(prune_heads(specimen, removed)), wanted)


def test_a_cache_holds_the_heads_that_are_left() -> None:
    for family in ("gpt2", "gpt-neox", "llama", "gemma3", "phi3", "t5", "bart"):
        specimen = specimen_of(family)
        pruned = prune_heads(specimen, uneven(specimen))
        ids = pruned.probe().inputs["input_ids"][1:3]
        options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        cached = pruned.model.generate(ids, use_cache=True, **options)
        plain = pruned.model.generate(ids, use_cache=False, **options)
        assert torch.equal(cached, plain)


def test_training_goes_on_with_a_pruned_copy() -> None:
    specimen = specimen_of("bert")
    specimen.model.train()
    pruned = prune_heads(specimen, [(0, 1)])
    assert pruned.model.training
    pruned.model(**pruned.probe().inputs).logits.square().sum().backward()
    query = pruned.model.bert.encoder.layer[0].attention.self.query
    assert query.weight.grad.shape == (24, 32)


def test_classifiers_are_pruned() -> None:
    config = hf.BertConfig(**families._BERT, num_labels=3)
    model = hf.BertForSequenceClassification(config).eval()
    specimen = Specimen(model=model, tokenizer=None, name="labels", task="classifier")
    removed = [(0, 3), (2, 0), (2, 1), (2, 2), (2, 3)]
    pruned = prune_heads(specimen, removed)
    assert pruned.task == "classifier"
    assert_equal_numbers(logits_of(pruned), masked_logits(specimen, removed))


def test_a_bundled_classifier_is_pruned() -> None:
    specimen = open("mini-classifier")
    removed = uneven(specimen)
    assert removed
    pruned = prune_heads(specimen, removed)
    assert pruned.tokenizer is specimen.tokenizer
    assert_equal_numbers(logits_of(pruned), masked_logits(specimen, removed))


# What stands outside the table of families, each for a layout or a habit of its own.
OTHERS = {
    "umt5": lambda: hf.UMT5ForConditionalGeneration(
        hf.UMT5Config(
            **families._TEXT, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_heads=4,
            decoder_start_token_id=0,
        )
    ),
    "gpt-j": lambda: hf.GPTJForCausalLM(
        hf.GPTJConfig(vocab_size=97, n_embd=32, n_layer=3, n_head=4, rotary_dim=4, n_positions=64)
    ),
    "falcon": lambda: hf.FalconForCausalLM(
        hf.FalconConfig(
            vocab_size=97, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
            num_kv_heads=2, new_decoder_architecture=True, alibi=False,
        )
    ),
    "deberta-v2, projections of its own for positions": lambda: hf.DebertaV2ForMaskedLM(
        hf.DebertaV2Config(
            **families._BERT, relative_attention=True, pos_att_type=["p2c", "c2p"],
            type_vocab_size=0,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_layouts(name: str) -> None:
    specimen = _loud(OTHERS[name])
    removed = uneven(specimen)
    pruned = prune_heads(specimen, removed)
    assert_equal_numbers(logits_of(pruned), masked_logits(specimen, removed))


def _loud(build) -> Specimen:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=0.25)
    return Specimen(model=model, tokenizer=None, name="other", task=task_of(model))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_groups_are_those_of_the_configuration(family: str) -> None:
    specimen = specimen_of(family)
    own = ((0, 1), (2, 3)) if family in GROUPED else ((0,), (1,), (2,), (3,))
    assert head_groups(specimen) == (own,) * len(attention_sites(specimen))


@pytest.mark.parametrize("family", GROUPED)
def test_part_of_a_group_is_refused(family: str) -> None:
    specimen = specimen_of(family)
    with pytest.raises(VesaliusError, match=r"heads \[2\] of site 1 .* their group \[2, 3\]"):
        prune_heads(specimen, [(1, 2)])
    prune_heads(specimen, [(1, 2), (1, 3)])


def test_part_of_a_shared_module_is_refused() -> None:
    specimen = specimen_of("albert")
    with pytest.raises(VesaliusError, match="which run the same module"):
        prune_heads(specimen, [(0, 1), (1, 1)])
    prune_heads(specimen, [(0, 1), (1, 1), (2, 1)])


@pytest.mark.parametrize("head", [(0, 4), (0, -1), (3, 0), (-1, 0)])
def test_heads_that_are_not_there_are_refused(head: tuple[int, int]) -> None:
    with pytest.raises(VesaliusError, match="a site from 0 to 2") as caught:
        prune_heads(specimen_of("bert"), [head])
    assert caught.value.given == f"head {head} of bert"


def test_no_heads_are_a_copy() -> None:
    specimen = specimen_of("bert")
    copy = prune_heads(specimen, [])
    assert copy.model is not specimen.model
    assert copy.fingerprint == specimen.fingerprint
    assert copy.model.config.to_dict() == specimen.model.config.to_dict()


def test_offloaded_weights_are_refused() -> None:
    specimen = specimen_of("bert")
    specimen.model.bert.encoder.layer[1].to("meta")
    with pytest.raises(VesaliusError, match="not in memory"):
        prune_heads(specimen, [(0, 0)])


def test_quantised_weights_are_refused() -> None:
    specimen = specimen_of("bert")
    query = specimen.model.bert.encoder.layer[1].attention.self.query
    query.weight = nn.Parameter(query.weight.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(VesaliusError, match="without quantisation"):
        prune_heads(specimen, [(0, 0)])


def test_adapters_are_refused() -> None:
    specimen = specimen_of("bert")
    attention = specimen.model.bert.encoder.layer[1].attention.self
    attention.query.base_layer = nn.Linear(32, 32)
    with pytest.raises(VesaliusError, match="merge_and_unload"):
        prune_heads(specimen, [(0, 0)])


UNKNOWN = {
    # queries, keys and values in one linear under a name, with biases beside it
    "DisentangledSelfAttention": lambda: hf.DebertaForMaskedLM(
        hf.DebertaConfig(**families._BERT, relative_attention=True, pos_att_type=["p2c"])
    ),
    # the model hands every layer the slopes of all heads
    "BloomAttention": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(vocab_size=97, hidden_size=32, n_layer=3, n_head=4)
    ),
    # a norm over all heads together
    "Olmo2Attention": lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**families._LLAMA)),
    # fused under the name of GPT-2's, but laid out head by head: only the numbers tell
    "GPTBigCodeAttention": lambda: hf.GPTBigCodeForCausalLM(
        hf.GPTBigCodeConfig(
            vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, multi_query=False
        )
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_understood_is_refused_by_name(name: str) -> None:
    specimen = _loud(UNKNOWN[name])
    width = 2 if name == "Olmo2Attention" else 1
    # Bloom hands a residual from block to block: the masked model already cannot be climbed
    said = "block by block" if name == "BloomAttention" else name
    with pytest.raises(VesaliusError, match=said):
        prune_heads(specimen, [(0, head) for head in range(width)])
