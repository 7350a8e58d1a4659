"""A classifier without training: a prompt, a language model, a calibrator.

Source: arXiv 2205.10183; this project for keeping the three together.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators import AbstractCalibrator, load_calibrator
from vesalius.methods.calibration.score import ScoreOptions, Text, score
from vesalius.models.specimen import Specimen

MARKER: Final = "classifier.json"
_CALIBRATOR: Final = "calibrator.json"
_KIND: Final = "vesalius.few-shot-classifier"
_SCHEMA: Final = 1


@final
@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a classifier says of texts: class numbers [text], probabilities [text, label]."""

    predictions: Int[np.ndarray, " text"]
    probabilities: Float[np.ndarray, "text label"]


@final
@dataclass(frozen=True, kw_only=True)
class FewShotClassifier:
    """A fitted calibrator with the prompt and the model that it was fitted for.

    ``model`` and ``fingerprint`` name the model: another one's scores mean something else.
    """

    prompt: LabelPrompt
    calibrator: AbstractCalibrator
    label_names: tuple[str, ...]
    model: str
    fingerprint: str
    label_mass: bool = True

    def classify(
        self,
        specimen: Specimen,
        texts: Sequence[Text],
        *,
        store: str | os.PathLike[str] | None = None,
    ) -> Answers:
        """Score texts with the prompt and calibrate; pairs are tuples of two.

        Returns:
            Class numbers [text] and probabilities [text, label].

        Raises:
            VesaliusError: another model than the one it was fitted for, or what ``score`` refuses.
        """
        if specimen.fingerprint != self.fingerprint:
            raise VesaliusError(
                given=f"{specimen.name} with fingerprint {specimen.fingerprint}",
                expected=f"{self.model} with {self.fingerprint}, for which it was calibrated",
                fix="open that model, or fit a calibrator for this one",
            )
        options = ScoreOptions(label_mass=self.label_mass)
        found = score(specimen, self.prompt, texts, store=store, options=options)
        probabilities = self.calibrator.predict_proba(found.log_probs)
        predictions = self.calibrator.predict(found.log_probs)
        return Answers(predictions=np.asarray(predictions), probabilities=probabilities)

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the classifier, without the model, to a new folder of JSON, and return its path.

        Raises:
            VesaliusError: the folder exists and ``force`` is not given.

        Source: this module. No shapes.
        """
        head = {
            "kind": _KIND,
            "schema_version": _SCHEMA,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "label_mass": self.label_mass,
            "label_names": self.label_names,
            "prompt": asdict(self.prompt),
        }
        with new_folder(folder, force=force, marker=MARKER) as new:
            text = json.dumps(head, ensure_ascii=False, indent=1)
            (new / MARKER).write_text(text + "\n", encoding="utf-8")
            self.calibrator.save(new / _CALIBRATOR)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "FewShotClassifier":
        """Read a folder that ``save`` wrote.

        Raises:
            VesaliusError: no classifier is there, or it is broken or of another schema.

        Source: this module. No shapes.
        """
        folder = Path(folder)
        try:
            head: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
            if (head["kind"], head["schema_version"]) != (_KIND, _SCHEMA):
                raise ValueError(f"schema {head['schema_version']!r}")
            prompt = head.pop("prompt")
            rows = [
                LabelledRow(texts=tuple(row["texts"]), label=int(row["label"]))
                for row in prompt.pop("demonstrations")
            ]
            words = tuple(prompt.pop("words"))
            made = LabelPrompt(words=words, demonstrations=tuple(rows), **prompt)
            names = tuple(map(str, head["label_names"]))
            given = {name: head[name] for name in ("model", "fingerprint", "label_mass")}
            if [type(value) for value in given.values()] != [str, str, bool]:
                raise ValueError(f"a model, a fingerprint and a yes or no: {given}")
            calibrator = load_calibrator(folder / _CALIBRATOR)
            known = len(calibrator.classes_) or made.num_labels  # one that learnt nothing has 0
            if not len(names) == made.num_labels == known:
                raise ValueError(
                    f"{len(names)} names, {made.num_labels} words, a calibrator for {known}"
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _broken(folder, f"{type(error).__name__}: {str(error)[:80]}") from error
        except VesaliusError as error:
            raise _broken(folder, error.given) from error
        return cls(prompt=made, calibrator=calibrator, label_names=names, **given)


def _broken(folder: Path, why: str) -> VesaliusError:
    return VesaliusError(
        given=f"{folder.name!r}, which holds no classifier that can be read ({why})",
        expected=f"a folder with {MARKER} and {_CALIBRATOR}, as `calibrate fit` writes it",
        fix="check the path, or fit it again",
    )
