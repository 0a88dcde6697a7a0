"""`nnexp predict`: files, arrays and images that are new to a run."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_digits, load_iris

from nnexp.cli.app import run as run_command
from nnexp.errors import DataError, RunError, UsageError
from nnexp.runs.predict import predict_run, read_image

ROOT = Path(__file__).parents[2]
FLATS = ROOT / "configs/data/flats.csv"
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    made: dict[str, Path] = {}

    def make(source: Any, *options: str, **keys: Any) -> Path:
        key = repr((source, options, keys))
        if key not in made:
            folder = tmp_path_factory.mktemp("trained")
            config = {
                "data": {"source": source},
                "model": {"name": "mlp", "hidden": [8]},
                "training": {"epochs": 2},
                **keys,
            }
            (folder / "c.yaml").write_text(yaml.safe_dump(config))
            command = ["train", str(folder / "c.yaml"), "--out", str(folder), "--quiet", *options]
            assert run_command(command) == 0
            made[key] = next(folder.glob("*/*/manifest.json")).parent
        return made[key]

    return make


@pytest.fixture
def flats(train: Train) -> Path:
    return train({"name": "csv", "path": str(FLATS), "target": "rent", "id": "id"})


@pytest.fixture
def digits(train: Train) -> Path:
    return train("digits")


def predicted(capsys: Any, *arguments: object) -> pd.DataFrame:
    """What the command prints."""
    capsys.readouterr()
    assert run_command(["predict", *map(str, arguments)]) == 0
    return pd.read_csv(io.StringIO(capsys.readouterr().out), dtype={"prediction": str})


def stored(run: Path) -> pd.DataFrame:
    found = pd.read_csv(run / "predictions.csv", dtype={"prediction": str})
    return found[found["split"] == "test"].set_index("id")


def test_a_table_without_its_target(flats: Path, tmp_path: Path, capsys: Any) -> None:
    rows = pd.read_csv(FLATS).drop(columns="rent").sample(frac=1, random_state=0)
    rows = rows[[*rows.columns[::-1]]]  # columns are found by their names
    rows.to_csv(tmp_path / "new.csv", index=False)
    found = predicted(capsys, flats, tmp_path / "new.csv").set_index("id")
    assert found.index.tolist() == rows["id"].tolist()
    expected = stored(flats)
    np.testing.assert_allclose(
        found["rent"][expected.index], expected["prediction"].astype(float), rtol=1e-5
    )


def test_out_and_json(flats: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "p.csv"
    assert run_command(["predict", str(flats), str(FLATS), "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out)
    assert "600 examples predicted" in told.err
    written = pd.read_csv(out)
    assert list(written) == ["id", "rent"]
    assert run_command(["predict", str(flats), str(FLATS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == len(found["predictions"]) == 600
    assert found["predictions"][0]["rent"] == pytest.approx(written["rent"][0], rel=1e-8)
    assert run_command(["predict", str(flats), str(FLATS), "--json", "-o", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(out)


def test_parquet(flats: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.read_csv(FLATS).to_parquet(tmp_path / "new.parquet")
    out = tmp_path / "p.parquet"
    assert run_command(["predict", str(flats), str(tmp_path / "new.parquet"), "-o", str(out)]) == 0
    assert len(pd.read_parquet(out)) == 600


def test_a_group_says_how_far_its_models_agree(train: Train, tmp_path: Path, capsys: Any) -> None:
    group = train("iris", "--seeds", "3")
    np.save(tmp_path / "x.npy", load_iris().data)
    found = predicted(capsys, group, tmp_path / "x.npy")
    each = [predicted(capsys, group / f"s{i}", tmp_path / "x.npy") for i in range(3)]
    chances = [c for c in found if c.startswith("p(")]
    assert chances == ["p(setosa)", "p(versicolor)", "p(virginica)"]
    mean = np.mean([one[chances].to_numpy() for one in each], axis=0)
    np.testing.assert_allclose(found[chances], mean, rtol=1e-6)
    same = [one["prediction"] == found["prediction"] for one in each]
    np.testing.assert_allclose(found["agreement"], np.mean(same, axis=0), rtol=1e-6)


def test_arrays_and_tables_for_a_run_on_builtin_data(
    train: Train, tmp_path: Path, capsys: Any
) -> None:
    run, x = train("iris"), load_iris()
    np.save(tmp_path / "x.npy", x.data)
    np.savez(tmp_path / "x.npz", x=x.data)
    names = predict_columns(run)
    pd.DataFrame(x.data, columns=names).to_csv(tmp_path / "x.csv", index=False)
    found = [predicted(capsys, run, tmp_path / f"x.{kind}") for kind in ("npy", "csv")]
    pd.testing.assert_frame_equal(*found)
    expected = stored(run)["prediction"]
    assert found[0]["prediction"][expected.index].tolist() == expected.tolist()
    assert predict_run(run, tmp_path / "x.npy", "cpu").probabilities is not None


def predict_columns(run: Path) -> list[str]:
    return list(json.loads((run / "preprocessing.json").read_text())["names"])


def test_labels(train: Train, capsys: Any) -> None:
    pumps = ROOT / "configs/data/pumps.csv"
    with pumps.open() as file:
        names = file.readline().strip().split(",")
    config = yaml.safe_load((ROOT / "configs/pumps.yaml").read_text())
    source = {**config["data"]["source"], "path": str(pumps)}
    found = predicted(capsys, train(source), pumps)
    labels = source["target"]
    assert set(labels) <= set(names)
    assert list(found) == ["id", *labels, *(f"p({name})" for name in labels)]
    assert set(np.unique(found[labels])) <= {0, 1}


# -- images ----------------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "scans" / "more"
    folder.mkdir(parents=True)
    for i in range(6):
        picture = image.fromarray(load_digits().images[i].astype(np.uint8))
        picture.save((folder if i > 3 else folder.parent) / f"{i}.png")
    (folder / "notes.txt").write_text("no image")
    return folder.parent


def test_a_folder_of_images(digits: Path, scans: Path, tmp_path: Path, capsys: Any) -> None:
    found = predicted(capsys, digits, scans)
    assert found["id"].tolist() == ["0.png", "1.png", "2.png", "3.png", "more/4.png", "more/5.png"]
    np.save(tmp_path / "x.npy", load_digits().images[:6])
    same = predicted(capsys, digits, tmp_path / "x.npy")
    np.testing.assert_allclose(found.iloc[:, 2:], same.iloc[:, 2:], rtol=1e-5)
    one = predicted(capsys, digits, scans / "3.png")
    assert one["id"].tolist() == ["3.png"]
    assert one["prediction"][0] == found["prediction"][3]


def test_images_of_a_folder_are_brought_to_its_size(
    train: Train, tmp_path: Path, capsys: Any
) -> None:
    image = pytest.importorskip("PIL.Image")
    for i in range(20):
        picture = image.fromarray(load_digits().images[i].astype(np.uint8) * 15)
        path = tmp_path / f"photos/{'even' if i % 2 else 'odd'}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.resize((9 + i, 12)).save(path)
    run = train({"name": "image_folder", "path": str(tmp_path / "photos"), "size": [8, 6]})
    found = predicted(capsys, run, tmp_path / "photos").set_index("id")
    assert len(found) == 20
    expected = stored(run)
    assert (found["prediction"][expected.index] == expected["prediction"]).all()
    outputs = expected.filter(like="output_").to_numpy()
    chances = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(found.filter(like="p(").loc[expected.index], chances, rtol=1e-4)
    one = predicted(capsys, run, tmp_path / "photos/odd/4.png")
    assert one["p(odd)"][0] == pytest.approx(found["p(odd)"]["odd/4.png"])
    (tmp_path / "c.yaml").touch()
    with pytest.raises(UsageError, match="or an image, or a folder of images"):
        predict_run(run, tmp_path / "c.yaml")


def test_a_run_without_one_answer_an_example(train: Train, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("the cat sat on the mat and saw the dog " * 40)
    source = {"name": "text", "path": str(words), "length": 10}
    run = train(source, model={"name": "rnn", "units": 4})
    with pytest.raises(UsageError, match=r"answers at every pixel or token \(`nnexp eval` scores"):
        predict_run(run, words)


def test_colours_and_shades(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "c.png")
    assert np.array_equal(read_image(tmp_path / "c.png", (3, 4, 5)), pixels.transpose(2, 0, 1))
    assert read_image(tmp_path / "c.png", (1, 4, 5)).shape == (1, 4, 5)
    image.fromarray(pixels[:, :, 0]).save(tmp_path / "g.png")
    grey = read_image(tmp_path / "g.png", (3, 4, 5))
    assert np.array_equal(grey, np.stack([pixels[:, :, 0]] * 3))
    deep = image.fromarray(pixels[:, :, 0].astype(np.int32) * 200)
    deep.save(tmp_path / "d.tiff")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_image(tmp_path / "d.tiff", (1, 4, 5))
    with pytest.raises(UsageError, match="have 2 channels"):
        read_image(tmp_path / "c.png", (2, 4, 5))


def test_images_that_are_too_bright(digits: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "w.png")
    notes = predict_run(digits, tmp_path / "w.png").notes
    assert notes == ["pixels go up to 255, in training to 16: are they on the same scale?"]


def test_bad_images(digits: Path, flats: Path, scans: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "size.png")
    with pytest.raises(DataError, match=r"is 9 × 8 pixels \(height × width\); it takes 8 × 8"):
        predict_run(digits, tmp_path / "size.png")
    (tmp_path / "bad.png").write_bytes((scans / "0.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"bad.png: can't be read as an image"):
        predict_run(digits, tmp_path / "bad.png")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match="can't be read as an image"):
        predict_run(digits, tmp_path / "empty.jpg")
    with pytest.raises(DataError, match="no such file"):
        predict_run(digits, tmp_path / "none.png")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        predict_run(digits, tmp_path / "nothing")
    with pytest.raises(UsageError, match="takes rows of a table, not images"):
        predict_run(flats, scans)


# -- other bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["rooms", "heating"]), "training had: rooms, heating"),
        (lambda t: t.assign(rooms="three"), "held numbers in training and hold text here: rooms"),
        (lambda t: t.head(0), "has a header but no rows"),
        (lambda t: t.rename(columns={"rooms": "room"}), "had: rooms; others are here: room$"),
    ],
)
def test_tables_that_do_not_fit(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, flats: Path, tmp_path: Path
) -> None:
    change(pd.read_csv(FLATS)).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=message):
        predict_run(flats, tmp_path / "new.csv")


def test_unseen_categories_and_columns_are_noted(flats: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(FLATS).head(5).assign(heating="plasma", colour="red")
    rows.to_csv(tmp_path / "new.csv", index=False)
    notes = predict_run(flats, tmp_path / "new.csv").notes
    assert any("colour" in note and "ignored" in note for note in notes)
    assert any(note.startswith("heating: category unseen in training") for note in notes)


def test_files_that_do_not_fit(digits: Path, flats: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="is empty"):
        predict_run(flats, tmp_path / "empty.csv")
    np.save(tmp_path / "x.npy", np.zeros((3, 9, 9)))
    with pytest.raises(DataError, match=r"shape \(1, 9, 9\), not \(1, 8, 8\)$"):
        predict_run(digits, tmp_path / "x.npy")
    (tmp_path / "x.bin").write_bytes(b"\0")
    with pytest.raises(UsageError, match=r"should be one of .csv"):
        predict_run(digits, tmp_path / "x.bin")


def test_wrong_options(flats: Path, tmp_path: Path, capsys: Any) -> None:
    wrong = {
        "p.xlsx": "should end in .csv or .parquet",
        "nowhere/p.csv": "there is no folder",
        "new.csv": "would be overwritten",
    }
    shutil.copy(FLATS, tmp_path / "new.csv")
    for name, message in wrong.items():
        command = ["predict", str(flats), str(tmp_path / "new.csv"), "-o", str(tmp_path / name)]
        assert run_command(command) == 2
        assert message in capsys.readouterr().err


def test_runs_that_can_not_predict(flats: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError):
        predict_run(tmp_path, FLATS)
    run = shutil.copytree(flats, tmp_path / "run")
    (run / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(RunError):
        predict_run(run, FLATS)
