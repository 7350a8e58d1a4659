"""Models beyond the promised families: the definition's numbers, or one clear refusal."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import definition
import families
from vesalius.core.errors import VesaliusError
from vesalius.models.checking import check
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.staircase import StaircaseOptions, attribute_attention, attribute_neurons
from vesalius.numerics.quadrature import gauss_legendre

BERT, LLAMA, VOCAB = families._BERT, families._LLAMA, families.VOCAB
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
RULE = gauss_legendre(2)
GPT = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, **ENDS}
SEQ = {"vocab_size": VOCAB, "d_model": 32, "pad_token_id": 0, "decoder_start_token_id": 2}
BART = {
    **SEQ, **ENDS, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
}  # fmt: skip
GRANITE = {**LLAMA, "embedding_multiplier": 12.0, "attention_multiplier": 0.1}

RIGHT: dict[str, Callable[[], nn.Module]] = {
    "bert classifier": lambda: hf.BertForSequenceClassification(hf.BertConfig(**BERT)),
    "gpt2 classifier": lambda: hf.GPT2ForSequenceClassification(
        hf.GPT2Config(**GPT, pad_token_id=0)
    ),
    "bart classifier": lambda: hf.BartForSequenceClassification(hf.BartConfig(**BART)),
    "granite": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**GRANITE, residual_multiplier=0.5)),
    "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**BERT, **ENDS)),
    "gpt-j": lambda: hf.GPTJForCausalLM(hf.GPTJConfig(**GPT, rotary_dim=4)),
    "opt post-norm": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(
            vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False, pad_token_id=0, **ENDS,
        )
    ),
    "albert groups": lambda: hf.AlbertForMaskedLM(
        hf.AlbertConfig(
            **{**BERT, "num_hidden_layers": 4}, embedding_size=16, num_hidden_groups=2,
            inner_group_num=2,
        )
    ),
    "mpnet": lambda: hf.MPNetForMaskedLM(hf.MPNetConfig(**{**BERT, "pad_token_id": 1})),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mobilebert": (
        lambda: hf.MobileBertForMaskedLM(
            hf.MobileBertConfig(**BERT, embedding_size=16, intra_bottleneck_size=16)
        ),
        "no feed-forward value layer",
    ),
    "lfm2": (
        lambda: hf.Lfm2ForCausalLM(
            hf.Lfm2Config(
                **LLAMA,
                layer_types=["conv", "full_attention", "conv"],
                block_auto_adjust_ff_dim=False,
            )
        ),
        "no block",
    ),
    "mixtral": (
        lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**LLAMA, num_local_experts=4)),
        "mixture-of-experts",
    ),
    "electra discriminator": (
        lambda: hf.ElectraForPreTraining(hf.ElectraConfig(**BERT, embedding_size=16)),
        "no language-model",
    ),
    "bloom": (
        lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2,
                                                   n_head=4, **ENDS)),
        "does not give the model's logits",
    ),
}  # fmt: skip


def specimen_of(model: nn.Module, dtype: torch.dtype = torch.float32) -> Specimen:
    return Specimen(model=model.eval().to(dtype), tokenizer=None, name="m", task=task_of(model))


def made(build: Callable[[], nn.Module], *, spread: float = 0.25) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=spread)
    return model


def far(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...] | list[Tensor]) -> float:
    return max(
        float((a - w).abs().max() / w.abs().max().clamp_min(1e-12))
        for a, w in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("name", RIGHT)
def test_right(name: str) -> None:
    specimen = specimen_of(made(RIGHT[name]))
    batch = specimen.probe()
    objective = token_objective(torch.arange(batch.num_prompts) % 2, kind="log-probability")
    options = StaircaseOptions(rules=(RULE,))
    found = attribute_neurons(specimen, batch, objective=objective, options=options)
    wanted = definition.neuron_attributions(specimen, batch, objective, RULE)
    assert far(found.attribution, wanted) < 1e-5
    found = attribute_attention(specimen, batch, objective=objective, options=options)
    wanted = definition.attention_attributions(specimen, batch, objective, RULE)
    assert far(found.attribution, wanted) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    build, reason = REFUSED[name]
    with pytest.raises(VesaliusError) as caught:
        _use(build())
    assert reason in caught.value.given


def _use(model: nn.Module) -> None:
    specimen = specimen_of(model)
    assert specimen.plan.unclimbable == "" or not check(specimen).supported
    batch = specimen.probe()
    attribute_neurons(specimen, batch, objective=token_objective(torch.zeros(5, dtype=torch.long)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_a_scaled_residual_is_no_plain_one_in_half_precision_either(dtype: torch.dtype) -> None:
    """Granite multiplies what the block writes: the split formula is off by that factor."""
    specimen = specimen_of(made(RIGHT["granite"], spread=0.02), dtype)
    assert specimen.plan.splits == {}


def test_a_classifier_is_read_at_its_own_row_whatever_row_is_scaled() -> None:
    specimen = specimen_of(made(RIGHT["bert classifier"]))
    batch = replace(specimen.probe(), row=torch.full((5,), 3))
    objective = token_objective(torch.arange(5) % 2)
    options = StaircaseOptions(rules=(RULE,))
    found = attribute_neurons(specimen, batch, objective=objective, options=options)
    assert found.attribution[-1].abs().max() == 0  # the top layer's row 3 is read by nobody
    wanted = definition.attention_attributions(specimen, batch, objective, RULE)
    found = attribute_attention(specimen, batch, objective=objective, options=options)
    assert far(found.attribution, wanted) < 1e-5


def test_a_hook_of_the_user_makes_a_new_plan() -> None:
    specimen = specimen_of(families.make("llama"))
    _ = specimen.plan
    steer = torch.randn(32, generator=torch.Generator().manual_seed(0))
    block = specimen.parts.blocks[1].module
    handle = block.register_forward_hook(lambda _m, _a, out: out + steer)
    batch = specimen.probe()
    objective = token_objective(torch.arange(5))
    found = attribute_neurons(
        specimen, batch, objective=objective, options=StaircaseOptions(rules=(RULE,))
    )
    wanted = definition.neuron_attributions(specimen, batch, objective, RULE)
    handle.remove()
    assert far(found.attribution, wanted) < 1e-5


def test_a_forward_that_another_library_put_on_a_block_stays() -> None:
    specimen = specimen_of(families.make("bert"))
    block = specimen.parts.blocks[0].module
    plain = block.forward
    block.forward = lambda *args, **kwargs: plain(*args, **kwargs)
    kept = block.__dict__["forward"]
    attribute_neurons(specimen, specimen.probe(), objective=token_objective(torch.arange(5)))
    assert block.__dict__["forward"] is kept


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert"])
def test_inputs_other_than_the_probes(family: str) -> None:
    """No mask, or position ids of one row for all prompts."""
    specimen = specimen_of(families.make(family))
    ids = specimen.probe().inputs["input_ids"]
    batch = replace(specimen.probe(), inputs={"input_ids": ids[:3]}, row=torch.full((3,), 6))
    objective = token_objective(torch.arange(3))
    options = StaircaseOptions(rules=(RULE,))
    for inputs in (batch.inputs, {**batch.inputs, "position_ids": torch.arange(7).unsqueeze(0)}):
        given = replace(batch, inputs=inputs)
        found = attribute_neurons(specimen, given, objective=objective, options=options)
        wanted = definition.neuron_attributions(specimen, given, objective, RULE)
        assert far(found.attribution, wanted) < 1e-5
        found = attribute_attention(specimen, given, objective=objective, options=options)
        wanted = definition.attention_attributions(specimen, given, objective, RULE)
        assert far(found.attribution, wanted) < 1e-5


def test_company_changes_no_number_when_some_prompts_need_refinement() -> None:
    specimen = specimen_of(families.make("bert"))
    batch = specimen.probe()
    objective = token_objective(torch.arange(5))
    together = attribute_neurons(specimen, batch, objective=objective)
    alone = attribute_neurons(
        specimen,
        batch,
        objective=objective,
        options=StaircaseOptions(rules=together_rules(), memory_bytes=1),
    )
    assert torch.equal(together.num_nodes, alone.num_nodes)
    assert far(alone.attribution, together.attribution) < 1e-5


def together_rules() -> tuple:
    from vesalius.models.staircase import NEURON_OPTIONS

    return NEURON_OPTIONS.rules
