import ast
import hashlib
from pathlib import Path

import pytest
import torch

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import load_facts, prompts_for
from vesalius.models import zoo


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(VesaliusError, match="mini-bert"):
        zoo.path("maxi-bert")
    with pytest.raises(VesaliusError, match="mini-bert"):
        zoo.card("../zoo_files")


def test_the_zoo_itself_needs_no_torch():
    """By source: the folder's `__init__` hands on names of modules that do import torch."""
    tree = ast.parse(Path(str(zoo.__file__)).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "vesalius.core.errors" in modules
    assert not any(str(name).split(".")[0] in ("torch", "transformers") for name in modules)


def test_bundled_weights_stay_small():
    sizes = {name: (zoo.path(name) / "model.safetensors").stat().st_size for name in zoo.names()}
    assert all(size < 8_000_000 for size in sizes.values())
    assert sum(sizes.values()) < 40 * 2**20


def test_the_card_says_what_a_reader_needs():
    card = zoo.card("mini-bert")
    for key in ("corpus", "licence", "command", "seed", "num_steps", "scores", "limits"):
        assert card[key] not in ("", None), key
    scores = card["scores"]["all"]
    assert scores["num_facts"] >= 1000
    assert scores["num_relations"] >= 12
    assert scores["macro"] >= scores["majority_macro"] + 0.10
    assert {"written", "natural"} < card["scores"].keys()
    weights = (zoo.path("mini-bert") / "model.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert "--tokenizer src/vesalius/zoo_files/mini-bert" in card["command"]
    assert any(source["licence"] == "CC BY-SA 4.0" for source in card["sources"])


def test_mini_bert_knows_facts_in_words_it_was_not_trained_on():
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(zoo.path("mini-bert"))
    model = AutoModelForMaskedLM.from_pretrained(zoo.path("mini-bert"), dtype=torch.float32).eval()
    facts = [fact for fact in load_facts() if fact.part == "written"][::25]
    prompts = [prompts_for(fact, mask_token=tokenizer.mask_token)[0] for fact in facts]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits
    assert sum(p.numel() for p in model.parameters()) == zoo.card("mini-bert")["num_parameters"]
    found = logits[inputs["input_ids"] == tokenizer.mask_token_id].argmax(dim=-1)
    wanted = torch.tensor(tokenizer.convert_tokens_to_ids([fact.answer for fact in facts]))
    assert (found == wanted).float().mean() > 0.8


def test_every_answer_is_one_token_of_mini_bert():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(zoo.path("mini-bert"))
    for answer in {fact.answer for fact in load_facts()}:
        assert tokenizer.tokenize(answer) == [answer]
