"""One question answered: locate, turn, or read what was saved.

Source: arXiv 2104.08696.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

from vesalius.cli.flags import (
    AbstractLocateFlags,
    AbstractQuestionFlags,
    LocateFlags,
    TurnFlags,
)
from vesalius.cli.questions import Question
from vesalius.cli.turning import neurons_of
from vesalius.core.codec import plain
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output
from vesalius.core.result import MARKER, AbstractResult
from vesalius.methods.knowledge_neurons import (
    Evidence,
    Intervention,
    LocateConfig,
    Location,
    evidence,
    intervene,
    locate,
    locate_preset,
)
from vesalius.methods.knowledge_neurons.config import SEQUENCE
from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, kw_only=True)
class Story:
    """What was found out about one question; ``saved`` is where it lies, if anywhere."""

    question: Question
    location: Location | None
    intervention: Intervention | None = None
    evidence: Evidence | None = None
    saved: Path | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Teller:
    """How questions are answered: the model, the flags, and the factor (None to locate only)."""

    specimen: Specimen
    flags: AbstractQuestionFlags
    factor: float | None
    known: Location | None = None  # from --location

    def tell(self, question: Question, folder: Path | None) -> Story:
        """Answer a question; a folder that holds this very answer is read instead.

        Raises:
            VesaliusError: a bad question, or a folder that holds something else.
        """
        if folder is not None and not self.flags.force:
            _refuse_other_things(folder)
        if self.factor is None:
            return self._located(question, folder)
        location = self._location(question)
        neurons = self._neurons(location)
        found = _load(Intervention, folder) if not self.flags.force else None
        if found is not None:
            same = self._is_same(found, question, config=self._turn_config())
            _insist(same and found.neurons == neurons, folder)
        else:
            found = self._intervene(question, neurons)
            _save(found, folder, force=self.flags.force)
        return Story(question=question, location=location, intervention=found, saved=folder)

    def _located(self, question: Question, folder: Path | None) -> Story:
        found = _load(Location, folder) if not self.flags.force else None
        if found is not None:
            _insist(self._is_same(found, question, config=plain(config_of(self.flags))), folder)
        else:
            found = self._locate(question)
            _save(found, folder, force=self.flags.force)
        shown = self._evidence(found, folder) if wants_evidence(self.flags) else None
        return Story(question=question, location=found, evidence=shown, saved=folder)

    def _evidence(self, location: Location, folder: Path | None) -> Evidence | None:
        """The evidence beside a saved location, or new; None where no neuron has a score."""
        flags = cast("LocateFlags", self.flags)
        if location.mean_scores.max() <= 0:
            return None
        place = None if folder is None else folder / "evidence"
        found = None if flags.force else _load(Evidence, place)
        if (
            found is None
            or found.card.model_fingerprint != location.card.model_fingerprint
            or found.card.config["num_controls"] != flags.controls
            or found.card.seed != flags.seed
        ):
            found = evidence(
                self.specimen,
                location,
                num_controls=flags.controls,
                seed=flags.seed,
                memory=flags.memory,
            )
            if place is not None:
                found.save(place, force=True)
        return found

    def _location(self, question: Question) -> Location | None:
        named = isinstance(self.flags, TurnFlags) and self.flags.neurons
        return None if named else self.known or self._locate(question)

    def _locate(self, question: Question) -> Location:
        return locate(
            self.specimen, question.prompts, question.answer, config=config_of(self.flags)
        )

    def _neurons(self, location: Location | None) -> tuple[tuple[int, int], ...]:
        flags = cast("TurnFlags", self.flags)
        return neurons_of(flags.neurons) if location is None else location.neurons

    def _intervene(self, question: Question, neurons: tuple[tuple[int, int], ...]) -> Intervention:
        flags = cast("TurnFlags", self.flags)
        return intervene(
            self.specimen,
            question.prompts,
            question.answer,
            neurons,
            factor=cast("float", self.factor),
            num_controls=flags.controls,
            seed=flags.seed,
            several_tokens=self._takes_several(),
        )

    def _takes_several(self) -> bool:
        """Whether answers of several tokens were asked for, here or when they were located."""
        known = self.known.card.config["target"] if self.known else self.flags.target
        return known == SEQUENCE

    def _turn_config(self) -> dict[str, Any]:
        controls = cast("TurnFlags", self.flags).controls
        return {"factor": self.factor, "num_controls": controls}

    def _is_same(
        self, found: Location | Intervention, question: Question, *, config: Mapping[str, Any]
    ) -> bool:
        """Whether a saved result is what this command would make."""
        seed = self.flags.seed if isinstance(self.flags, TurnFlags) else found.card.seed
        return (
            found.prompts == question.prompts
            and found.answer == question.answer
            and found.card.model_fingerprint == self.specimen.fingerprint
            and found.card.seed == seed
            and all(found.card.config.get(name) == value for name, value in config.items())
        )


def wants_evidence(flags: AbstractQuestionFlags) -> bool:
    """Whether `locate` shows evidence: as the flag says, else for one fact and not for many."""
    if not isinstance(flags, LocateFlags):
        return False
    return flags.facts is None if flags.evidence is None else flags.evidence


def config_of(flags: AbstractLocateFlags) -> LocateConfig:
    """Read the options of ``locate`` from the flags; what is left out is the preset's.

    Raises:
        VesaliusError: a word, a share, a threshold, a rule, a number of nodes or a size without
            meaning, or a file of reference prompts that cannot be read.
    """
    given: dict[str, Any] = {
        "target": flags.target,
        "foil": flags.foil or None,
        "baseline": flags.baseline,
        "reference": _lines_of(flags.reference),
        "share": flags.share,
        "memory": flags.memory,
    }
    named = {"rule": flags.rule, "num_nodes": flags.nodes, "coarse_threshold": flags.threshold}
    changes = {name: value for name, value in named.items() if value not in ("", None)}
    return locate_preset(flags.preset, **given, **changes)


def _lines_of(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VesaliusError(
            given=f"--reference {path}: {error}",
            expected="a UTF-8 file with a prompt on each line",
            fix="check the path; every line holds one [MASK]",
        ) from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _load(kind: type[AbstractResult], folder: Path | None) -> Any:
    if folder is None or not (folder / MARKER).is_file():
        return None
    return kind.load(folder)


def _refuse_other_things(folder: Path) -> None:
    """A folder without a result is not ours to write in."""
    if not (folder / MARKER).is_file():
        check_new_output(folder)


def _insist(same: bool, folder: Path | None) -> None:
    if not same:
        raise VesaliusError(
            given=f"output path {str(folder)!r}, which holds the result of another command",
            expected="a new path, or the result of this very command, which is then read",
            fix="choose another one, or pass --force to replace it",
        )


def _save(found: Location | Intervention, folder: Path | None, *, force: bool) -> None:
    if folder is not None:
        found.save(folder, force=force)
