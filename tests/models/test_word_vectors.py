"""Word vectors: output rows, in the width of the blocks, or a refusal that says why."""

import pytest
import torch
import transformers as hf
from torch import nn

import families
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.word_vectors import word_vectors

TOKENS = torch.tensor([5, 9, 5])
OTHER_WIDTH = ("albert", "electra")  # a nonlinear head stands between blocks and words


def specimen_of(model: nn.Module) -> Specimen:
    return Specimen(model=model, tokenizer=None, name="tiny", task=task_of(model))


@pytest.mark.parametrize("family", [f for f in families.FAMILIES if f not in (*OTHER_WIDTH, "vit")])
def test_the_rows_are_those_that_score_the_words(family: str) -> None:
    specimen = specimen_of(families.make(family))
    rows = word_vectors(specimen, TOKENS)
    assert rows.shape == (3, 32)
    assert torch.equal(rows, specimen.model.get_output_embeddings().weight[TOKENS])


def test_an_untied_model_gives_its_output_rows() -> None:
    model = families.make("gpt-neox")
    assert not torch.equal(
        model.get_input_embeddings().weight, model.get_output_embeddings().weight
    )
    assert torch.equal(
        word_vectors(specimen_of(model), TOKENS), model.get_output_embeddings().weight[TOKENS]
    )


def test_a_linear_map_before_the_head_is_exact() -> None:
    """OPT-350m: the score of a word is its vector times the state above the blocks."""
    config = hf.OPTConfig(
        vocab_size=97, pad_token_id=0, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        ffn_dim=48, max_position_embeddings=64, word_embed_proj_dim=16, bos_token_id=1,
        eos_token_id=2, do_layer_norm_before=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.OPTForCausalLM(config).eval()
    above: list[torch.Tensor] = []
    model.model.decoder.project_out.register_forward_pre_hook(lambda _, args: above.append(args[0]))
    ids = torch.tensor([[3, 7, 11]])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    scores = above[0] @ word_vectors(specimen_of(model), TOKENS).T
    assert_equal_numbers(scores, logits[..., TOKENS])


def test_half_precision_comes_widened() -> None:
    specimen = specimen_of(families.make("bert", dtype=torch.bfloat16))
    assert word_vectors(specimen, TOKENS).dtype == torch.float32


@pytest.mark.parametrize("family", OTHER_WIDTH)
def test_words_of_another_width_are_refused(family: str) -> None:
    with pytest.raises(VesaliusError, match="width 16, blocks of 32") as caught:
        word_vectors(specimen_of(families.make(family)), TOKENS)
    assert "rank_one" in caught.value.fix


def quantised() -> nn.Module:
    model = families.make("llama")
    weight = model.lm_head.weight.data.to(torch.int8)
    model.lm_head.weight = nn.Parameter(weight, requires_grad=False)
    return model


def forgotten() -> nn.Module:
    model = families.make("gpt2")
    model.lm_head.weight.data[9] = 0
    return model


@pytest.mark.parametrize(
    ("model", "tokens", "given"),
    [
        (lambda: families.make("bert"), [97], "97"),
        (lambda: families.make("bert"), [-1], "-1"),
        (lambda: families.make("vit"), [3], "no output embeddings"),
        (quantised, [3], "a Linear"),
        (forgotten, [9], "zeros"),
    ],
)
def test_what_has_no_vector_is_refused(model, tokens: list[int], given: str) -> None:
    with pytest.raises(VesaliusError) as caught:
        word_vectors(specimen_of(model()), torch.tensor(tokens))
    assert given in caught.value.given
