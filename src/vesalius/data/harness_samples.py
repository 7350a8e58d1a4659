"""Per-choice log-likelihoods from the samples files of EleutherAI's lm-evaluation-harness.

``lm_eval ... --log_samples`` writes ``samples_<task>_<date>.jsonl``, one line a document: with the
arguments of its requests (``{"gen_args_0": {"arg_0": context, "arg_1": continuation}, ...}``, in
versions before 0.4.3 a list of pairs, the whole file one list) and the log-likelihood of each
continuation in nats, as text or number. Only a task whose documents all have the same choices can
be calibrated.

Source: the files that lm-eval 0.4.0 to 0.4.13 write (evaluator, task and evaluation tracker).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, cast, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError

_CLOSED: Final = (
    "calibrate a task with fixed answers (sentiment, topics, yes or no, letters); where each "
    "document has choices of its own, as in hellaswag or piqa, there is no label to calibrate"
)
_ROUNDING: Final = 1e-3  # nats above 0 that half precision may give a sure continuation

_Doc: TypeAlias = tuple[str, Mapping[str, Any]]  # its place in the file, its values
_Requests: TypeAlias = list[tuple[str, str, float]]  # context, continuation, log-likelihood


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HarnessSamples:
    """Scores of a task: natural-log likelihood of each choice, summed over its tokens.

    ``choices`` are without ``delimiter``, the white space that the harness put before them.
    Targets are numbers of choices, -1 where unknown. ``premise``: log-likelihoods of the choices
    without the document, there if the task has acc_mutual_info. Accuracies are those of the
    harness, taken anew over the documents with a known target.
    """

    task: str
    choices: tuple[str, ...]
    delimiter: str
    doc_ids: tuple[str, ...]
    scores: Float[np.ndarray, "doc choice"]
    targets: Int[np.ndarray, "doc"]
    premise: Float[np.ndarray, "doc choice"] | None
    notes: tuple[str, ...]

    @property
    def char_lengths(self) -> Int[np.ndarray, "choice"]:
        """Count the characters of each choice, by which acc_norm divides."""
        return _lengths(self.choices)

    @property
    def byte_lengths(self) -> Int[np.ndarray, "choice"]:
        """Count the UTF-8 bytes of each choice, by which acc_bytes divides."""
        return np.array([len(choice.encode()) for choice in self.choices])

    @property
    def acc(self) -> float:
        """Return the accuracy of the likeliest choice."""
        return self._accuracy(self.scores)

    @property
    def acc_norm(self) -> float:
        """Return the accuracy by log-likelihood per character."""
        return self._accuracy(self.scores / self.char_lengths)

    @property
    def acc_bytes(self) -> float:
        """Return the accuracy by log-likelihood per byte."""
        return self._accuracy(self.scores / self.byte_lengths)

    @property
    def acc_mutual_info(self) -> float | None:
        """Return the accuracy by scores less premise scores; nothing where there are none."""
        return None if self.premise is None else self._accuracy(self.scores - self.premise)

    def _accuracy(self, scores: Float[np.ndarray, "doc choice"]) -> float:
        known = self.targets >= 0
        if not known.any():
            raise VesaliusError(
                given=f"{self.task}: no document with a target",
                expected="known targets, to take accuracies",
                fix="use the scores without them",
            )
        return float((scores.argmax(axis=1) == self.targets)[known].mean())


def read_harness_samples(path: str | Path) -> HarnessSamples:
    """Read a samples file of a multiple-choice task.

    Raises:
        VesaliusError: no such file, an empty or broken one (with the line), samples of generated
            text or of single log-likelihoods, a response missing or not a number, choices that
            differ between documents, several right choices, one document twice.
    """
    where = Path(path)
    docs = _one_filter(where, list(_documents(where)))
    read = [_requests(where, doc) for doc in docs]
    split = [
        _part(where, doc, requests) for doc, requests in zip(docs, read, strict=True)
    ]  # with and without the document
    continuations = _closed(where, docs, [[word for _, word, _ in asked] for asked, _ in split])
    scores = np.array([[score for *_, score in asked] for asked, _ in split])
    premise, notes = _premise(where, docs, split, continuations)
    delimiter = _common_space(continuations)
    choices = tuple(word.removeprefix(delimiter) for word in continuations)
    targets = _targets(where, docs, choices, scores.argmax(axis=1))
    norm = _logged(docs, "acc_norm")
    if delimiter and norm is not None and not _agrees(norm, scores / _lengths(choices), targets):
        whole = _lengths(continuations)
        if _agrees(norm, scores / whole, targets):  # the choices themselves begin with the space
            delimiter, choices = "", continuations
    for name, changed in (("acc", scores), ("acc_norm", scores / _lengths(choices))):
        logged = _logged(docs, name)
        if logged is not None and (off := _disagreements(logged, changed, targets)):
            notes.append(
                f"{name} in the file differs from the scores in {off} of {len(docs)} documents; "
                "what is given here is taken from the scores"
            )
    if unknown := int((targets < 0).sum()):
        notes.append(f"{unknown} documents have no known target")
    return HarnessSamples(
        task=_task_name(where),
        choices=choices,
        delimiter=delimiter,
        doc_ids=tuple(str(values.get("doc_id", place)) for place, values in docs),
        scores=scores,
        targets=targets,
        premise=premise,
        notes=tuple(notes),
    )


def _documents(path: Path) -> Iterator[_Doc]:
    if not path.is_file():
        there = sorted(found.name for found in path.glob("samples_*.jsonl"))
        raise VesaliusError(
            given=f"samples file {str(path)!r}, which is no file",
            expected="a samples_<task>_<date>.jsonl of lm-evaluation-harness",
            fix=f"give one of {', '.join(there)}" if there else "run lm_eval with --log_samples",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(path, f"byte {error.start}", "which is not UTF-8", "a text file")
    if not text.strip():
        _refuse(path, "no line", "the file is empty", "one line for each document")
    if text.lstrip().startswith("["):  # versions before 0.4.3: one list over many lines
        parsed = _parse(path, "the whole file", text)
        found = [(f"document {n}", value) for n, value in enumerate(parsed, start=1)]
    else:
        # not splitlines: JSON may hold U+2028, which Python counts as the end of a line
        lines = [(f"line {n}", line) for n, line in enumerate(text.split("\n"), start=1)]
        found = [(place, _parse(path, place, line)) for place, line in lines if line.strip()]
    if not found:
        _refuse(path, "an empty list", "the file has no documents", "at least one document")
    for place, value in found:
        if not isinstance(value, dict) or not {"arguments", "target"} <= value.keys():
            _refuse(path, place, "no sample", "an object with arguments, resps and target")
        yield place, cast("dict[str, Any]", value)


def _parse(path: Path, place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        _refuse(path, place, str(error), "JSON; a run that was cut off leaves a broken last line")


def _one_filter(path: Path, docs: Sequence[_Doc]) -> list[_Doc]:
    """Keep the documents of the first filter: the others repeat the same requests."""
    first = docs[0][1].get("filter")
    kept = [doc for doc in docs if doc[1].get("filter") == first]
    seen: dict[str, str] = {}
    for place, values in kept:
        name = json.dumps(values.get("doc_id", place))
        if name in seen:
            what = f"document {name} again, after {seen[name]}"
            _refuse(path, place, what, "each document once", "give the file of a single run")
        seen[name] = place
    return kept


def _requests(path: Path, doc: _Doc) -> _Requests:
    """Read context, continuation and log-likelihood of each request of a document."""
    place, values = doc
    raw = values["arguments"]
    if isinstance(raw, dict):  # {"gen_args_10": ...} stands behind {"gen_args_9": ...}
        named = cast("dict[str, Any]", raw)
        raw = [named[f"gen_args_{i}"] for i in range(len(named)) if f"gen_args_{i}" in named]
    arguments = [_listed(arg) for arg in _listed(raw)]
    if any(len(arg) > 1 and isinstance(arg[1], dict) for arg in arguments):
        fix = "give the samples of a multiple_choice task: generated text has no scores of choices"
        _refuse(path, place, "a generate_until sample", "log-likelihoods of choices", fix)
    if not arguments or not all(
        len(arg) > 1 and isinstance(arg[0], str) and isinstance(arg[1], str) for arg in arguments
    ):
        _refuse(path, place, "arguments that are no pairs", "context and continuation of each")
    resps = values.get("resps")
    if not isinstance(resps, list) or len(resps) != len(arguments):
        number = len(resps) if isinstance(resps, list) else "no"
        _refuse(path, place, f"{number} resps for {len(arguments)} requests", "one for each")
    return [
        (arg[0], arg[1], _score(path, place, resp))
        for arg, resp in zip(arguments, cast("list[Any]", resps), strict=True)
    ]


def _listed(value: Any) -> list[Any]:
    """Give the items of a list, or the values of an object; nothing of anything else."""
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else []


def _score(path: Path, place: str, resp: Any) -> float:
    """Read the log-likelihood of [[value, is_greedy]]; repeats of a request are equal."""
    try:
        value, _ = resp[0]
        score = float(value)
    except (TypeError, ValueError, LookupError):
        _refuse(path, place, f"resps {resp!r}"[:160], "[[log-likelihood, is_greedy]]")
    if not score <= _ROUNDING:
        _refuse(path, place, f"log-likelihood {value}", "a number of at most 0")
    return score


def _part(path: Path, doc: _Doc, requests: _Requests) -> tuple[_Requests, _Requests]:
    """Part the requests with the document from those of acc_mutual_info, without it.

    The latter follow all others, or, in versions up to 0.4.4, each its own choice.
    """
    half = len(requests) // 2
    if len(requests) % 2 == 0 and half > 1:
        for asked, bare in (
            (requests[:half], requests[half:]),
            (requests[::2], requests[1::2]),
        ):
            pairs = zip(asked, bare, strict=True)
            if all(b[0] == "" and a[1].strip() == b[1].strip() for a, b in pairs):
                return asked, bare
    if len(requests) < 2:
        fix = "give the samples of a multiple_choice task"
        _refuse(path, doc[0], "one request", "a request for each of two or more choices", fix)
    return requests, []


def _closed(path: Path, docs: Sequence[_Doc], words: Sequence[list[str]]) -> tuple[str, ...]:
    """Insist that every document has the same choices."""
    first = words[0]
    for (place, _), here in zip(docs, words, strict=True):
        if len(set(here)) == 1:
            fix = (
                "the choices are in the contexts, as in winogrande: there is no label to calibrate"
            )
            _refuse(path, place, f"{here[0]!r} for every choice", "different choices", fix)
        if len(here) != len(first):
            what = f"{len(here)} choices, where {docs[0][0]} has {len(first)}"
            _refuse(path, place, what, "equally many choices in all documents", _CLOSED)
        if here != first:
            what = f"choices {here}, where {docs[0][0]} has {first}"[:300]
            _refuse(path, place, what, "the same choices in all documents", _CLOSED)
    bare = [word.strip() for word in first]
    if "" in bare or len(set(bare)) < len(bare):
        _refuse(path, docs[0][0], f"choices {first}", "choices that differ, none of them empty")
    return tuple(first)


def _premise(
    path: Path,
    docs: Sequence[_Doc],
    split: Sequence[tuple[_Requests, _Requests]],
    continuations: tuple[str, ...],
) -> tuple[Float[np.ndarray, "doc choice"] | None, list[str]]:
    bare = [words for _, words in split]
    for (place, _), words in zip(docs, bare, strict=True):
        if len(words) != len(bare[0]):
            what = f"{len(words)} requests without the document, elsewhere {len(bare[0])}"
            _refuse(path, place, what, "as many in every document")
    if not bare[0]:
        return None, []
    notes: list[str] = []
    if any(word != continuations[i] for words in bare for i, (_, word, _) in enumerate(words)):
        notes.append(
            "the premise scores are of the choices without the space before them, as versions "
            "before 0.4.9 asked for them: other tokens than those of the scores"
        )
    return np.array([[score for *_, score in words] for words in bare]), notes


def _targets(
    path: Path, docs: Sequence[_Doc], choices: tuple[str, ...], guesses: Int[np.ndarray, "doc"]
) -> Int[np.ndarray, "doc"]:
    """Read every target as the number of a choice, or every one as its words.

    The file has them as text: "1" is a number, unless the choices are numbers themselves. Then
    the accuracy in the file says which was meant.
    """
    numbers = [_number(values["target"], len(choices)) for _, values in docs]
    bare = [choice.strip() for choice in choices]
    words = [
        bare.index(word) if (word := str(values["target"]).strip()) in bare else None
        for _, values in docs
    ]
    readings = [np.array(found) for found in (numbers, words) if None not in found]
    if not readings:
        wrong = next(i for i, number in enumerate(numbers) if number is None and words[i] is None)
        place, values = docs[wrong]
        what = f"target {values['target']!r}"[:160]
        fix = "documents with several right choices, or none of these, cannot be calibrated"
        _refuse(path, place, what, f"one of {', '.join(choices)}, or its number from 0", fix)
    if len(readings) > 1 and (readings[0] != readings[1]).any():
        logged = _logged(docs, "acc")
        scores = [
            0 if logged is None else int(((guesses == found) == logged).sum()) for found in readings
        ]
        if scores[0] == scores[1]:
            what = f"targets that may be numbers of choices or one of {', '.join(choices)}"
            _refuse(path, docs[0][0], what, "acc in the file, to tell which", "log acc too")
        return readings[int(np.argmax(scores))]
    return readings[0]


def _number(target: Any, num_choices: int) -> int | None:
    """Read 1, "1", "True", [1] or "[1]"; -1 is unknown, anything else nothing."""
    if isinstance(target, list):
        return _number(target[0], num_choices) if len(target) == 1 else None
    if isinstance(target, str):
        word = target.strip().removeprefix("[").removesuffix("]").strip()
        word = {"True": "1", "False": "0"}.get(word, word)
        if not word.removeprefix("-").isascii() or not word.removeprefix("-").isdigit():
            return None
        target = int(word)
    if not isinstance(target, int) or not -1 <= target < num_choices:
        return None
    return int(target)


def _logged(docs: Sequence[_Doc], metric: str) -> Float[np.ndarray, "doc"] | None:
    values = [doc.get(metric) for _, doc in docs]
    known = all(isinstance(value, int | float) for value in values)
    return np.array(values, dtype=np.float64) if known else None


def _disagreements(
    logged: Float[np.ndarray, "doc"],
    scores: Float[np.ndarray, "doc choice"],
    targets: Int[np.ndarray, "doc"],
) -> int:
    right = scores.argmax(axis=1) == targets
    return int(((right != logged) & (targets >= 0)).sum())


def _agrees(
    logged: Float[np.ndarray, "doc"],
    scores: Float[np.ndarray, "doc choice"],
    targets: Int[np.ndarray, "doc"],
) -> bool:
    return _disagreements(logged, scores, targets) == 0


def _lengths(words: Sequence[str]) -> Int[np.ndarray, "choice"]:
    return np.array([len(word) for word in words])


def _common_space(words: Sequence[str]) -> str:
    """Find the white space with which all words begin."""
    spaces = [word[: len(word) - len(word.lstrip())] for word in words]
    shortest = min(spaces, key=len)
    while not all(space.startswith(shortest) for space in spaces):
        shortest = shortest[:-1]
    return shortest


def _task_name(path: Path) -> str:
    """Read the task from samples_<task>_<date>.jsonl; another name is taken as it is."""
    stem = path.stem
    return (
        stem[len("samples_") :].rpartition("_")[0] or stem if stem.startswith("samples_") else stem
    )


def _refuse(path: Path, place: str, what: str, expected: str, fix: str = "") -> NoReturn:
    raise VesaliusError(
        given=f"{path.name!r}, {place}: {what}",
        expected=expected,
        fix=fix or "write the samples again: lm_eval ... --log_samples --output_path FOLDER",
    )
