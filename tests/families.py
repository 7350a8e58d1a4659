"""Tiny random models of every family the project promises, made from configurations."""

from collections.abc import Callable

import torch
import transformers as hf
from torch import nn

VOCAB = 97
_TEXT = {"vocab_size": VOCAB, "pad_token_id": 0}
_BERT = {
    **_TEXT,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}


def _deberta() -> nn.Module:
    config = hf.DebertaV2Config(
        **_BERT,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        type_vocab_size=0,
        position_biased_input=False,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    )
    return hf.DebertaV2ForMaskedLM(config)


def _modernbert() -> nn.Module:
    config = hf.ModernBertConfig(
        **_BERT,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
        local_attention=6,
        global_attn_every_n_layers=2,
    )
    return hf.ModernBertForMaskedLM(config)


def _t5() -> nn.Module:
    config = hf.T5Config(
        **_TEXT,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    return hf.T5ForConditionalGeneration(config)


def _bart() -> nn.Module:
    config = hf.BartConfig(
        **_TEXT,
        d_model=32,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    return hf.BartForConditionalGeneration(config)


def _vit() -> nn.Module:
    config = hf.ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=12,
        patch_size=4,
        num_labels=5,
    )
    return hf.ViTForImageClassification(config)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**_BERT)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**{**_BERT, "pad_token_id": 1})),
    "distilbert": lambda: hf.DistilBertForMaskedLM(
        hf.DistilBertConfig(
            **_TEXT, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=64
        )
    ),
    "albert": lambda: hf.AlbertForMaskedLM(hf.AlbertConfig(**_BERT, embedding_size=16)),
    "electra": lambda: hf.ElectraForMaskedLM(hf.ElectraConfig(**_BERT, embedding_size=16)),
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(
            vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_inner=48, n_positions=64,
            bos_token_id=1, eos_token_id=2,
        )
    ),
    "gpt-neox": lambda: hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(**_BERT, bos_token_id=1, eos_token_id=2)
    ),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(
            **_TEXT, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=48,
            max_position_embeddings=64, word_embed_proj_dim=32, bos_token_id=1, eos_token_id=2,
        )
    ),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_LLAMA)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**_LLAMA, sliding_window=5)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_LLAMA, head_dim=8)),
    "gemma3": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(**_LLAMA, head_dim=8, sliding_window=5)
    ),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**_LLAMA)),
    "t5": _t5,
    "bart": _bart,
    "vit": _vit,
}  # fmt: skip

FAMILIES = tuple(BUILDERS)
CAUSAL = ("gpt2", "gpt-neox", "opt", "llama", "mistral", "qwen3", "gemma3", "phi3")


def make(family: str, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """A tiny model with weights large enough that every nonlinearity bends."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BUILDERS[family]().eval().to(dtype)
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                # T5 does not divide by the root of d_kv: its queries are born smaller
                parameter.data.normal_(std=0.25 * (8**-0.5 if name.endswith(".q.weight") else 1))
    return model
