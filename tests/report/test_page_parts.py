"""What the parts of a report show: filters, planes, words, layers, diagnosis, curves."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from nnexp.analysis.precision_recall import Curve, PrecisionRecall, Scored, precision_recall
from nnexp.analysis.results import Result, read_result
from nnexp.report.html import charts, class_charts, pixels
from nnexp.report.html import inside as inside_page
from nnexp.report.html import layers as layers_page
from nnexp.report.html.config_table import _is_said, _plain
from nnexp.report.html.diagnosis import diagnosis, with_code
from nnexp.report.html.markup import cards, join, tag
from nnexp.report.html.page import report
from tests.report.test_page import parsed, sections, train, words

MOONS = """\
name: moons
data: {source: {name: moons, n: 200}}
model: {name: mlp, hidden: [8]}
optimizer: {name: adam, lr: 0.05}
training: {epochs: 12, batch_size: 32}
"""
DIGITS = """\
name: digits
data: {source: digits, subset: 100}
model: {name: mlp, hidden: [5]}
training: {epochs: 1, batch_size: 32}
"""
WORDS = """\
name: words
data: {source: {name: corpus, path: text.txt, min_count: 1}, split: {train: 0.9, dev: 0.1}}
model: {name: skip_gram, width: 6}
training: {epochs: 1, batch_size: 32}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts")
    (path / "text.txt").write_text("the cat and the dog saw the sea and the ship . " * 100)
    return path


@pytest.fixture(scope="module")
def moons(root: Path) -> Path:
    return train(root, "moons", MOONS, "--seeds", "2")


@pytest.fixture(scope="module")
def digits(root: Path) -> Path:
    return train(root, "digits", DIGITS)


def decoded(address: str) -> np.ndarray:
    """The pixels `[H, W, 4]` of a `data:` address, by PNG's own rules (ISO/IEC 15948)."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = dict[bytes, bytes](), 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(kind + content)
        chunks[kind] = content
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 6)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 4)


# -- pixels ----------------------------------------------------------------------------------------


def test_an_image_is_written_as_it_is() -> None:
    drawn = np.random.default_rng(0).integers(256, size=(7, 5, 4)).astype(np.uint8)
    np.testing.assert_array_equal(decoded(pixels.data_uri(drawn)), drawn)


def test_weights_become_signed_colours() -> None:
    weights = np.zeros((3, 1, 56, 56))
    weights[0, 0, 0, 0], weights[1, 0, 55, 55], weights[2] = 2.0, -1.0, 0.0
    drawn = pixels.tiles(weights, 2)
    assert drawn.shape == (2 * 58 + 2, 2 * 58 + 2, 4)
    assert drawn[1, 1].tolist() == [*pixels.POSITIVE, 255]
    assert drawn[56, 60 + 56].tolist() == [*pixels.NEGATIVE, 128]
    assert drawn[60 + 1 : 60 + 57, 1:57, 3].max() == 0
    colours = pixels.tiles(np.array([[[[1.0]], [[0.0]], [[-1.0]]]]), 1)
    assert colours[5, 5].tolist() == [255, 128, 0, 255]


def test_a_contour_is_where_heights_are_0() -> None:
    grid = np.linspace(-1.5, 1.5, 61)
    heights = grid[None, :] ** 2 + grid[:, None] ** 2 - 1.0
    ends = np.array(pixels.contour(grid, grid, heights)).reshape(-1, 2)
    assert len(ends) > 200
    np.testing.assert_allclose(np.hypot(*ends.T), 1.0, atol=2e-3)
    lengths = np.hypot(*(ends[::2] - ends[1::2]).T)
    np.testing.assert_allclose(lengths.sum(), 2 * np.pi, rtol=2e-3)
    assert pixels.contour(grid, grid, heights + 10) == []


# -- what is inside --------------------------------------------------------------------------------


def test_a_plane_has_its_boundaries_and_examples(moons: Path) -> None:
    text = report([moons])
    learnt = next(x for x in parsed(text).iter("section") if words(x).startswith("What it"))
    (image,) = learnt.iter("image")
    assert decoded(image.attrib["href"]).shape == (120, 120, 4)
    classes = [element.get("class") for element in learnt.iter()]
    assert classes.count("border thin") == 2
    assert classes.count("border") == 1
    assert classes.count("point") == read_result(moons).runs[0].manifest["split"]["counts"]["train"]
    assert "precision and recall (test)" in words(learnt)


def test_what_is_said_over_a_plane_is_at_its_place() -> None:
    x, y = np.linspace(0, 1, 11), np.linspace(0, 1, 11)
    right = (np.broadcast_to(x, (11, 11)) > 0.55).astype(float)
    answers = np.stack([1 - right, right], -1)[None]
    targets, points = np.array([0, 1]), np.array([[0.2, 0.9], [0.8, 0.1]])
    text = inside_page.classes_over(x, y, answers, points, targets, ("a", "b"), ("<l>", "r"), "t")
    card = ElementTree.fromstring(text)
    painted = decoded(next(card.iter("image")).attrib["href"])
    assert (painted[:, 5, :3] == painted[0, 0, :3]).all()
    assert (painted[:, 6, :3] == painted[0, 10, :3]).all()
    low, high = (float(dot.attrib["cy"]) for dot in card.iter("circle"))
    assert low < high  # the first is above the second
    (border,) = (path for path in card.iter("path") if path.get("class") == "border")
    ends = re.findall(r"[ML]([0-9.]+) ", border.attrib["d"])
    assert np.ptp(np.array(ends, float)) < 0.2
    assert "<l>" in words(card)
    values = inside_page.values_over(x, y, 3 * answers, points, targets, ("a", "b"), "v")
    assert decoded(next(ElementTree.fromstring(values).iter("image")).attrib["href"]).size


def test_a_first_layer_is_drawn(digits: Path) -> None:
    (image,) = parsed(report([digits])).iter("img")
    assert decoded(image.attrib["src"]).shape == (2 * 58 + 2, 3 * 58 + 2 * 2, 4)
    assert "weights of 5 units" in sections(report([digits]))["What it has learnt"]


def test_a_map_of_words(root: Path) -> None:
    run = train(root, "words", WORDS)
    learnt = sections(report([run]))["What it has learnt"]
    assert "map of words" in learnt
    assert {"the", "ship", "dog"} <= set(learnt.split())
    places = np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0]])
    found = ElementTree.fromstring(inside_page.words(places, ("one", "two", "far"), (0.5, 0.2), ""))
    labels = {text.text for text in found.iter("text") if text.get("class") == "halo"}
    assert labels == {"one", "far"}  # two's place is taken


def test_where_the_data_are_gone_there_is_a_line(root: Path) -> None:
    rows = "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(60))
    (root / "plane.csv").write_text("x,y,kind\n" + rows)
    source = "{name: csv, path: plane.csv, target: kind, target_type: classification}"
    config = f"name: gone\ndata: {{source: {source}}}\nmodel: mlp\ntraining: {{epochs: 1}}\n"
    run = train(root, "gone", config)
    (root / "plane.csv").unlink()
    learnt = sections(report([run]))["What it has learnt"]
    assert "can't be drawn: the examples are not there" in learnt
    assert "confusion matrix" in learnt


def test_neither_torch_nor_matplotlib_is_needed_without_a_plane(digits: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from nnexp.report.html.page import report\n"
        "print(all('What it has learnt' in report([Path(x)]) for x in sys.argv[1:]))\n"
        "print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(digits)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\nset()\n", "")


# -- layers ----------------------------------------------------------------------------------------


def with_health(root: Path, layers: int, epochs: Sequence[int]) -> Result:
    draw, lines = np.random.default_rng(0), ["epoch,step,layer,mean,dead," + ",".join(QUANTILES)]
    for epoch in epochs:
        for layer in range(layers):
            five = np.sort(draw.normal(size=5)), np.sort(draw.random(5)) * 1e-3
            cells = ",".join(f"{x:.6g}" for x in (layer, 0, *five[0], *five[1]))
            lines.append(f"{epoch},{epoch},{layer}.linear,{cells}")
    (root / "health.csv").write_text("\n".join(lines) + "\n")
    return Result(root, "run", {})


QUANTILES = ("p05", "p25", "p50", "p75", "p95", "g05", "g25", "g50", "g75", "g95")


@pytest.mark.parametrize("layers", [7, 400])
def test_distributions_of_few_and_of_many_layers(tmp_path: Path, layers: int) -> None:
    text = layers_page.layers("<n>", with_health(tmp_path, layers, (1, 2, 3)))
    found = ElementTree.fromstring(f"<div>{text}</div>")
    small = [figure for box in found.iter("div") if box.get("class") == "small" for figure in box]
    shown = min(layers, layers_page.PANELS)
    assert len(small) == 2 * shown
    for figure in small:
        looks = [path.get("class") for path in figure.iter("path")]
        assert looks.count("area c0") == 2
        assert looks.count("curve c0") == 1
    titles = [words(next(figure.iter("h3"))) for figure in small[:shown]]
    assert (titles[0], titles[-1]) == ("0.linear", f"{layers - 1}.linear")
    assert ("12 of 400 layers, evenly spaced" in words(found)) == (layers == 400)
    assert "0 in every layer throughout: dead" in words(found)
    lines = {words(curve) for curve in found.iter("title") if "linear" in words(curve)}
    assert len(lines) == min(layers, layers_page.LINES)
    assert len(text) < 150_000


def test_a_single_epoch_is_drawn_over_the_layers(tmp_path: Path) -> None:
    text = layers_page.layers("", with_health(tmp_path, 400, (5,)))
    found = ElementTree.fromstring(f"<div>{text}</div>")
    assert [words(title) for title in found.iter("h3")] == [
        "outputs by layer",
        "|gradient| by layer",
    ]
    assert "24 of 400 layers, evenly spaced" in words(found)
    assert len(list(found.iter("tr"))) == 25


def test_bands_are_at_their_quantiles(tmp_path: Path) -> None:
    (tmp_path / "health.csv").write_text(
        "epoch,layer," + ",".join(QUANTILES[:5]) + "\n1,a,0,1,2,3,4\n2,a,0,1,2,3,4\n"
    )
    text = layers_page.layers("", Result(tmp_path, "run", {}))
    outer, inner = re.findall(r'd="M([^"]+)Z" class="area c0"', text)
    heights = [{float(point.split()[1]) for point in path.split("L")} for path in (outer, inner)]
    (middle,) = {float(y) for y in re.findall(r'd="M[0-9.]+ ([0-9.]+)L[^"]+" class="curve', text)}
    top, bottom = min(heights[0]), max(heights[0])
    step = (bottom - top) / 4
    np.testing.assert_allclose(sorted(heights[1]), [top + step, bottom - step], atol=0.1)
    np.testing.assert_allclose(middle, top + 2 * step, atol=0.1)


# -- curves and verdicts ---------------------------------------------------------------------------


def steps_of(card: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    """Recall `[K + 1]` and precision `[K]` of the steps that are drawn."""
    (line,) = (path for path in card.iter("path") if path.get("class") == "curve c0")
    across, down = np.array(re.findall(r"[ML]([0-9.]+) ([0-9.]+)", line.attrib["d"]), float).T
    left, right, bottom, top = 64.0, 408.0, 230.0, 10.0  # the axes' ends in the picture
    np.testing.assert_array_equal(down[::2], down[1::2])  # level, then straight up or down
    np.testing.assert_array_equal(across[1:-1:2], across[2::2])
    recall = (np.append(across[0], across[1::2]) - left) / (right - left)
    return recall, (bottom - down[::2]) / (bottom - top)


def test_precision_and_recall_are_those_of_scikit_learn(moons: Path) -> None:
    found = precision_recall(read_result(moons / "s0"), "test")
    run = read_result(moons / "s0")
    outputs, target = run.outputs("test"), run.predictions("test").texts("target") == "1"
    score = outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0)
    precision, recall, _ = precision_recall_curve(target, score)
    card = ElementTree.fromstring(class_charts.precision_recall(found, "t"))
    across, up = steps_of(card)
    highest = {float(r): i for i, r in enumerate(recall) if r > 0}  # the last of each recall
    np.testing.assert_allclose(across, [0.0, *sorted(highest)], atol=1e-3)
    np.testing.assert_allclose(up, [precision[highest[r]] for r in sorted(highest)], atol=1e-3)
    assert f"average precision {average_precision_score(target, score):.4f}" in words(card)


@pytest.mark.parametrize("size", [30, 5000])
def test_the_area_below_the_steps_is_the_average_precision(size: int) -> None:
    draw = np.random.default_rng(0)
    target = draw.random(size) < 0.4
    score = draw.normal(size=size) + 0.7 * target
    one = (Curve.of(Scored(score, target, score > 0)),)
    found = PrecisionRecall(Path("r"), "test", "a", 0.4, one, 0.5, None, False)
    across, up = steps_of(ElementTree.fromstring(class_charts.precision_recall(found, "t")))
    area = np.diff(across) @ up
    assert area == pytest.approx(average_precision_score(target, score), abs=1e-3)


def test_the_diagnosis_has_every_finding_and_the_next_step(moons: Path) -> None:
    from nnexp.analysis.diagnosing.diagnosis import diagnose

    told = diagnose(moons)
    found = words(ElementTree.fromstring(f"<div>{diagnosis(read_result(moons))}</div>"))
    assert all(" ".join(remark.text.split()) in found for remark in told.remarks)
    assert f"Next: {told.next.text}" in found


@pytest.mark.parametrize(
    ("told", "typed"),
    [
        ("Regularize: --set model.dropout=0.2 (or more).", ["--set model.dropout=0.2"]),
        ("Train on: --resume with --epochs.", ["--resume", "--epochs"]),
        ("Longer: --epochs 800.", ["--epochs 800"]),
        ('Keep it: --set "a={b: c/d, e: 10}".', ['--set "a={b: c/d, e: 10}"']),
        ("Compare them (nnexp compare), well-known.", ["nnexp compare"]),
    ],
)
def test_what_is_to_be_typed_stands_out(told: str, typed: list[str]) -> None:
    found = ElementTree.fromstring(f"<p>{join(with_code(told))}</p>")
    assert [code.text for code in found.iter("code")] == typed
    assert "".join(found.itertext()) == told


def test_a_curve_has_its_verdict_and_its_points(tmp_path: Path) -> None:
    from nnexp.cli.app import run as run_command

    (tmp_path / "m.yaml").write_text(MOONS.replace("epochs: 12", "epochs: 2"))
    command = ["curve", str(tmp_path / "m.yaml"), "--over", "data", "--values", "20,80"]
    command += ["--seeds", "2", "--workers", "1", "--quiet", "--out", str(tmp_path / "c")]
    assert run_command(command) == 0
    path = next((tmp_path / "c").glob("*/*"))
    summary = json.loads((path / "summary.json").read_text())
    found = sections(report([path]))
    told = found["How much more data would help"]
    assert summary["verdict"][1:] in told
    assert all(note[1:] in told for note in summary["notes"])
    for point in summary["points"]:
        assert re.search(rf"\b{point['value']} [01]\.[0-9]+ ±", told)
    manifest = next(path.glob("cells/*/manifest.json"))
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"status": "running"}))
    assert "is not finished" in report([path])


def test_a_schedule_that_only_ends_low_is_linear() -> None:
    epoch = np.arange(1.0, 21)
    falls = np.where(epoch < 20, 0.1, 1e-8)
    decays = 0.1 * 0.5**epoch
    ticks = [charts.course({"": [{"epoch": epoch, "lr": lr}]}, "lr") for lr in (falls, decays)]
    assert "1e-05" not in ticks[0]
    assert "1e-05" in ticks[1]
    assert charts.course({"": [{"epoch": epoch, "lr": 0 * epoch + 0.1}]}, "lr") == ""
    assert (
        charts.steady({"": [{"epoch": epoch, "lr": 0 * epoch + 0.1}]}, "lr") == "learning rate 0.1"
    )


def test_colours_of_a_comparison_stay_with_their_side() -> None:
    epoch = np.arange(1.0, 6)
    sides = {"A": [{"epoch": epoch}], "B": [{"epoch": epoch, "beta1": epoch / 10}]}
    text = charts.course(sides, "beta1")
    assert 'class="curve c1"' in text
    assert "c0" not in text


def test_what_is_wide_scrolls_within_the_page(moons: Path) -> None:
    """Tables and pictures of a fixed width stand in boxes that scroll, so that the page need not:
    a check of the structure; how it looks takes a browser.
    """
    page = parsed(report([moons]))
    boxes = [box for box in page.iter("div") if "wide" in (box.get("class") or "").split()]
    inside = {id(element) for box in boxes for element in box.iter("table")}
    assert {id(table) for table in page.iter("table")} == inside
    assert all("width" not in svg.attrib for svg in page.iter("svg"))
    style = next(page.iter("style")).text or ""
    assert ".wide{overflow-x:auto;max-width:100%}" in style
    assert cards([]) == ""
    assert "overflow-x:auto" in style.partition("pre{")[2].partition("}")[0]
    assert tag("img", src="x") == '<img src="x"/>'


@pytest.mark.parametrize(
    ("path", "is_said"),
    [
        ("optimizer.lr", True),
        ("optimizer.name", False),
        ("model.name", True),
        ("regularization.l2.coefficient", True),
        ("regularization.l2.biases", False),
        ("metrics.1.name", True),
        ("metrics.2.name", False),
        ("metrics.1.average", False),
    ],
)
def test_what_a_config_says_in_short_is_as_written(path: str, is_said: bool) -> None:
    config = {
        "model": "mlp",
        "optimizer": {"lr": 0.1},
        "regularization": {"l2": 1e-4},
        "metrics": ["accuracy", "f1"],
    }
    assert _is_said(path, dict(_plain(config))) == is_said
