"""The page of a training run: curves, last numbers and options, in one file that needs no network.

Source: the design of this project, docs/decisions.md.
"""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from vesalius.core.card import installed_versions
from vesalius.core.errors import VesaliusError
from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.plots.curves import MOST_SERIES, Series, evaluation_curves, step_curve
from vesalius.plots.style import figure_bytes
from vesalius.training import run_log
from vesalius.training.checkpoint import read_state
from vesalius.training.terms import alarm_kind

NAME: Final = "training.html"
_SMOOTHED: Final = 20  # logged values in one mean of the drawn loss
_NUM_PICTURES: Final = 24  # of measures or evaluations; the table has them all
_IN_ONE_PICTURE: Final = 8  # series: more hide each other
_NO_SHARES: Final = ("nats", "weight", "correlation")  # other units, if from 0 to 1, too
_DOTS_PER_INCH: Final = 150

_PACE: Final = (
    ("mfu", "share of the machine's rate of matrix products"),
    ("waited", "share of the time waited for batches"),
)

Entries = Sequence[Mapping[str, Any]]


def write_training_page(folder: Path, *, title: str = "", hardware: str = "") -> Path:
    """Write `folder`/training.html from the log and the checkpoint's options; return its path.

    A former page is replaced as a whole. `hardware` is what the run was computed on; without it
    the page names the machine that writes it.

    Raises: VesaliusError when there is no log, when a line of it cannot be read (the last one,
    which a kill may have cut short, is left out), or when the page cannot be written.
    """
    folder = Path(folder)
    steps, evaluations = _read_entries(folder)
    state = read_state(folder)
    name = folder.resolve().name
    meanings = (state or {}).get("measures", {})
    sections = [
        *_alarms(steps),
        ("Last numbers", _last_numbers(steps, evaluations)),
        ("Curves", _curves(steps)),
        *_measures(steps, meanings),
        ("Evaluations", _evaluations(evaluations)),
        ("Options", _options(state)),
        ("Made by", _origin(hardware)),
    ]
    text = page(title or f"Training run {name}", sections)
    return write_file(folder / NAME, text.encode(), force=True)


def _read_entries(folder: Path) -> tuple[Entries, Entries]:
    """Return the logged steps and the evaluations, each in the order of their steps."""
    path = folder / run_log.NAME
    if not path.is_file():
        raise VesaliusError(
            given=f"{str(folder)!r}, which holds no {run_log.NAME}",
            expected="the output folder of a training run that has logged a step",
            fix="check the folder's name, or train first",
        )
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    entries: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            float(entry["step"])
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):
                continue  # a kill cut it short
            raise VesaliusError(
                given=f"{path.name}, line {number}: {line[:60]!r}",
                expected='a JSON object with a "step"',
                fix="delete that line",
            ) from error
        entries.append(entry)
    entries.sort(key=lambda entry: entry["step"])
    return (
        [entry for entry in entries if "loss_nats" in entry],
        [entry for entry in entries if "evaluation" in entry],
    )


def _last_numbers(steps: Entries, evaluations: Entries) -> list[object]:
    if not steps:
        return ["No step was logged yet."]
    last = steps[-1]
    rows: list[tuple[str, object]] = [("steps", f"{last['step']:,}")]
    mean = _values(steps, "loss_nats").value[-_SMOOTHED:].mean()
    rows.append(
        (f"loss, mean of the last {min(_SMOOTHED, len(steps))} logged (nats)", f"{mean:.4g}")
    )
    if "num_tokens" in last:
        rows.append(("tokens, padding left out", f"{last['num_tokens']:,}"))
    if "seconds" in last:
        rows.append(("time in the steps", _duration(float(last["seconds"]))))
    if "tokens_per_second" in last:
        rows.append(("tokens/s, whole run", f"{last['tokens_per_second']:,.0f}"))
    rows += [(f"{unit}, last stretch", f"{last[key]:.1%}") for key, unit in _PACE if key in last]
    if evaluations:
        rows.append(("last evaluated after step", f"{evaluations[-1]['step']:,}"))
    return [_wide(table(["", ""], rows))]


def _curves(steps: Entries) -> list[object]:
    if not steps:
        return ["No step was logged yet."]
    loss = _values(steps, "loss_nats")
    width = max(1, min(_SMOOTHED, len(steps) // 4))
    drawn = [
        _drawn(
            step_curve(loss.step, loss.value, unit="loss (nats per label)", smoothed=width),
            alt=f"Loss over the steps, from {loss.value[0]:.4g} to {loss.value[-1]:.4g} nats.",
        )
    ]
    for key, unit in (
        ("lr", "learning rate"),
        ("lr_factor", "learning rate, share of its peak"),
        ("grad_norm", "gradient norm before clipping"),
    ):
        one = _values(steps, key)
        if len(one.step):
            drawn.append(_step_picture(one, unit=unit, smoothed=width if "norm" in key else 1))
    rate = _rate(steps)
    if len(rate.step):
        drawn.append(_step_picture(rate, unit="tokens/s, padding left out", smoothed=1))
    for key, unit in _PACE:
        one = _values(steps, key)
        if len(one.step):
            drawn.append(_step_picture(one, unit=unit, smoothed=1))
    return [*drawn]


def _step_picture(one: Series, *, unit: str, smoothed: int) -> Html:
    axes = step_curve(one.step, one.value, unit=unit, smoothed=smoothed)
    last = f"{one.value[-1]:.4g}"
    return _drawn(axes, alt=f"{unit.capitalize()} over the steps; at the end {last}.")


def _rate(steps: Entries) -> Series:
    """Return tokens/s of each stretch between two logged steps; the log itself has the mean."""
    counted = [entry for entry in steps if "num_tokens" in entry and "seconds" in entry]
    points: list[tuple[float, float]] = []
    tokens, seconds = 0.0, 0.0
    for entry in counted:
        passed = float(entry["seconds"]) - seconds
        if passed > 0:
            points.append((float(entry["step"]), (float(entry["num_tokens"]) - tokens) / passed))
        tokens, seconds = float(entry["num_tokens"]), float(entry["seconds"])
    return _series(points)


def _alarms(steps: Entries) -> list[tuple[str, list[object]]]:
    """Return a section that shows each kind of alarm in its last words, if there was one."""
    kinds: dict[str, list[tuple[float, str]]] = {}
    for entry in steps:
        for alarm in entry.get("alarms", []):
            kinds.setdefault(alarm_kind(alarm), []).append((entry["step"], alarm))
    if not kinds:
        return []
    rows = [
        (element("strong", found[-1][1]), f"{found[0][0]:,}", f"{found[-1][0]:,}", len(found))
        for found in kinds.values()
    ]
    return [("Alarms", [_wide(table(["alarm", "first at step", "last at step", "times"], rows))])]


def _measures(steps: Entries, meanings: Mapping[str, str]) -> list[tuple[str, list[object]]]:
    """Return a section of what the model measured, if it measures."""
    series = _scores(steps, "measures")
    if not series:
        return []
    rows = [(name, *_numbers(one), meanings.get(name, "")) for name, one in series.items()]
    names = ["measure", "last", "lowest", "highest", "meaning"]
    text = "Each is that of all steps since the log before."
    return [("Measures", [text, *_pictures(series), _wide(table(names, rows))])]


def _evaluations(evaluations: Entries) -> list[object]:
    if not evaluations:
        return ["None was asked for."]
    series = _scores(evaluations, "evaluation")
    rows = [(name, *_numbers(one)) for name, one in series.items()]
    names = ["evaluation", "last", "lowest", "highest"]
    return [*_pictures(series), _wide(table(names, rows))]


def _scores(entries: Entries, key: str) -> dict[str, Series]:
    """Return what each name under `key` was at the steps of the entries that have it."""
    having = [entry for entry in entries if key in entry]
    names = dict.fromkeys(name for entry in having for name in entry[key])
    series = {
        name: _series([(float(entry["step"]), _number(entry[key].get(name))) for entry in having])
        for name in names
    }
    return {name: one for name, one in series.items() if len(one.step)}


def _pictures(series: Mapping[str, Series]) -> list[Html]:
    return [
        _drawn(
            evaluation_curves(group, unit="share" if len(group) > 1 else next(iter(group))),
            alt=f"Over the steps: {', '.join(group)}; the last values are in the table.",
        )
        for group in _groups(series)[:_NUM_PICTURES]
    ]


def _numbers(one: Series) -> tuple[float, float, float]:
    """Return the last, the lowest and the highest value."""
    return float(one.value[-1]), _extreme(one, np.nanmin), _extreme(one, np.nanmax)


def _groups(series: Mapping[str, Series]) -> list[dict[str, Series]]:
    """Put shares together, whose values lie in [0, 1]; any other unit has a picture of its own."""
    shares = [name for name, one in series.items() if _is_share(name, one)]
    size = min(_IN_ONE_PICTURE, MOST_SERIES)
    together = [shares[i : i + size] for i in range(0, len(shares), size)]
    alone = [[name] for name in series if name not in shares]
    return [{name: series[name] for name in names} for names in (*together, *alone)]


def _is_share(name: str, one: Series) -> bool:
    if any(unit in name for unit in _NO_SHARES):
        return False
    known = one.value[np.isfinite(one.value)]
    return bool(len(known)) and bool(((known >= 0) & (known <= 1)).all())


def _options(state: Mapping[str, Any] | None) -> list[object]:
    if state is None:
        return ["No checkpoint was written yet, and the options stand in the checkpoint."]
    rows = [(element("code", name), _broken(_shown(v))) for name, v in state["run"].items()]
    return [_wide(table(["option", "value"], rows))]


def _origin(hardware: str) -> list[object]:
    rows = [("hardware", hardware or _hardware()), *installed_versions().items()]
    return ["Of the process that wrote this page.", _wide(table(["", ""], rows))]


def _hardware() -> str:
    """Name processor and accelerator; nothing that names the machine."""
    import torch

    threads = torch.get_num_threads()
    used = "one thread" if threads == 1 else f"{threads} threads"
    cpu = f"{os.cpu_count()}-core {platform.machine()} CPU, {used}"
    if not torch.cuda.is_available():
        return cpu
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, {cpu}"


def _values(entries: Entries, key: str) -> Series:
    points = [(float(entry["step"]), _number(entry.get(key))) for entry in entries]
    return _series(points)


def _series(points: Sequence[tuple[float, float | None]]) -> Series:
    known = [point for point in points if point[1] is not None]
    both = np.array(known, dtype=np.float64).reshape(-1, 2)
    return Series(step=both[:, 0], value=both[:, 1])


def _number(value: object) -> float | None:
    """Return a logged number, None for what is none."""
    return float(value) if isinstance(value, int | float) else None


def _extreme(one: Series, choose: Any) -> float:
    return math.nan if np.isnan(one.value).all() else float(choose(one.value))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _duration(seconds: float) -> str:
    """Write seconds as a reader says them.

    >>> _duration(59.31), _duration(3725)
    ('59.3 s', '1 h 02 min 05 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min {rest:02d} s" if hours else f"{minutes} min {rest:02d} s"


def _drawn(axes: Any, *, alt: str) -> Html:
    return picture(figure_bytes(axes, dots_per_inch=_DOTS_PER_INCH), alt=alt)


def _wide(content: Html) -> Html:
    """Let a table that is wider than a telephone scroll by itself."""
    return element("div", content, style="overflow-x: auto")


def _broken(text: str) -> Html:
    """Let a long word without spaces, such as a hash, go on in the next line."""
    return element("span", text, style="overflow-wrap: anywhere")
