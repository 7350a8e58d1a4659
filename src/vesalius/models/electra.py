"""Generator and discriminator that are trained together, built from transformers' own classes.

Two shapes: "electra", with learned positions, norms behind the blocks and narrow embeddings, and
"modern", with rotary positions, norms before the blocks and gated feed-forward layers
(ModernBERT). A modern generator may be narrower than the embeddings it shares: a linear map each
way stands between them, and is multiplied into the table when the generator is saved.

Source: Clark et al. 2020, arXiv 2003.10555 (joint training, tied embeddings); He et al. 2021,
arXiv 2111.09543 (gradient-disentangled embeddings); Warner et al. 2024, arXiv 2412.13663.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vesalius.core.checks import check_count, check_share, check_word, words_of
from vesalius.core.errors import VesaliusError

Architecture = Literal["electra", "modern"]
Sharing = Literal["tied", "disentangled", "none"]
_ROTARY: Final = {"rope_type": "default", "rope_theta": 10_000.0}  # short texts need no more


class SpecialIds(NamedTuple):
    """The ids of the special tokens that a pair's configurations name."""

    pad: int
    mask: int
    cls: int
    sep: int


@final
@dataclass(frozen=True, kw_only=True)
class PairShape:
    """The sizes of both networks: `generator_*` of the one, the others of the discriminator.

    `embedding_size` is that of the "electra" shape (0: its width); a modern model has its width
    there. `sharing`: "tied" embeddings belong to both networks, "disentangled" ones take no
    gradient from the discriminator, which adds a table of its own, "none" has two tables.

    Raises:
        VesaliusError: a size that cannot be, or another word.
    """

    architecture: Architecture
    vocab_size: int
    max_length: int
    width: int
    num_layers: int
    num_heads: int
    ffn_width: int
    generator_width: int
    generator_layers: int
    generator_heads: int
    generator_ffn_width: int
    embedding_size: int = 0
    sharing: Sharing = "tied"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_word("architecture", self.architecture, words_of(Architecture))
        check_word("sharing", self.sharing, words_of(Sharing))
        check_share("dropout", self.dropout, usual=0.1, zero=True)
        for name in ("vocab_size", "max_length", "width", "num_layers", "num_heads", "ffn_width"):
            check_count(name, getattr(self, name), lowest=1, usual=128)
        for name in ("width", "layers", "heads", "ffn_width"):
            check_count(f"generator_{name}", getattr(self, f"generator_{name}"), lowest=1, usual=64)
        check_count("embedding_size", self.embedding_size, lowest=0, usual=128)
        for width, heads in (("width", "num_heads"), ("generator_width", "generator_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise VesaliusError(
                    given=f"{width}={getattr(self, width)}, {heads}={getattr(self, heads)}",
                    expected="a width that the heads divide",
                    fix=f"choose {heads} so that each head is 32 or 64 wide",
                )

    @property
    def shared_size(self) -> int:
        """How wide the embeddings are."""
        wide = self.architecture == "modern" or not self.embedding_size
        return self.width if wide else self.embedding_size


@final
class DisentangledEmbedding(nn.Module):
    """Another network's table, from which no gradient flows back, plus a table of its own.

    Source: He et al. 2021, arXiv 2111.09543, section 3.2.
    """

    def __init__(self, base: nn.Parameter) -> None:
        super().__init__()
        self.base = base
        self.delta = nn.Parameter(torch.zeros_like(base))

    @property
    def weight(self) -> Float[Tensor, "row width"]:
        """The table that is in effect, [row, width]; the base takes no gradient."""
        return self.base.detach() + self.delta

    def forward(self, ids: Int64[Tensor, "..."]) -> Float[Tensor, "... width"]:
        """Look rows up in both tables: [...] to [..., width]."""
        own = nn.functional.embedding(ids, self.delta)
        return nn.functional.embedding(ids, self.base.detach()) + own


@final
class HardnessHead(nn.Module):
    """The generator's second head: how hard will the discriminator find each candidate?

    The score of token v is ``embedding(v) . forward(hidden) + bias[v]``. All scores are zero at
    first.

    Source: this project; the idea is that of arXiv 2106.13715, the shape ours (paper.md).
    """

    def __init__(self, *, width: int, embedding_size: int, vocab_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, embedding_size)
        self.norm = nn.LayerNorm(embedding_size)
        self.project = nn.Linear(embedding_size, embedding_size)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, hidden: Float[Tensor, "slot width"]) -> Float[Tensor, "slot embedding"]:
        """Turn generator states into what is multiplied with the embeddings."""
        return self.project(self.norm(nn.functional.gelu(self.dense(hidden))))


@final
class EncoderPair(nn.Module):
    """A generator and a discriminator with their embeddings in common."""

    def __init__(self, shape: PairShape, special: SpecialIds) -> None:
        super().__init__()
        self.shape, self.special = shape, special
        modern = shape.architecture == "modern"
        self._generator: Any = (_modern if modern else _electra)(shape, special, generator=True)
        self._discriminator: Any = (_modern if modern else _electra)(
            shape, special, generator=False
        )
        narrow = modern and shape.generator_width != shape.width
        self.narrow = nn.Linear(shape.width, shape.generator_width, bias=False) if narrow else None
        self.widen = nn.Linear(shape.generator_width, shape.width, bias=False) if narrow else None
        if narrow:  # the table is the discriminator's, so the generator's own goes
            self._generator.model.embeddings.tok_embeddings = nn.Identity()
            self._generator.decoder = _Bias(shape.vocab_size)
            self.table = nn.Embedding(shape.vocab_size, shape.width)
            nn.init.normal_(self.table.weight, std=0.02)
            if shape.sharing == "tied":
                self._discriminator.model.embeddings.tok_embeddings = self.table
        elif shape.sharing == "tied":
            _body(self._discriminator).embeddings = _body(self._generator).embeddings
        if shape.sharing == "disentangled":
            self._disentangle()

    @property
    def output_weight(self) -> Float[Tensor, "vocab embedding"]:
        """The table that the generator's states are multiplied with."""
        return self.table.weight if self.narrow else self._generator.get_input_embeddings().weight

    @property
    def output_bias(self) -> Float[Tensor, " vocab"]:
        """What is added to the generator's logits."""
        head = self._generator.decoder if self._is_modern else self._generator.generator_lm_head
        return head.bias

    def generator_states(
        self,
        input_ids: Int64[Tensor, "batch position"],
        slots: Int64[Tensor, " slot"],
        *,
        position_ids: Int64[Tensor, "batch position"] | None = None,
        attention_mask: Float[Tensor, "batch 1 query key"] | None = None,
    ) -> tuple[Float[Tensor, "slot width"], Float[Tensor, "slot embedding"]]:
        """Run the generator; return its states at the flat places `slots`, bare and for the logits.

        The logits are ``states @ output_weight.T + output_bias``.
        """
        model = self._generator
        inputs: dict[str, Any] = {"input_ids": input_ids}
        if self.narrow is not None:
            inputs = {"inputs_embeds": self.narrow(self.table(input_ids))}
        hidden = _body(model)(
            **inputs, position_ids=position_ids, attention_mask=attention_mask
        ).last_hidden_state
        hidden = hidden.reshape(-1, hidden.shape[-1]).index_select(0, slots)
        states = (model.head if self._is_modern else model.generator_predictions)(hidden)
        return hidden, states if self.widen is None else self.widen(states)

    def discriminator_logits(
        self,
        input_ids: Int64[Tensor, "batch position"],
        *,
        position_ids: Int64[Tensor, "batch position"] | None = None,
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "batch position"]:
        """Return the discriminator's logit of "this token was replaced" at every place.

        `attention_mask` is additive [batch, 1, query, key], or [batch, position] of ones and zeros.
        """
        model = self._discriminator
        hidden = _body(model)(
            input_ids=input_ids, position_ids=position_ids, attention_mask=attention_mask
        ).last_hidden_state
        if self._is_modern:
            return model.classifier(model.head(hidden)).squeeze(-1)
        return model.discriminator_predictions(hidden)

    def as_generator(self) -> nn.Module:
        """Return the generator as an ordinary masked language model with weights of its own."""
        if self.narrow is None:
            return _copy(self._generator, {})
        assert self.widen is not None
        table = self.table.weight.detach()
        return _copy(
            self._generator,
            {
                "model.embeddings.tok_embeddings.weight": self.narrow(table),
                "decoder.weight": table @ self.widen.weight.detach(),
            },
        )

    def as_discriminator(self) -> nn.Module:
        """Return the discriminator as an ordinary transformers model with weights of its own."""
        body = _body(self._discriminator)
        prefix = next(n for n, m in self._discriminator.named_modules() if m is body)
        tables = {
            f"{prefix}.embeddings.{name}.weight": table.weight.detach()
            for name, table in _tables(self._discriminator).items()
        }
        return _copy(self._discriminator, tables)

    def use_attention(self, implementation: str) -> None:
        """Choose the attention of both encoders: "sdpa" at first, "eager", or another of theirs.

        On a CPU torch's fused attention is slow backwards in bfloat16; "eager" is not.
        """
        for model in (self._generator, self._discriminator):
            model.set_attn_implementation(implementation)

    def compile_bodies(self) -> None:
        """Compile both encoders, whose shapes stay; the heads' number of slots may change."""
        for model in (self._generator, self._discriminator):
            _body(model).compile(dynamic=False)

    @property
    def _is_modern(self) -> bool:
        return self.shape.architecture == "modern"

    def _disentangle(self) -> None:
        own = _tables(self._discriminator)
        theirs: dict[str, Any] = _tables(self._generator)
        if self.narrow is not None:
            theirs = {"tok_embeddings": self.table}
        embeddings = _body(self._discriminator).embeddings
        for name in own:
            setattr(embeddings, name, DisentangledEmbedding(theirs[name].weight))


@final
class _Bias(nn.Module):
    """The generator's output bias where the table beside it is not its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))


def _body(model: Any) -> Any:
    return model.base_model


def _tables(model: Any) -> dict[str, Any]:
    """Return the embedding tables by name, whatever looks them up."""
    return {
        name: module
        for name, module in _body(model).embeddings.named_children()
        if isinstance(module, nn.Embedding | DisentangledEmbedding)
    }


def _electra(shape: PairShape, special: SpecialIds, *, generator: bool) -> nn.Module:
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    config = ElectraConfig(
        vocab_size=shape.vocab_size,
        embedding_size=shape.shared_size,
        hidden_size=shape.generator_width if generator else shape.width,
        num_hidden_layers=shape.generator_layers if generator else shape.num_layers,
        num_attention_heads=shape.generator_heads if generator else shape.num_heads,
        intermediate_size=shape.generator_ffn_width if generator else shape.ffn_width,
        max_position_embeddings=shape.max_length,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        pad_token_id=special.pad,
    )
    model: Any = (ElectraForMaskedLM if generator else ElectraForPreTraining)(config)
    model.set_attn_implementation("sdpa")
    return model


def _modern(shape: PairShape, special: SpecialIds, *, generator: bool) -> nn.Module:
    from transformers import (
        ModernBertConfig,
        ModernBertForMaskedLM,
        ModernBertForTokenClassification,
    )

    num_layers = shape.generator_layers if generator else shape.num_layers
    labels: dict[str, Any] = {} if generator else {"num_labels": 1}
    config = ModernBertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.generator_width if generator else shape.width,
        intermediate_size=shape.generator_ffn_width if generator else shape.ffn_width,
        num_hidden_layers=num_layers,
        num_attention_heads=shape.generator_heads if generator else shape.num_heads,
        max_position_embeddings=shape.max_length,
        layer_types=["full_attention"] * num_layers,
        rope_parameters={"full_attention": _ROTARY, "sliding_attention": _ROTARY},
        attention_dropout=shape.dropout,
        mlp_dropout=shape.dropout,
        embedding_dropout=shape.dropout,
        pad_token_id=special.pad,
        cls_token_id=special.cls,
        sep_token_id=special.sep,
        bos_token_id=special.cls,
        eos_token_id=special.sep,
        **labels,
    )
    model: Any = (ModernBertForMaskedLM if generator else ModernBertForTokenClassification)(config)
    model.set_attn_implementation("sdpa")
    return model


def _copy(model: Any, changed: dict[str, Tensor]) -> nn.Module:
    """Make the same model anew with its weights, some of them replaced, and no tie to another."""
    import copy

    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = "decoder.weight" not in changed
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and not kept
        fresh: Any = type(model)(config)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith((".base", ".delta"))}
    state |= changed
    wanted = fresh.state_dict().keys()
    fresh.load_state_dict({k: v for k, v in state.items() if k in wanted})
    return fresh.to(device=next(model.parameters()).device).eval()
