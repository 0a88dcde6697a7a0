"""`nnexp export`: a trained model for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson, DataRoot, Run, check_data_root
from nnexp.errors import UsageError


def export(
    run: Run,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The .onnx file to write.")
    ] = Path("model.onnx"),
    member: Annotated[
        int | None,
        typer.Option(min=0, help="Which of a group's members. [default: the best on dev]"),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in 8 bits: a smaller file, a little less exact.")
    ] = False,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators.")] = 20,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained model as one ONNX file to deploy.

    Preprocessing and the names of classes are inside. The file is tried on the run's test examples,
    and the largest difference from the run is told. Needs the extra: pip install 'nnexp[onnx]'.

    \b
    Examples:
      nnexp export runs/digits/2026-11-20T10-15-02-3f9a
      nnexp export runs/adult/2026-11-20T10-15-02-3f9a -o adult.onnx --int8
    """
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"-o: {out} should end in .onnx")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"-o: there is no folder {out.parent}")
    check_data_root(data_root)
    from nnexp.runs.rundir import RunDir

    RunDir.open(run)  # tells quickly what is wrong
    from nnexp.deploy.export import export_run

    done = export_run(run, out, member=member, int8=int8, opset=opset, data_root=data_root)
    if as_json:
        console.say_json(asdict(done))
        return
    for text in done.notes:
        console.note(f"note: {text}")
    near = done.agreement
    tried = f"{near.examples} {near.part} examples" if near.part else "made-up examples"
    console.say(f"opset {done.opset}, {done.size / 1024:,.0f} KiB")
    rows = [["in", *entry.split(": ", 1)] for entry in done.inputs]
    rows += [["out", *entry.split(": ", 1)] for entry in done.outputs]
    console.say_table(["", "", ""], rows, indent=2)
    console.say(
        f"largest difference from the run on {tried}: {near.difference:.1e}"
        + (f"; {near.other_labels} got another label" if near.other_labels else "")
    )
    if (cost := done.int8) is not None:
        console.say(
            f"int8 ({cost.how}): {cost.size_before / 1024:,.0f} → {cost.size_after / 1024:,.0f} KiB"
        )
        if cost.before is not None and cost.after is not None:
            console.say(
                f"  {cost.metric} on {cost.examples} {cost.part} examples: "
                f"{console.value(cost.before)} → {console.value(cost.after)}"
            )
    console.say_path(out)
