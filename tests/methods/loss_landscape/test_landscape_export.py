"""Files for other programs: every number comes back from where it belongs."""

import csv
from pathlib import Path

import numpy as np
import pytest

import landscape_results as made
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape.export import export_csv, export_npz, export_vtk

HOLED = made.with_holes(made.make_surface())


def read_vtk(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a legacy binary file: a second reader, after the format's description."""
    content = path.read_bytes()
    head, title, kind, rest = content.split(b"\n", 3)
    assert (head, kind) == (b"# vtk DataFile Version 3.0", b"BINARY")
    assert len(title) < 256
    found: dict[str, np.ndarray] = {"title": np.array(title.decode())}
    part, count = "", 0
    while rest:
        line, rest = rest.split(b"\n", 1)
        words = line.decode().split()
        if words[0] in ("POINT_DATA", "CELL_DATA"):
            part, count = words[0], int(words[1])
            continue
        if words[0] in ("DATASET", "DIMENSIONS"):
            found[words[0]] = np.array(words[1:])
            continue
        if words[0] == "POINTS":
            name, dtype, size = "POINTS", ">f8", 3 * int(words[1])
        elif words[0] == "LINES":
            name, dtype, size = "LINES", ">i4", int(words[2])
        else:
            name = f"{part}.{words[1]}"
            dtype, size = {"double": ">f8", "unsigned_char": "u1"}[words[2]], count
            _, rest = rest.split(b"\n", 1)  # the lookup table
        width = np.dtype(dtype).itemsize * size
        found[name] = np.frombuffer(rest[:width], dtype=dtype)
        assert rest[width : width + 1] == b"\n"
        rest = rest[width + 1 :]
    return found


def test_a_surface_is_a_grid_whose_heights_are_its_losses(tmp_path):
    found = read_vtk(export_vtk(HOLED, tmp_path / "s.vtk", height=0.5))
    assert list(found["DIMENSIONS"]) == ["13", "9", "1"]
    points = found["POINTS"].reshape(-1, 3)
    loss = found["POINT_DATA.train_loss"]
    # alpha runs fastest, and every value stands at its own place
    np.testing.assert_allclose(points[:13, 0], made.ALPHAS)
    np.testing.assert_allclose(points[::13, 1], made.BETAS)
    formula = 0.2 + (points[:, 0] - 1) ** 2 + 0.5 * points[:, 1] ** 2
    finite = np.isfinite(loss)
    np.testing.assert_allclose(loss[finite], formula[finite])
    np.testing.assert_allclose(points[finite, 2], 0.5 * formula[finite])
    held_out = found["POINT_DATA.held_out_error"].reshape(9, 13).T
    np.testing.assert_allclose(held_out, HOLED.values["held_out"]["error"])
    assert "POINT_DATA.train_loss_standard_error" in found


def test_holes_stay_nan_are_hidden_and_have_heights_a_viewer_can_bear(tmp_path):
    found = read_vtk(export_vtk(HOLED, tmp_path / "s.vtk"))
    loss = found["POINT_DATA.train_loss"]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(loss)), [0, 13, 26])
    np.testing.assert_array_equal(
        np.flatnonzero(found["POINT_DATA.vtkGhostType"] == 2), [0, 13, 26]
    )
    np.testing.assert_array_equal(
        np.flatnonzero(found["CELL_DATA.vtkGhostType"] == 32), [0, 12, 24]
    )
    heights = found["POINTS"].reshape(-1, 3)[:, 2]
    assert np.isfinite(heights).all()
    np.testing.assert_allclose(heights[0], HOLED.values["train"]["loss"][1, 0])
    surface = made.make_surface()
    nothing = {s: {m: np.full_like(v, np.nan) for m, v in f.items()}
               for s, f in surface.values.items()}  # fmt: skip
    empty = read_vtk(export_vtk(made.make_surface(values=nothing), tmp_path / "e.vtk"))
    assert not empty["POINTS"].reshape(-1, 3)[:, 2].any()


def test_a_line_is_broken_where_it_is_not_finite(tmp_path):
    values = made.bowl(made.ALPHAS)
    values["train"]["loss"][[0, 4]] = np.nan
    line = made.make_line(values=values)
    found = read_vtk(export_vtk(line, tmp_path / "l.vtk"))
    pairs = found["LINES"].reshape(-1, 3)[:, 1:]
    assert pairs.tolist() == [[k, k + 1] for k in range(12) if not {k, k + 1} & {0, 4}]
    np.testing.assert_allclose(found["POINTS"].reshape(-1, 3)[:, 0], made.ALPHAS)
    error = read_vtk(export_vtk(line, tmp_path / "e.vtk", split="held_out", measure="error"))
    np.testing.assert_allclose(error["POINTS"].reshape(-1, 3)[:, 2], values["held_out"]["error"])


def test_a_trajectory_fits_its_surface(tmp_path):
    path = made.make_trajectory()
    found = read_vtk(export_vtk(path, tmp_path / "t.vtk", height=0.5))
    points = found["POINTS"].reshape(-1, 3)
    np.testing.assert_allclose(points[:, :2], path.coordinates)
    np.testing.assert_allclose(points[:, 2], 0.5 * path.values["train"]["loss"])
    np.testing.assert_allclose(found["POINT_DATA.step"], path.steps)
    np.testing.assert_allclose(found["POINT_DATA.off_plane"], path.off_plane)


def test_csv_has_one_row_a_value_with_all_digits(tmp_path):
    with export_csv(HOLED, tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13 * 9 * 4
    wanted = {
        (float(a), float(b)): float(v)
        for a, line in zip(HOLED.alphas, HOLED.values["held_out"]["error"], strict=True)
        for b, v in zip(HOLED.betas, line, strict=True)
    }
    for row in rows:
        if (row["split"], row["measure"]) == ("held_out", "error"):
            assert float(row["mean"]) == wanted[float(row["alpha"]), float(row["beta"])]
    missing = [row for row in rows if row["mean"] == "nan"]
    assert len(missing) == 6
    with export_csv(made.make_line(), tmp_path / "l.csv").open(encoding="utf-8") as file:
        assert file.readline() == "alpha,split,measure,mean,standard_error\n"
    assert export_csv(made.make_trajectory(), tmp_path / "t.csv").read_text().startswith("step,")


def test_npz_opens_without_pickle_and_keeps_the_order_of_the_grid(tmp_path):
    kept = {"train": {"loss": np.arange(13 * 9 * 2, dtype=np.float32).reshape(13, 9, 2)}}
    surface = made.make_surface(examples=kept, labels={"train": np.array([0, 1])})
    with np.load(export_npz(surface, tmp_path / "s.npz"), allow_pickle=False) as found:
        np.testing.assert_array_equal(found["train.loss"], surface.values["train"]["loss"])
        np.testing.assert_array_equal(found["train.loss.examples"], kept["train"]["loss"])
        assert found["train.labels"].tolist() == [0, 1]
        assert tuple(found["axes"]) == made.AXES
        assert found["solution"].tolist() == [1.0, 0.0]
        assert found["evaluated"].all()
    with np.load(export_npz(made.make_line(), tmp_path / "l.npz"), allow_pickle=False) as found:
        assert str(found["axis"]) == made.AXES[0]
        np.testing.assert_array_equal(found["alphas"], made.ALPHAS)
    path = made.make_trajectory()
    with np.load(export_npz(path, tmp_path / "t.npz"), allow_pickle=False) as found:
        np.testing.assert_array_equal(found["coordinates"], path.coordinates)
        np.testing.assert_array_equal(found["train.loss"], path.values["train"]["loss"])


@pytest.mark.parametrize("export", [export_csv, export_npz, export_vtk])
def test_a_file_is_replaced_only_when_told(export, tmp_path):
    path = tmp_path / "a.vtk"
    first = export(made.make_line(), path).read_bytes()
    with pytest.raises(VesaliusError, match="exists"):
        export(made.make_line(), path)
    assert export(made.make_line(), path, force=True).read_bytes() == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"height": 0.0}, "height=0.0"),
        ({"height": float("nan")}, "height=nan"),
        ({"split": "test"}, "'loss' of 'test'"),
        ({"measure": "f1"}, "'f1' of 'train'"),
    ],
)
def test_bad_options_are_refused(options, said, tmp_path):
    with pytest.raises(VesaliusError) as caught:
        export_vtk(made.make_surface(), tmp_path / "s.vtk", **options)
    assert said in str(caught.value)
    with pytest.raises(VesaliusError, match=r"\.vtk"):
        export_vtk(made.make_surface(), tmp_path / "s.vts")
    assert not list(tmp_path.iterdir())
