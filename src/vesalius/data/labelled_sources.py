"""Where labelled texts come from: a file, a folder, the hub, or the package itself.

Source: the split names of GLUE and of the `datasets` library; this project.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from vesalius.core.errors import VesaliusError
from vesalius.data.labelled_files import SUFFIXES, Columns, read_columns

BUNDLED: Final = "kinds"  # the project's own small set, for when nothing else is at hand
OPINIONS: Final = "opinions"  # another one: praise and blame of films, what mini-classifier reads
LABEL_COLUMNS: Final = (
    *("label", "labels", "class", "category", "target", "label_name", "sentiment"),
)
_SPLITS: Final = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val", "validation_matched"),
    "test": ("test", "testing"),
}
_HUB_COLLECTIONS: Final = ("glue", "super_glue")  # glue/sst2 is one set of a collection


def read_tables(
    source: str | Path, *, split_column: str
) -> tuple[dict[str, Columns], tuple[str, ...]]:
    """Read the tables of train, dev and test, and the names of the classes where the hub has them.

    Raises:
        VesaliusError: nothing there, files that cannot be read, or splits of unknown names.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path, split_column), ()
    if path.suffix in SUFFIXES or path.exists():
        return _by_split(read_columns(path), split_column, path), ()
    if str(source) in (BUNDLED, OPINIONS):
        table = Path(str(files("vesalius"))) / "data" / "tables" / f"{source}.tsv"
        return _by_split(read_columns(table), split_column, table), ()
    return _hub(str(source))


def _folder(folder: Path, split_column: str) -> dict[str, Columns]:
    """Read train, dev and test files, or the only file of a folder."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES]
    tables: dict[str, Columns] = {}
    for path in found:
        split = _split_name(path.stem)
        if split in tables:
            raise VesaliusError(
                given=f"two {split} files in {folder.name!r}, one of them {path.name}",
                expected="one file for each of train, dev and test",
                fix="move the other one away, or give a single file",
            )
        if split:
            tables[split] = read_columns(path)
    if not tables and len(found) == 1:
        return _by_split(read_columns(found[0]), split_column, found[0])
    if "train" not in tables:
        raise VesaliusError(
            given=f"folder {folder.name!r} with {', '.join(p.name for p in found) or 'no table'}",
            expected="train and dev (or validation) files: " + ", ".join(SUFFIXES),
            fix="name them train.tsv, dev.tsv and test.tsv, or give one file with a split column",
        )
    return tables


def _split_name(word: object) -> str:
    """Give train, dev or test for one of their usual names, and nothing for another word."""
    lower = str(word).lower()
    return next((split for split, names in _SPLITS.items() if lower in names), "")


def _by_split(columns: Columns, split_column: str, path: Path) -> dict[str, Columns]:
    words = columns.get(split_column)
    if words is None:
        return {"train": columns}
    unknown = sorted({str(word) for word in words if not _split_name(word)})
    if unknown:
        raise VesaliusError(
            given=f"split {unknown[0]!r} in column {split_column!r} of {path.name}",
            expected="train, dev (or validation) and test",
            fix="rename it, or name another column with split_column (--split-column)",
        )
    rows: dict[str, list[int]] = {}
    for i, word in enumerate(words):
        rows.setdefault(_split_name(word), []).append(i)
    return {
        split: {name: [values[i] for i in chosen] for name, values in columns.items()}
        for split, chosen in rows.items()
    }


def _hub(source: str) -> tuple[dict[str, Columns], tuple[str, ...]]:
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise VesaliusError(
            given=f"{source!r}, no file or folder here, and no library for the hub's sets",
            expected="a file, a folder, or an installation with the datasets library",
            fix="check the path, or: pip install 'vesalius[train]'",
        ) from error
    name, _, config = source.partition(":")
    collection, _, member = name.partition("/")
    if collection in _HUB_COLLECTIONS and member:
        name, config = collection, member
    try:
        found: Any = load_dataset(name, config or None)
    except Exception as error:  # the hub's client has many families of errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise VesaliusError(
            given=f"{source!r}: no such file or folder, and not to be had from the hub ({reason})",
            expected=f"a file, a folder, {BUNDLED!r}, {OPINIONS!r}, or the name of a data set on "
            "the hub",
            fix="check the path; hub names need a network or a filled cache",
        ) from error
    tables: dict[str, Columns] = {}
    label_names: tuple[str, ...] = ()
    for word, rows in found.items():
        split = _split_name(word)
        if split and split not in tables:
            tables[split] = {str(column): list(rows[column]) for column in rows.column_names}
            for column in LABEL_COLUMNS:  # class labels of the hub carry their names
                feature = (rows.features or {}).get(column)
                label_names = label_names or tuple(getattr(feature, "names", None) or ())
    return tables, label_names
