"""The models, prompts and facts of ``benchmarks/neurons.py``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from attribution_cases import BLOCK_STD, OUTPUT_STD, SEED
from attribution_cases import FULL as BERT_BASE
from attribution_cases import QUICK as TINY_BERT
from attribution_cases import make_model as make_bert
from torch import nn

import vesalius
from vesalius.data.bag_files import read_bags
from vesalius.data.bags import FactBag, bundled_bags
from vesalius.models.encoding import encode_prompts
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.specimen import Specimen

BUNDLED = "mini-bert"
NUM_PARAREL_PROMPTS = 253_448  # of the paper's 27,738 facts, recounted from its data files
Bags = list[FactBag]

GPT2_SMALL = {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}
TINY_GPT2 = {"n_layer": 3, "n_embd": 32, "n_head": 4, "vocab_size": 500}
LLAMA_1B = {  # the shape of Llama 3.2 1B
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TINY_LLAMA = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A model, prompts and the one answer that all of them ask for."""

    specimen: Specimen
    prompts: list[str]
    answer: str


def word_tokenizer(num_vocab: int) -> Any:
    """A tokenizer whose every token is one word, so that a prompt has the length it is given."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2}
    words |= {f"w{index}": index for index in range(len(words), num_vocab)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )


def opened(model: nn.Module) -> Specimen:
    """A live random model with a tokenizer of words, its plan made."""
    specimen = vesalius.open(model, tokenizer=word_tokenizer(model.config.vocab_size))
    specimen.plan  # noqa: B018 - probed now, not in a timed part
    return specimen


def bert(*, quick: bool) -> Specimen:
    """BERT-base with the random weights of ``attribution_cases``, or a tiny one."""
    return opened(make_bert(TINY_BERT if quick else BERT_BASE))


def bundled() -> Specimen:
    """The bundled masked LM, its plan made."""
    specimen = vesalius.open(BUNDLED)
    specimen.plan  # noqa: B018 - probed now, not in a timed or counted part
    return specimen


def gpt2(*, quick: bool) -> Specimen:
    """A random GPT-2 of the small shape, its output layer untied, or a tiny one."""
    shape = TINY_GPT2 if quick else GPT2_SMALL
    ends = {"bos_token_id": None, "eos_token_id": None}  # the tiny vocabulary lacks GPT-2's
    config = hf.GPT2Config(**shape, **ends, tie_word_embeddings=False)
    return opened(_random(hf.GPT2LMHeadModel, config))


def llama(*, quick: bool) -> nn.Module:
    """A random Llama of the 1B shape, or a tiny one."""
    shape = TINY_LLAMA if quick else LLAMA_1B
    config = hf.LlamaConfig(**shape, tie_word_embeddings=False)
    return _random(hf.LlamaForCausalLM, config)


def _random(kind: Any, config: Any) -> nn.Module:
    """Weights as in ``attribution_cases``: an output layer that tells words apart."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = kind(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=BLOCK_STD)
        model.get_output_embeddings().weight.data.normal_(std=OUTPUT_STD)
    return model


def random_prompts(specimen: Specimen, lengths: Sequence[int], *, seed: int = SEED) -> list[str]:
    """Prompts of random words with so many tokens; the gap in the middle, of a causal model last.

    A causal model reads what stands before the gap: the gap is no token of it.
    """
    generator = torch.Generator().manual_seed(seed)
    num_vocab = specimen.model.config.vocab_size
    is_causal = specimen.task == "causal-lm"
    prompts: list[str] = []
    for length in lengths:
        ids = torch.randint(min(1000, num_vocab // 2), num_vocab, (length,), generator=generator)
        words = [f"w{index}" for index in ids.tolist()]
        if is_causal:
            words.append("[MASK]")
        else:
            words[length // 2] = "[MASK]"
        prompts.append(" ".join(words))
    return prompts


def likely_answer(specimen: Specimen, prompts: list[str]) -> str:
    """The word that a random model finds most probable over all of the prompts."""
    batch = encode_prompts(specimen, prompts)
    with specimen.at_rest(), torch.no_grad():
        logits = logits_row(run_model(specimen.model, batch).logits, batch)
    return f"w{int(logits.float().softmax(-1)[:, 3:].mean(dim=0).argmax()) + 3}"


def random_question(specimen: Specimen, lengths: Sequence[int], *, seed: int = SEED) -> Question:
    """Random prompts of these lengths with an answer that the model finds probable."""
    prompts = random_prompts(specimen, lengths, seed=seed)
    return Question(specimen=specimen, prompts=prompts, answer=likely_answer(specimen, prompts))


def same_answer(specimen: Specimen, num_prompts: int) -> Question:
    """Bundled prompts of one relation that have the same answer, one token of the vocabulary."""
    bags = [bag for bag in bundled_bags("P103") if bag.answer == "French"]
    prompts = [prompt for bag in bags for prompt in bag.prompts][:num_prompts]
    return Question(specimen=specimen, prompts=prompts, answer="French")


def paraphrases(specimen: Specimen) -> Question:
    """Nine ways to ask for the capital of France."""
    prompts = [
        "The capital of France is [MASK].",
        "The capital city of France is [MASK].",
        "[MASK] is the capital of France.",
        "France has its capital in [MASK].",
        "The government of France sits in [MASK].",
        "The seat of government of France is [MASK].",
        "In France, the capital is [MASK].",
        "[MASK] is the capital city of France.",
        "The capital of the country of France is [MASK].",
    ]
    return Question(specimen=specimen, prompts=prompts, answer="Paris")


def spaced(bags: Bags, count: int, *, first: int = 0) -> Bags:
    """Facts at even distances in their list."""
    count = min(count, len(bags))
    return [bags[(first + index * len(bags) // count) % len(bags)] for index in range(count)]


def pararel(data: Path, specimen: Specimen) -> tuple[Bags, dict[str, int]]:
    """The paper's facts in a folder whose answers are one token, and how many there are in all."""
    from vesalius.core.errors import VesaliusError
    from vesalius.models.encoding import one_token

    bags = read_bags(data, layout="pararel", only="in_kn", tell=lambda _: None)
    known: set[str] = set()
    for answer in {bag.answer for bag in bags}:
        try:
            one_token(specimen, answer)
        except VesaliusError:
            continue
        known.add(answer)
    asked = [bag for bag in bags if bag.answer in known]
    return asked, {
        "facts": len(bags),
        "prompts": sum(len(bag.prompts) for bag in bags),
        "facts_asked": len(asked),
        "prompts_asked": sum(len(bag.prompts) for bag in asked),
    }


def lengths_of(specimen: Specimen, bags: Bags) -> list[list[int]]:
    """Tokens of every prompt of every fact, special tokens counted."""
    mask = specimen.tokenizer.mask_token
    return [
        [len(specimen.tokenizer(p.replace("[MASK]", mask))["input_ids"]) for p in bag.prompts]
        for bag in bags
    ]
