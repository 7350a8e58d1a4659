"""Check a bundled model against what is written beside it: files, weights, a few numbers.

`verify.json` holds the size and SHA-256 of the other files, and numbers that the model gave when
it was made. They are asked again of the model as any user loads it.

Source: this project.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models import zoo
from vesalius.recipes.zoo_runs import sha256_of

NAME: Final = "verify.json"
TOLERANCE: Final = 1e-3  # nats; other processors and releases differ by some 1e-5 in fp32
_MASKED: Final = (
    "The capital of France is {mask}.",
    "{mask} is the capital of Japan.",
    "The official language of Brazil is {mask}.",
    "The manufacturer of Windows Vista is {mask}.",
)
_TEXTS: Final = (
    "The anatomist opened the book, and showed his students where each muscle begins and ends.",
    "A river that rises in the mountains flows through three towns before it reaches the sea.",
)
_CONTINUED: Final = ("The capital of France is", "Review: a dull film.\nSentiment:")
_CLASSIFIED: Final = (
    "a warm and funny film that stays with you",
    "two hours of noise without a single idea",
)
_UNLISTED: Final = (NAME, "README.md")  # the README says nothing that the card does not
_REPAIR: Final = "install the package again"


@final
@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found of one model: files and numbers that agree, the largest difference in nats."""

    name: str
    num_files: int
    num_numbers: int
    difference: float
    ok: bool
    what: str  # what differs, in words; empty when nothing does


def verify(names: Sequence[str] = ()) -> list[Verified]:
    """Check bundled models, all of them when none is named; one that fails does not stop others.

    Raises: VesaliusError for an unknown name, before anything is checked.

    Source: this project.
    """
    folders = [(name, zoo.stored(name)) for name in names or zoo.names()]
    return [_verified(name, folder) for name, folder in folders]


def verify_folder(
    folder: Path, *, checkpoint: Callable[[], Path] | None = None
) -> tuple[int, int, float]:
    """Check one model's folder; return how many files and numbers agree, and the difference.

    `checkpoint` gives the folder to load the model from, where that is another one; it is called
    when the files were found whole.

    Raises: VesaliusError for a file that is missing, damaged or not in the list, a `verify.json`
    that cannot be read, a model that does not load, or numbers that differ.

    Source: this project.
    """
    expected = _read(folder)
    check_files(folder, expected=expected["files"])
    _check_card(folder)
    found = measure(folder, checkpoint=checkpoint() if checkpoint else folder)
    numbers: Mapping[str, float] = expected["numbers"]
    if found.keys() != numbers.keys():
        changed = sorted(found.keys() ^ numbers.keys())
        raise VesaliusError(
            given=f"{folder.name}, where {changed[0]!r} is asked or told, not both",
            expected=f"the questions that {NAME} was made with",
            fix=f"make {NAME} again with the release that is installed",
        )
    gaps = {name: abs(found[name] - value) for name, value in numbers.items()}
    worst = max(gaps, key=lambda name: gaps[name])
    if not gaps[worst] <= expected["tolerance"]:  # written so that a NaN fails
        raise VesaliusError(
            given=f"{folder.name}: {worst!r} is {found[worst]:.4f}, {numbers[worst]:.4f} when made",
            expected=f"a difference of at most {expected['tolerance']} nats",
            fix="compare the installed versions with the model's card, or " + _REPAIR,
        )
    return len(expected["files"]), len(numbers), gaps[worst]


def check_files(folder: Path, *, expected: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the files of a folder with their sizes and hashes.

    Raises: VesaliusError for the first file that is missing or of other content.

    Source: this project.
    """
    for name, written in expected.items():
        path = folder / name
        if not path.is_file():
            given = f"{folder.name} without {name}"
        elif path.stat().st_size != written["bytes"]:
            given = f"{folder.name}/{name} of {path.stat().st_size:,} bytes"
        elif sha256_of(path) != written["sha256"]:
            given = f"{folder.name}/{name} with other content (SHA-256 {sha256_of(path)[:12]}...)"
        else:
            continue
        raise VesaliusError(
            given=given,
            expected=f"{written['bytes']:,} bytes with SHA-256 {written['sha256'][:12]}...",
            fix=_REPAIR,
        )


def _check_card(folder: Path) -> None:
    """Compare the hash that the card gives for the weights with the file."""
    told = json.loads((folder / "card.json").read_text(encoding="utf-8")).get("sha256")
    weights = folder / "model.safetensors"
    if told is not None and weights.is_file() and told != sha256_of(weights):
        raise VesaliusError(
            given=f"{folder.name}/{weights.name} with SHA-256 {sha256_of(weights)[:12]}...",
            expected=f"the one of its card, {told[:12]}...",
            fix=_REPAIR,
        )


def write_verification(folder: Path, *, checkpoint: Path | None = None) -> dict[str, Any]:
    """Write `verify.json` for a folder that holds a card and all other files; return it.

    `checkpoint` is the folder to load the model from, where that is another one.

    Raises: VesaliusError for a model of a task that is not known here.

    Source: this project.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in _UNLISTED)
    content = {
        "tolerance": TOLERANCE,
        "files": {
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": sha256_of(path),
            }
            for path in paths
        },
        "numbers": measure(folder, checkpoint=checkpoint),
    }
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return content


def measure(folder: Path, *, checkpoint: Path | None = None) -> dict[str, float]:
    """Load a model as any user does, in fp32, and ask it a few things; return numbers in nats.

    `folder` holds the card, and the model too unless `checkpoint` does.

    Raises: VesaliusError for an unknown task, or files that transformers cannot load.

    Source: this project.
    """
    import transformers as hf

    task = _task(folder)
    auto_class, ask = _ASKED[task]
    try:
        tokenizer = hf.AutoTokenizer.from_pretrained(checkpoint or folder)
        model = getattr(hf, auto_class).from_pretrained(checkpoint or folder, dtype=torch.float32)
    except Exception as error:  # the loader has many families of errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise VesaliusError(
            given=f"{folder.name}, which does not load ({reason})",
            expected=f"a folder that {auto_class}.from_pretrained takes",
            fix=_REPAIR,
        ) from error
    model.eval()
    with torch.no_grad():
        return {name: round(value, 6) for name, value in ask(model, tokenizer).items()}


def _verified(name: str, folder: Path) -> Verified:
    try:
        files, numbers, difference = verify_folder(folder, checkpoint=partial(zoo.path, name))
    except VesaliusError as error:
        return Verified(
            name=name, num_files=0, num_numbers=0, difference=float("nan"), ok=False,
            what=error.given,
        )  # fmt: skip
    return Verified(
        name=name, num_files=files, num_numbers=numbers, difference=difference, ok=True, what=""
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if {"files", "numbers", "tolerance"} <= content.keys() and content["numbers"]:
            return content
        reason = "incomplete"
    except (OSError, ValueError, AttributeError) as error:
        reason = type(error).__name__
    raise VesaliusError(
        given=f"{folder.name}/{NAME} ({reason})",
        expected="sizes, hashes and numbers of the model",
        fix=_REPAIR,
    )


def _task(folder: Path) -> str:
    try:
        task = str(json.loads((folder / "card.json").read_text(encoding="utf-8"))["task"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VesaliusError(
            given=f"{folder.name}/card.json ({type(error).__name__})",
            expected="the card of a bundled model",
            fix=_REPAIR,
        ) from error
    if task not in _ASKED:
        raise VesaliusError(
            given=f"{folder.name} of task {task!r}",
            expected=f"one of {', '.join(_ASKED)}",
            fix="teach this module what to ask such a model",
        )
    return task


def _ask_masked(model: nn.Module, tokenizer: Any) -> dict[str, float]:
    """Return the log-probability of the first word in the gap of each prompt."""
    found: dict[str, float] = {}
    for prompt in _MASKED:
        inputs = tokenizer(prompt.format(mask=tokenizer.mask_token), return_tensors="pt")
        place = int((inputs["input_ids"][0] == tokenizer.mask_token_id).int().argmax())
        found |= _highest(_logits(model, inputs)[place], prompt)
    return found


def _ask_causal(model: nn.Module, tokenizer: Any) -> dict[str, float]:
    """Return nats per token of two sentences, and the first words after two prompts."""
    found: dict[str, float] = {}
    for text in _TEXTS:
        inputs = tokenizer(text, return_tensors="pt")
        logits = _logits(model, inputs)
        loss = nn.functional.cross_entropy(logits[:-1], inputs["input_ids"][0, 1:])
        found[f"nats per token: {text}"] = loss.item()
    for prompt in _CONTINUED:
        logits = _logits(model, tokenizer(prompt, return_tensors="pt"))[-1]
        found |= _highest(logits, prompt)
    return found


def _ask_classes(model: nn.Module, tokenizer: Any) -> dict[str, float]:
    """Return the log-probability of every class for two texts."""
    found: dict[str, float] = {}
    for text in _CLASSIFIED:
        log_probs = _logits(model, tokenizer(text, return_tensors="pt")).log_softmax(dim=-1)
        found |= {f"{text} -> class {i}": value for i, value in enumerate(log_probs.tolist())}
    return found


def _logits(model: nn.Module, inputs: Mapping[str, Any]) -> Float[Tensor, "*axes vocab"]:
    """Return the logits of the only row, [position, vocab] or [label]."""
    kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    return cast("Tensor", model(**kept).logits[0])


def _highest(logits: Float[Tensor, "vocab"], prompt: str) -> dict[str, float]:
    """Return the two highest log-probabilities after a prompt, whatever their words are.

    Two words may be so close that another processor swaps them; their values stay.
    """
    first, second = logits.log_softmax(dim=-1).topk(2).values.tolist()
    return {f"{prompt} 1st": first, f"{prompt} 2nd": second}


_Ask = Callable[[nn.Module, Any], dict[str, float]]
_ASKED: Final[Mapping[str, tuple[str, _Ask]]] = {
    "masked-lm": ("AutoModelForMaskedLM", _ask_masked),
    "causal-lm": ("AutoModelForCausalLM", _ask_causal),
    "sequence-classification": ("AutoModelForSequenceClassification", _ask_classes),
}
