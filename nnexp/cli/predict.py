"""`nnexp predict`: what a run says of new examples."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson, Run
from nnexp.errors import UsageError


class Device(StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


def predict(
    run: Run,
    data: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A table, arrays, an image, or a folder of images."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT", help="A .csv or .parquet file. [default: print]"
        ),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where to compute. [default: as in training]")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CLASS=]P",
            help="Say the second class, or CLASS, where its probability is at least P; for each of "
            "several labels LABEL=P.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict new examples, of a table or of images.

    They are a .csv, .parquet, .npz or .npy file, an image, or a folder of images. Columns are found
    by their names, and a target is not needed. Each example gets its class and the probability of
    each, or a value in the target's units; of a group the mean of its models and how far they
    agree. Where to decide between two classes, `nnexp threshold` tells.

    \b
    Examples:
      nnexp predict runs/adult/2026-11-20T10-15-02-3f9a new.csv -o predictions.csv
      nnexp predict runs/digits/2026-11-20T10-15-02-3f9a scans/
      nnexp predict runs/adult/2026-11-20T10-15-02-3f9a new.csv --threshold 0.37
    """
    if out is not None:
        _check_out(out, data)
    thresholds = _thresholds(threshold or [])
    import numpy as np

    from nnexp.runs.rundir import RunDir

    RunDir.open(run)  # tells quickly what is wrong
    from nnexp.api.predicted import answers_frame
    from nnexp.runs.apply import at_thresholds
    from nnexp.runs.predict import predict_run

    answers = predict_run(run, data, None if device is None else device.value)
    if thresholds:
        answers = at_thresholds(answers, thresholds)
    classes = np.asarray(answers.names, object)
    frame = answers_frame(answers, classes, None).rename_axis(index="id")
    if out is not None:
        _write(frame, out)
    for text in answers.notes:
        console.warn(text)
    if as_json:
        found: dict[str, Any] = {"run": run, "examples": len(frame), "notes": answers.notes}
        rows = frame.reset_index().to_dict("records")
        console.say_json({**found, **({"predictions": rows} if out is None else {"out": out})})
    elif out is None:
        console.say_verbatim(frame.to_csv(float_format="%.9g"))
    else:
        console.note(f"{console.count(len(frame), 'example')} predicted")
        console.say_path(out)


def _thresholds(given: list[str]) -> dict[str, float]:
    """`0.37` or `yes=0.37` as a number by name. Raises UsageError."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            threshold = float(number)
        except ValueError:
            threshold = math.nan
        if not 0 <= threshold <= 1:
            raise UsageError(
                f"--threshold: {text!r} is not a probability from 0 to 1, such as 0.37 or yes=0.37"
            )
        if name in found:
            raise UsageError(f"--threshold: {name or 'it'} is given twice")
        found[name] = threshold
    return found


def _check_out(out: Path, data: Path) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"-o: {out} should end in .csv or .parquet")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"-o: there is no folder {out.parent}")
    if out.resolve() == data.resolve():
        raise UsageError(f"-o: {out} is the file to predict on, and would be overwritten")


def _write(frame: Any, out: Path) -> None:
    import io

    from nnexp.runs.files import write_bytes

    if out.suffix.lower() == ".csv":
        write_bytes(out, frame.to_csv(float_format="%.9g").encode())
        return
    content = io.BytesIO()
    try:
        frame.to_parquet(content)
    except ImportError:
        raise UsageError(
            f"{out}: writing parquet needs pyarrow: pip install 'nnexp[parquet]'"
        ) from None
    write_bytes(out, content.getvalue())
