"""Ablations end to end: what is turned off, what is left, what goes wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from nnexp.analysis.ablation import Ablation, designed
from nnexp.cli.ablate import divided
from nnexp.cli.app import run
from nnexp.config.load import load_config
from nnexp.config.source import plain, put
from nnexp.errors import ConfigError, UsageError
from nnexp.report.ablation import as_latex, as_markdown, escaped_tex
from nnexp.runs.rundir import RunDir
from nnexp.search.ablate import read_ablation
from nnexp.search.factors import Factor, find_factors, turned_off
from nnexp.search.folder import SweepDir
from nnexp.search.sweep import absolute
from nnexp.search.trials import Bench

CONFIG: dict[str, Any] = {
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [4], "batch_norm": True, "dropout": 0.2},
    "optimizer": {"name": "momentum", "lr": 0.05},
    "schedule": "one_cycle",
    "regularization": {"l2": 1e-3},
    "training": {"epochs": 2, "batch_size": 16},
}


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


def factors(folder: Path, *over: str, **changes: Any) -> tuple[Any, list[Factor]]:
    """The config's node as an ablation has it, and its factors."""
    base = absolute(config := load_config(write(folder, **changes)))
    resolved = Bench(folder).resolved(config.experiment)
    steps = [step.dump() for step in resolved.preprocessing or ()]
    base = put(base, "preprocessing", steps, base.place)
    return base, find_factors(base, resolved, over)


def off(folder: Path, *over: str, **changes: Any) -> dict[str, Any]:
    """The config without some factors."""
    base, found = factors(folder, *over, **changes)
    data: dict[str, Any] = plain(turned_off(base, found))
    return data


def ablate(folder: Path, over: str, *options: str, **changes: Any) -> SweepDir:
    arguments = [
        "ablate",
        str(write(folder, **changes)),
        "--over",
        over,
        "--seeds",
        "2",
        "--workers",
        "1",
    ]
    assert run([*arguments, "--out", str(folder / "runs"), "--quiet", *options]) == 0
    (found,) = (folder / "runs" / "c").iterdir()
    return SweepDir(found)


# -- factors ---------------------------------------------------------------------------------------


def test_names_turn_off_what_is_on(tmp_path: Path) -> None:
    found = off(tmp_path, "batch_norm", "dropout", "schedule", "l2", "momentum")
    assert found["model"] == {"name": "mlp", "hidden": [4], "batch_norm": False, "dropout": 0.0}
    assert "schedule" not in found
    assert found["regularization"] == {}
    assert found["optimizer"]["momentum"] == 0


def test_early_stopping_clipping_smoothing_sampler_and_start(tmp_path: Path) -> None:
    training = {**CONFIG["training"], "early_stopping": {"patience": 2}, "clip_grad_norm": 1.0}
    found = off(
        tmp_path,
        "early_stopping",
        "clip_grad_norm",
        "label_smoothing",
        "sampler",
        "initialization",
        training=training,
        loss={"name": "cross_entropy", "label_smoothing": 0.1},
        sampler={"name": "uniform", "replacement": True},
        initialization="he_normal",
    )
    assert found["training"] == CONFIG["training"]
    assert found["loss"]["label_smoothing"] == 0
    assert "sampler" not in found
    assert "initialization" not in found


def test_layers_and_steps_are_taken_out_of_their_lists(tmp_path: Path) -> None:
    layers = [
        {"name": "linear", "units": 4},
        "batch_norm",
        "relu",
        {"name": "dropout", "rate": 0.1},
        {"name": "dropout", "rate": 0.2},
        {"name": "linear"},
    ]
    found = off(
        tmp_path,
        "batch_norm",
        "dropout",
        "standardize",
        "pca",
        model={"name": "sequential", "layers": layers},
        preprocessing=["standardize", {"name": "pca", "components": 2}],
    )
    assert found["model"]["layers"] == [layers[0], "relu", layers[-1]]
    assert found["preprocessing"] == []


def test_steps_that_nobody_wrote_can_be_left_out(tmp_path: Path) -> None:
    assert off(tmp_path, "preprocessing")["preprocessing"] == []


def test_keys_and_values(tmp_path: Path) -> None:
    over = ("optimizer.lr=0.01", "model.batch_norm", "regularization.l2")
    found = off(tmp_path, *over)
    assert factors(tmp_path, *over)[1][0].note == "optimizer.lr is 0.01 when off"
    assert found["optimizer"]["lr"] == 0.01
    assert found["model"]["batch_norm"] is False
    assert found["regularization"] == {}


def test_all_that_cant_be_ablated_is_told_at_once(tmp_path: Path) -> None:
    over = ("batchnorm", "l1", "nothing.there", "optimizer.lr", "optimizer.lr=0.05", "model.x=1")
    with pytest.raises(ConfigError) as caught:
        factors(tmp_path, *over)
    text = str(caught.value)
    assert len(caught.value.problems) == len(over)
    assert "did you mean batch_norm?" in text
    assert "--over l1: is nothing that is on in this config" in text
    assert "there is no key 'nothing'" in text
    assert "has no obvious value when it is off: say it, as optimizer.lr=value" in text
    assert "--over optimizer.lr=0.05: is off already" in text
    assert "can be ablated by name here: batch_norm, dropout" in text


def test_two_factors_must_not_change_the_same_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"both change model\.dropout"):
        factors(tmp_path, "dropout", "model.dropout=0.1")


def test_commas_within_brackets_are_part_of_a_value() -> None:
    assert divided(["a, b", "model.hidden=[8, 4],c"]) == ["a", "b", "model.hidden=[8, 4]", "c"]


def test_designs() -> None:
    assert designed("ab", "factorial") == [(), ("a",), ("b",), ("a", "b")]
    assert designed("ab", "leave_one_out") == [(), ("a",), ("b",)]


# -- end to end ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    return ablate(tmp_path_factory.mktemp("ablation"), "batch_norm,dropout")


@pytest.fixture(scope="module")
def found(done: SweepDir) -> Ablation:
    return read_ablation(done)


def test_every_cell_is_a_group_with_its_parts_off(done: SweepDir) -> None:
    told = {}
    for home in (done.path / "cells").iterdir():
        config = RunDir(home).read_config()
        assert [m.read_manifest()["seed"] for m in RunDir(home).members()] == [0, 1]
        assert (home / "s1" / "predictions.csv").is_file()
        told[home.name] = (config["model"]["batch_norm"], config["model"]["dropout"])
    assert told == {
        "all": (True, 0.2),
        "without-batch_norm": (False, 0.2),
        "without-dropout": (True, 0.0),
        "without-batch_norm+dropout": (False, 0.0),
    }


def test_it_leaves_its_table_in_three_forms_and_a_summary(done: SweepDir, found: Ablation) -> None:
    summary = done.read(done.summary)
    assert done.state()["status"] == "finished"
    assert [effect["label"] for effect in summary["effects"]] == [e.label for e in found.effects]
    with (done.path / "ablation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["difference"]) for row in rows] == [e.difference for e in found.effects]
    assert (done.path / "ablation.md").read_text() == as_markdown(found)
    assert (done.path / "ablation.tex").read_text() == as_latex(found)


def test_a_cell_is_what_train_makes_of_its_config(done: SweepDir, tmp_path: Path) -> None:
    """Alone it sums in another order: equal to rounding."""
    path = write(tmp_path, model={**CONFIG["model"], "batch_norm": False})
    assert run(["train", str(path), "--seeds", "2", "--out", str(tmp_path), "--quiet"]) == 0
    (alone,) = (tmp_path / "c").iterdir()
    ours = RunDir(done.path / "cells" / "without-batch_norm").read_summary()
    assert ours["train"]["loss"]["mean"] == pytest.approx(
        RunDir(alone).read_summary()["train"]["loss"]["mean"], rel=1e-4
    )


def test_the_latex_table_is_escaped_and_whole(found: Ablation) -> None:
    text = as_latex(found)
    assert r"batch\_norm $\times$ dropout & " in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(found.effects)
    assert all(line.count(" & ") == 5 for line in rows)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert escaped_tex("50 % of a_b & {c}^~\\") == (
        r"50 \% of a\_b \& \{c\}\textasciicircum{}\textasciitilde{}\textbackslash{}"
    )


def test_the_markdown_tables_have_whole_rows(found: Ablation) -> None:
    rows = [line for line in as_markdown(found).splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {7, 3}
    assert "batch\\_norm × dropout" in as_markdown(found)


def test_the_terminals_table_fits_80_columns(
    found: Ablation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnexp.cli.ablate import show_ablation

    monkeypatch.setenv("COLUMNS", "80")
    show_ablation(found)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("batch_norm × dropout ") for line in lines)


def test_json_and_files_on_request(
    done: SweepDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished ablation is only looked at again."""
    files = [tmp_path / name for name in ("t.csv", "t.md", "t.tex")]
    options = ["-o", str(files[0]), "--markdown", str(files[1]), "--latex", str(files[2])]
    assert run(["ablate", "--resume", str(done.path), "--quiet", "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(done.path)
    assert told["effects"][0]["label"] == "batch_norm"
    assert all(file.stat().st_size > 0 for file in files)


def test_splits_of_every_cell_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path)
    arguments = [
        "ablate",
        str(path),
        "--over",
        "batch_norm,l2",
        "--splits",
        "3",
        "--quiet",
        "--workers",
        "1",
    ]
    options = ["--design", "leave_one_out", "--out", str(tmp_path / "runs")]
    assert run([*arguments, *options]) == 0
    (home,) = (tmp_path / "runs" / "c").iterdir()
    found = read_ablation(SweepDir(home))
    assert found.varies == "split"
    assert found.members == 3
    assert "Nadeau" in found.test
    splits = [
        [m.read_manifest()["split"]["test"] for m in RunDir(cell).members()]
        for cell in (home / "cells").iterdir()
    ]
    assert len(set(splits[0])) == 3
    assert splits == [splits[0]] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--over needs the parts"),
        (["--over", "l2,l2"], "names l2 twice"),
        (["--over", "l2", "--seeds", "3", "--splits", "3"], "only one of --seeds and --splits"),
        (["--over", "l2", "--metric", "acuracy"], "did you mean 'accuracy'"),
        (["--over", "l2", "-o", "t.docx"], "should end in one of .csv, .md, .tex"),
        (["--over", "a,b,c,d,e,f,g,h,i", "--design", "factorial"], "has 512 cells"),
        (["--resume", "runs/x"], "either a CONFIG or --resume"),
    ],
)
def test_wrong_command_lines(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ablate", str(write(tmp_path)), *options, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_cells_that_cant_be_trained_are_told_before_anything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, loss={"name": "cross_entropy", "label_smoothing": 0.1})
    over = "l2,loss=mse"
    assert run(["ablate", str(path), "--over", over, "--out", str(tmp_path / "runs")]) == 2
    assert "loss" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_stopped_ablation_goes_on_to_the_same_table(tmp_path: Path) -> None:
    training = {**CONFIG["training"], "epochs": 100, "checkpoint_seconds": 0.1}
    path = write(tmp_path, training=training)
    out = tmp_path / "runs"
    options = ["--seeds", "2", "--workers", "1", "--out", str(out), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nnexp", "ablate", str(path), "--over", "batch_norm", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    while not list(out.glob("c/*/checkpoint/*")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    (home,) = (out / "c").iterdir()
    assert SweepDir(home).state()["status"] == "interrupted"
    assert run(["ablate", "--resume", str(home), "--quiet"]) == 0
    found = read_ablation(SweepDir(home))
    again = ablate(tmp_path / "again", "batch_norm", training=training)
    whole = read_ablation(again)
    assert [c.score for c in found.cells] == [c.score for c in whole.cells]


def test_resuming_what_is_no_ablation_is_told(
    done: SweepDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ablate", "--resume", str(tmp_path)]) == 3
    assert "is no sweep" in capsys.readouterr().err
    assert run(["sweep", "--resume", str(done.path)]) == 3
    assert "nnexp ablate --resume" in capsys.readouterr().err
