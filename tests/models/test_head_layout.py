"""Where heads are: on the meta device too, and refused where something is not understood."""

import pytest
import torch
import transformers as hf
from torch import nn

import families
from masking import specimen_of
from vesalius.core.errors import VesaliusError
from vesalius.models.head_layout import HeadLayout, Projection, find_layouts
from vesalius.models.head_slicing import keep_heads
from vesalius.models.linear import LinearMap, as_linear_map
from vesalius.models.pruned import head_groups


def test_a_linear_of_unknown_purpose_is_refused() -> None:
    specimen = specimen_of("llama")
    specimen.model.model.layers[1].self_attn.gate = nn.Linear(32, 32)
    with pytest.raises(VesaliusError, match=r"place is not known: gate"):
        head_groups(specimen)


def test_a_width_that_does_not_fit_is_refused() -> None:
    specimen = specimen_of("bert")
    specimen.model.bert.encoder.layer[1].attention.self.value = nn.Linear(32, 40)
    with pytest.raises(VesaliusError, match="5 key and value heads"):
        find_layouts(specimen.model)
    specimen.model.bert.encoder.layer[1].attention.self.value = nn.Linear(32, 32)
    specimen.model.bert.encoder.layer[1].attention.self.key = nn.Linear(32, 40)
    with pytest.raises(VesaliusError, match="has 40 outputs, not the 32"):
        find_layouts(specimen.model)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_meta_device_has_the_same_layout(family: str) -> None:
    real = find_layouts(families.make(family))
    with torch.device("meta"):
        empty = find_layouts(families.BUILDERS[family]())
    for name, layout in real.items():
        other = empty[name]
        assert (other.num_heads, other.num_groups, other.d_head) == (
            layout.num_heads, layout.num_groups, layout.d_head
        )  # fmt: skip
        assert [p.role for p in other.projections] == [p.role for p in layout.projections]


def test_sinks_go_with_their_heads() -> None:
    config = hf.GptOssConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_hidden_layers=1,
    )
    module = hf.models.gpt_oss.modeling_gpt_oss.GptOssAttention(config, layer_idx=0)
    module.sinks.data = torch.arange(4.0)
    keep_heads(_grouped_layout(module), [2, 3])
    assert module.sinks.tolist() == [2.0, 3.0]
    assert module.config.num_attention_heads == 2
    assert config.num_attention_heads == 4


def _grouped_layout(module: nn.Module) -> HeadLayout:
    def linear(name: str) -> LinearMap:
        found = as_linear_map(name, getattr(module, name))
        assert found is not None
        return found

    return HeadLayout(
        name="attention",
        module=module,
        num_heads=4,
        num_groups=2,
        d_head=8,
        projections=(
            Projection(linear=linear("q_proj"), role="query"),
            Projection(linear=linear("k_proj"), role="key or value"),
            Projection(linear=linear("v_proj"), role="key or value"),
        ),
        output=linear("o_proj"),
    )
