"""`nnexp predict`: what a run says of new examples."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.results import AsJson, Run
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
    as_json: AsJson = False,
) -> None:
    """Predict new examples: .csv, .parquet, .npz, .npy, images or a folder of them.

    Columns are found by their names, and a target is not needed. Each example gets its class and
    the probability of each, or a value in the target's units; of a group the mean of its models
    and how far they agree.

    \b
    Examples:
      nnexp predict runs/adult/2026-11-20T10-15-02-3f9a new.csv -o predictions.csv
      nnexp predict runs/digits/2026-11-20T10-15-02-3f9a scans/
    """
    if out is not None:
        _check_out(out, data)
    import numpy as np

    from nnexp.runs.rundir import RunDir

    RunDir.open(run)  # tells quickly what is wrong
    from nnexp.api.predicted import answers_frame
    from nnexp.runs.predict import predict_run

    answers = predict_run(run, data, None if device is None else device.value)
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


def _check_out(out: Path, data: Path) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"--out: {out} should end in .csv or .parquet")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.parent}")
    if out.resolve() == data.resolve():
        raise UsageError(f"--out: {out} is the file to predict on, and would be overwritten")


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
