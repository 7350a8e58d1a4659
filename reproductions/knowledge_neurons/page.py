"""README.md of the stored numbers: the paper's tables beside ours, claims, pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claims import claims
from paper import PAPER
from pictures import draw

from vesalius.core.paths import write_file

Result = Mapping[str, Any]
Rows = Sequence[Sequence[str]]
INTRO = Path(__file__).parent / "intro.md"


def write_page(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write the page and its pictures; every number in them is one of results/*.json."""
    paths = sorted((folder / "results").glob("*.json"))
    parts = [INTRO.read_text("utf-8").rstrip()]
    drawn: list[Path] = []
    for path in paths:
        result = json.loads(path.read_text("utf-8"))
        if pictures:
            drawn += draw(result, path.stem, folder / "figures")
        parts.append(_of_model(path.stem, result, folder))
    page = write_file(folder / "README.md", ("\n\n".join(parts) + "\n").encode(), force=True)
    return [page, *drawn]


def _of_model(model: str, result: Result, folder: Path) -> str:
    def picture(name: str, words: str) -> str:
        return f"![{words}](figures/{model}-{name}.png)"

    note = folder / "notes" / f"{model}.md"
    return "\n\n".join(
        [
            f"## {model}",
            _facts(result),
            "### Do the paper's claims hold?",
            table(("claim", "holds", "numbers"), claims(result)),
            *([note.read_text("utf-8").strip()] if note.is_file() else []),
            "### Neurons of a fact, and who shares them",
            _counted(result),
            picture("layers", "share of the neurons in each layer"),
            picture("shared", "neurons shared by facts of two relations"),
            "### Suppressed and amplified",
            _turned(result),
            picture("turned", "change of the gold probability by kind of neurons"),
            _split(result),
            _odds(result),
            "### How many neurons?",
            _sizes(result),
            picture("sizes", "effect against the number of neurons"),
            "### Updates",
            _updates(result),
            "### Erased relations",
            _erased(result),
            "### Activation on web sentences",
            _told(result),
            "### By relation",
            _relations(result),
        ]
    )


def table(head: Sequence[str], rows: Rows) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(found: Sequence[float | None] | None, digits: int = 2) -> str:
    """Write an estimate with its interval in per cent."""
    if found is None or found[0] is None:
        return "-"
    words = [f"{100 * value:+.{digits}f}" for value in found if value is not None]
    return f"{words[0]} %" + (f" ({words[1]} to {words[2]})" if len(words) == 3 else "")


def plain(found: Sequence[float | None] | None, digits: int = 2) -> str:
    """Write an estimate with its interval."""
    if found is None or found[0] is None:
        return "-"
    words = [f"{value:.{digits}f}" for value in found if value is not None]
    return words[0] + (f" ({words[1]} to {words[2]})" if len(words) == 3 else "")


def _facts(result: Result) -> str:
    told, counted = result["select"], result["count"]
    known, own, strange = told["known"], told["own_templates"], told["strangers"]

    def tally(found: Result) -> str:
        return (
            f"{found['num_answered']:,} of {found['num_facts']:,} facts answered (in half of the "
            f"prompts or more), {found['right']:.1%} of {found['num_prompts']:,} prompts right"
        )

    lines = [
        f"- {told['num_facts']:,} facts of the paper's list (PARAREL, `in_kn`) have an answer of "
        "one token here and a prompt that can be asked.",
        f"- Those that come with this package, whose sentences mini-bert was trained on: "
        f"{tally(known)}.",
        f"- The same facts with the prompts that come with this package: {tally(own)}.",
        f"- Facts of the same relations that do not come with it, "
        f"{strange['num_facts']} drawn at random: {tally(strange)}.",
    ]
    if told.get("among"):
        lines.append(
            "- Right is here what is likelier than every other answer of its relation, as PARAREL "
            f"asks (Elazar et al. 2021): {tally(told['among'])}."
        )
    lines.append(
        f"- Located: **{sum(counted['num_facts']):,} facts of {len(counted['relations'])} "
        f"relations**, drawn from those it answers, {counted['num_prompts']:,} prompts. Mean "
        f"probability of the right answer {counted['mean_prob']:.3f}; above 0.99 in "
        f"{counted['saturated']:.1%} of the prompts. Largest completeness gap "
        f"{counted['largest_gap']:.1e}."
    )
    made_by = result["made_by"]
    versions = ", ".join(f"{name} {version}" for name, version in made_by["versions"].items())
    lines.append(f"- Model fingerprint {made_by['fingerprint']}; {versions}.")
    return "\n".join(lines)


def _counted(result: Result) -> str:
    found = result["count"]
    ours = [found["attribution"], found["activation"]]
    rows = [
        (name, *PAPER[key], *(plain(each[key]) for each in ours))
        for name, key in (
            ("neurons per fact", "num_neurons"),
            ("shared by two facts of a relation", "intra"),
            ("shared by facts of two relations", "inter"),
        )
    ]
    rows.append(
        (
            "facts with no neuron at their relation's share", "-", "-",
            f"{found['no_set']:.1%}", f"{found['no_set_activation']:.1%}",
        )
    )  # fmt: skip
    in_range = [f"{sum(e['in_range'])} of {len(e['in_range'])}" for e in ours]
    rows.append(("relations for which 2 to 5 neurons were reached", "-", "-", *in_range))
    head = ("", "paper, KN", "paper, activation", "ours, KN", "ours, activation")
    rest = (
        f"Mean Jaccard index of the coarse sets of two paraphrases: {found['stability']:.2f}. With "
        f"the share searched for each fact alone, {found['no_set_alone']:.1%} of the facts have "
        "no stable set."
    )
    return f"{table(head, rows)}\n\n{rest}"


def _turned(result: Result) -> str:
    names = (("own facts", 0), ("fact of another relation", 1), ("random neurons", 2))
    rows: list[tuple[str, ...]] = []
    for factor, verb in (("0", "suppressed"), ("2", "doubled")):
        for name, kind in names:
            ours = [
                percent(result["turn"][f"{selector} x{factor}"]["overall"][kind])
                for selector in ("attribution", "activation")
            ]
            paper = PAPER[f"x{factor}"] if kind == 0 else ("-", "-")
            rows.append((f"{verb}, {name}", *paper, *ours))
    head = ("gold probability", "paper, KN", "paper, activation", "ours, KN", "ours, activation")
    return (
        f"{table(head, rows)}\n\nRatio of means by relation, mean over relations, 95 % interval "
        "over relations. Random neurons are as many in each layer."
    )


def _split(result: Result) -> str:
    rows: list[tuple[str, ...]] = []
    for down, up in zip(
        result["turn"]["attribution x0"]["split"],
        result["turn"]["attribution x2"]["split"],
        strict=True,
    ):
        if not down["num_facts"]:
            continue
        rows.append(
            (
                f"{down['from']:g} to {down['to']:g}",
                str(down["num_facts"]),
                *(percent(each.get(kind)) for each in (down, up) for kind in ("own", "random")),
            )
        )
    head = ("gold probability before", "facts", "suppressed", "random", "doubled", "random")
    return f"Facts by the mean probability of their right answer:\n\n{table(head, rows)}"


def _odds(result: Result) -> str:
    found = result["odds"]
    names = {"attribution": "KN", "activation": "activation", "random": "random"}
    rows = [
        (
            f"{names[key]} × {factor}",
            plain(each["log_odds"]),
            percent(each["probability"]),
            f"{each['falls']:.1%}",
        )
        for key in names
        for factor in ("0", "2")
        if (each := found["kinds"].get(f"{key} x{factor}"))
    ]
    head = ("neurons", "log-odds (nats)", "probability", "prompts whose answer falls")
    return (
        f"{found['num_facts']} facts prompt by prompt. Log-odds, log(p / (1 - p)), do not "
        f"saturate:\n\n{table(head, rows)}"
    )


def _sizes(result: Result) -> str:
    found = result["sizes"]
    rows: list[tuple[str, ...]] = []
    for number, verb in enumerate(("suppressed", "doubled")):
        for place, size in enumerate(found["sizes"]):
            rows.append(
                (
                    f"{size}, {verb}",
                    *(percent(found["kinds"][k][number][place]) for k in found["kinds"]),
                )
            )
    names = {"located": "highest scores", "random": "random", "active": "as active"}
    head = ("neurons", *(names[key] for key in found["kinds"]))
    return (
        f"Change of the gold probability pooled over {found['num_facts']} facts, intervals over "
        f"facts.\n\n{table(head, rows)}\n\n{_layers(result['layers'])}"
    )


def _layers(found: Result) -> str:
    *layers, everything = found["change"]
    told = "; ".join(f"layer {number} {percent(each)}" for number, each in enumerate(layers))
    return (
        "The most that any set could do: all neurons of a layer suppressed at the gap changes it "
        f"by ({found['num_facts']} facts) {told}; all layers {percent(everything)}."
    )


def _updates(result: Result) -> str:
    names = {
        "unshared": "KN",
        "unsigned": "KN, no signs",
        "all neurons": "KN, shared ones too",
        "rank-one": "rank-one",
    }
    given = {key: result["update"][key] for key in names if result["update"].get(key)}
    wanted = (
        ("change rate", "old_answer_gone, forced", True),
        ("success rate", "reliability, forced", True),
        ("success, held-out paraphrases", "generality, forced", True),
        ("same relation, perplexity", "same_relation, perplexity", False),
        ("other relations, perplexity", "other_relations, perplexity", False),
    )
    rows: list[tuple[str, ...]] = []
    for name, key, share in wanted:
        cells: list[str] = []
        for each in given.values():
            found = each["measures"].get(key)
            if found is None:
                cells.append("-")
            elif share:
                interval = [100 * v for v in (found["after"], *found["interval"])]
                cells.append(f"{found['before']:.1%} → {plain(interval, 1)} %")
            else:
                rise = found["after"] - found["before"]
                cells.append(f"{found['before']:.2f} → {found['after']:.2f} ({rise:+.2f})")
        random = given["unshared"]["measures"].get(key)
        control = "-"
        if random and random["control"][0] is not None:
            value = random["control"][0]
            rise = value - random["before"]
            control = f"{value:.1%}" if share else f"{value:.2f} ({rise:+.2f})"
        rows.append((name, *PAPER.get(key, ("-", "-")), *cells, control))
    counts = [f"{each['num_edits']}" for each in given.values()]
    rows.append(("edits", "340", "340", *counts, counts[0]))
    rows.append(
        ("slots edited, mean", "-", "-", *(f"{e['neurons']:.1f}" for e in given.values()), "as KN")
    )
    head = ("", "paper, KN", "paper, random", *(f"ours, {names[k]}" for k in given), "ours, random")
    refused = given["unshared"]["refused"]
    told = ", ".join(f"{count} because {reason}" for reason, count in refused.items()) or "none"
    return (
        f"{table(head, rows)}\n\nFacts that were drawn and could not be updated without shared "
        f"neurons: {told}. A third of a fact's prompts is held out of the edit. Perplexity of "
        "right answers over 5 other facts of the relation, and over 5 of others. *No signs* is the "
        "paper's formula to the letter, whatever the sign of a neuron."
    )


def _erased(result: Result) -> str:
    rows: list[tuple[str, ...]] = []
    for each in result["erase"]:
        cells = [each["relation"], PAPER.get(f"erase {each['relation']}", ("-",))[0]]
        for group in ("erased", "other"):
            name = "erased_relation" if group == "erased" else "other_relations"
            found = each["measures"][f"{name}, perplexity"]
            right = each["measures"][f"{name}, accuracy"]
            rise = found["after"] / found["before"] - 1
            cells.append(f"{found['before']:.2f} → {found['after']:.2f} ({rise:+.1%})")
            cells.append(f"{right['before']:.1%} → {right['after']:.1%}")
            if group == "erased":
                cells.append(f"{found['control'][0] / found['before'] - 1:+.1%}")
        rows.append((*cells, str(each["num_slots"])))
    head = (
        "relation", "paper: erased; others", "erased, perplexity", "right",
        "random slots", "others, perplexity", "right", "slots",
    )  # fmt: skip
    return table(head, rows)


def _told(result: Result) -> str:
    rows: list[tuple[str, ...]] = []
    for key, name in (("attribution", "KN"), ("activation", "activation baseline")):
        for way in ("signed", "magnitude"):
            found = result["tell"][key][way]
            for each in found["kinds"]:
                paper = PAPER[each["kind"]][0] if (key, way) == ("attribution", "signed") else "-"
                rows.append(
                    (
                        f"{name}, {'value' if way == 'signed' else 'size'}, {each['kind']}",
                        str(each["num_texts"]),
                        paper,
                        plain(each["mean"], 3),
                        "-" if each["prob"] is None else f"{each['prob']:.4f}",
                        "-" if each["correlation"] is None else f"{each['correlation']:+.2f}",
                    )
                )
            rows.append(
                (
                    f"{name}, {'value' if way == 'signed' else 'size'}, all texts",
                    "",
                    "-",
                    "",
                    "",
                    f"{found['correlation']:+.2f}; within a fact {plain(found['within_facts'])}",
                )
            )
    head = ("neurons, texts", "texts", "paper", "mean activation", "gold probability", "Spearman")
    return (
        f"{table(head, rows)}\n\nThe feed-forward blocks are gated, so that a neuron's sign is "
        "arbitrary (flip it and its value slot, and nothing changes): *size* leaves it out. "
        "Spearman's rho is that of mean activation and gold probability over texts."
    )


def _relations(result: Result) -> str:
    counted, down = result["count"], result["turn"]["attribution x0"]
    up = result["turn"]["attribution x2"]
    rows: list[tuple[str, ...]] = []
    for place, relation in enumerate(counted["relations"]):
        own = counted["attribution"]
        cells = [
            relation,
            str(counted["num_facts"][place]),
            f"{own['share'][place]:.2f}",
            f"{own['size'][place]:.2f}",
            "-" if own["shared"][place][place] is None else f"{own['shared'][place][place]:.2f}",
            f"{own['across'][place]:.3f}",
        ]
        for found in (down, up):
            at = found["relations"].index(relation) if relation in found["relations"] else None
            for kind in (0, 1, 2):
                if at is None:
                    cells.append("-")
                    continue
                values = [found[name][kind][at] for name in ("change", "low", "high")]
                cells.append(percent(values if kind == 0 else values[:1]))
        rows.append(cells)
    head = (
        "relation", "facts", "share", "neurons", "intra", "inter",
        "suppressed", "crossed", "random", "doubled", "crossed", "random",
    )  # fmt: skip
    return table(head, rows)
