"""Sequences from files: running text in windows, and tables with a column of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.components.datasets import Sequences, Text
from nnexp.components.preprocessing import Ordinal, Tokenize
from nnexp.components.preprocessing.columns import Kinds
from nnexp.components.preprocessing.step import TrainingRows
from nnexp.components.table import Features, Table
from nnexp.components.tokens import Unit, tokens_of
from nnexp.data.prepare import default_steps, prepare
from nnexp.data.splits import Split
from nnexp.errors import DataError
from nnexp.registry import choose

ALPHABET = "abcdefghijklmnopqrstuvwxyz" * 4


def text(tmp_path: Path, content: str = ALPHABET, encoding: str = "utf-8", **fields: Any) -> Table:
    (tmp_path / "a.txt").write_bytes(content.encode(encoding))
    return Text(path="a.txt", **fields).load(tmp_path)


def sequences(tmp_path: Path, content: str, **fields: Any) -> Table:
    (tmp_path / "a.csv").write_text(content)
    return Sequences(path="a.csv", **fields).load(tmp_path)


def windows(table: Table) -> list[str]:
    return [str(value) for value in table.features.categorical[:, 0]]


def followers(table: Table) -> list[str]:
    """The targets of each window, put together."""
    assert table.classes is not None
    return ["".join("?" if i < 0 else table.classes[i] for i in row) for row in table.target]


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("token", ["It's", "5", "o'clock,", "Änne!"]),
        ("word", ["It", "'", "s", "5", "o", "'", "clock", ",", "Änne", "!"]),
        ("character", list("It's 5 o'clock,\nÄnne!")),
    ],
)
def test_what_tokens_are(unit: Unit, expected: list[str]) -> None:
    assert tokens_of("It's 5 o'clock,\nÄnne!", unit) == expected
    assert tokens_of("", unit) == []


# -- running text ----------------------------------------------------------------------------------


def test_the_target_is_the_next_character(tmp_path: Path) -> None:
    table = text(tmp_path, length=5, dev=0, test=0)
    assert windows(table)[:3] == ["abcde", "fghij", "klmno"]
    assert followers(table)[:3] == ["bcdef", "ghijk", "lmnop"]
    assert table.task == "dense"
    assert table.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert table.ids.tolist()[:3] == [0, 5, 10]
    assert len(table) == 20  # 104 characters: 20 windows with 1 that follows
    assert table.parts == {}
    assert [len(file.sha256) for file in table.files] == [64]


@given(
    st.integers(10, 200),
    st.integers(1, 9),
    st.none() | st.integers(1, 12),
    st.sampled_from([0.0, 0.2, 0.3]),
    st.sampled_from([0.0, 0.2, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_no_token_is_in_two_parts(
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    length: int,
    stride: int | None,
    dev: float,
    test: float,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = "".join(map(chr, range(0x4E00, 0x4E00 + size)))  # every character once
    fields: dict[str, Any] = {"length": length, "stride": stride, "dev": dev, "test": test}
    try:
        table = text(folder, content, **fields)
    except DataError as error:
        assert "fewer than a window" in str(error)  # noqa: PT017
        smallest = min(size * share for share in (dev, test, 1 - dev - test) if share)
        assert smallest <= length + 2
        return
    whole = table.parts or {"train": np.arange(len(table))}
    assert sum(map(len, whole.values())) == len(table)
    assert set(whole) == {"train"} | {p for p, s in (("dev", dev), ("test", test)) if s}
    shown, followed = windows(table), followers(table)
    seen = {p: set("".join(shown[r] + followed[r] for r in rows)) for p, rows in whole.items()}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))
    for a, b in zip(shown, followed, strict=True):
        assert content[content.index(a) + 1 :][:length] == b
    order = [ord(min(seen[part])) for part in ("train", "dev", "test") if part in seen]
    assert order == sorted(order)


def test_words_and_a_limited_vocabulary(tmp_path: Path) -> None:
    content = "The cat sat. The dog sat. A cow sat.\n" * 3
    table = text(tmp_path, content, unit="word", length=4, lower=True, vocabulary=3, dev=0, test=0)
    assert table.classes == (".", "sat", "the", "(other tokens)")
    assert windows(table)[:2] == ["the cat sat .", "the dog sat ."]
    assert followers(table)[0] == "(other tokens)sat.the"
    table = text(tmp_path, content, unit="token", length=4, dev=0, test=0)
    assert windows(table)[0] == "The cat sat. The"
    assert table.sequences == {"text": ("token", 4)}


def test_several_files_are_one_text(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("abcde")
    (tmp_path / "2.txt").write_bytes(b"fgh\r\nij\rkl")
    source = Text(path=["1.txt", "2.txt"], length=4, dev=0, test=0)
    table = source.load(tmp_path)
    assert windows(table) == ["abcd", "e\nfg", "h\nij"]
    assert followers(table) == ["bcde", "'\\n'fgh", "'\\n'ij'\\n'"]
    assert len(table.files) == 2
    assert source.with_paths(tmp_path).load().fingerprint == table.fingerprint
    assert source.with_paths(tmp_path).path == [str(tmp_path / n) for n in ("1.txt", "2.txt")]


def test_another_text_is_read_with_the_same_classes(tmp_path: Path) -> None:
    source = Text(path="a.txt", length=4)
    resolved = source.resolved(text(tmp_path, length=4)).with_paths(tmp_path)
    (tmp_path / "b.txt").write_text("abc# xyz!abcd")
    other = resolved.at(tmp_path / "b.txt").load()
    assert other.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert windows(other) == ["abc#", " xyz", "!abc"]
    assert followers(other) == ["bc??", "xyz?", "abcd"]
    assert other.notes == ("text: 3 positions without a target: unknown there",)
    assert other.parts == {}
    limited = source.model_copy(update={"vocabulary": 20, "tokens": list("ab")})
    assert followers(limited.at(tmp_path / "b.txt").load())[0] == "b" + "(other tokens)" * 3


def test_a_resolved_text_is_read_as_before(tmp_path: Path) -> None:
    odd = "a\u2028b\x85c\td\\e'f\"g:h- i#j\ufeffk\U0001f600" * 5
    first = text(tmp_path, odd, length=7)
    source = Text(path="a.txt", length=7).resolved(first)
    again = choose(Text, json.loads(json.dumps(source.dump()))).load(tmp_path)  # type: ignore[attr-defined]
    assert again.classes == first.classes
    assert np.array_equal(again.target, first.target)


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        ("abc", {}, "a.txt: has 2 tokens in the train part, fewer than a window of 64"),
        ("", {"dev": 0, "test": 0}, "a.txt: has 0 tokens, fewer than a window of 64"),
        (ALPHABET, {"length": 20}, "has 11 tokens in the dev part, fewer than a window of 20"),
        (ALPHABET, {"dev": 0.5, "test": 0.5}, "dev and test leave nothing to train on"),
        (ALPHABET + "\0", {}, "a.txt:1: holds a NUL character"),
        (ALPHABET, {"path": "c.txt"}, "c.txt: no such file; did you mean a.txt?"),
    ],
)
def test_a_text_that_can_not_be_used_is_told(
    tmp_path: Path, content: str, fields: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError) as caught:
        Text(**{"path": "a.txt", **fields}).load(tmp_path)
    assert message in str(caught.value)


def test_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a.txt:2: is not utf-8 text \(byte 0xe4\); set `encoding`"
    ):
        text(tmp_path, "fine\nMänner" * 50, encoding="latin-1")
    found = Text(path="a.txt", encoding="latin-1", length=5).load(tmp_path)
    assert "ä" in (found.classes or ())
    utf16 = text(tmp_path, "Männer" * 50, encoding="utf-16", length=5)
    assert utf16.inferred["encoding"] == "utf-16"
    with pytest.raises(ValueError, match="there is no such encoding"):
        Text(path="a.txt", encoding="klingon")


def test_one_distinct_token_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    table = text(tmp_path, "a" * 300, length=5)
    parts = Split().assign(table, tmp_path)
    with pytest.raises(DataError, match="one class only, a, in 47 training examples"):
        prepare(table, parts, default_steps(table))


def test_the_text_is_split_as_the_source_has_it(tmp_path: Path) -> None:
    table = text(tmp_path, ALPHABET * 5, length=8)
    parts = Split().assign(table, tmp_path)
    assert {part: rows.tolist() for part, rows in parts.items()} == {
        part: rows.tolist() for part, rows in table.parts.items()
    }
    found = prepare(table, parts, default_steps(table))
    assert found.pipeline.codes == (28,) * 8
    assert found.inputs is not None
    assert np.array_equal(found.inputs[:, 1:] - 2, found.targets[:, :-1])


# -- tables of sequences ---------------------------------------------------------------------------


def test_a_class_for_each_sequence(tmp_path: Path) -> None:
    table = sequences(tmp_path, "s,kind\nb a a,up\na,down\n,up\n")
    assert table.task == "classification"
    assert table.classes == ("down", "up")
    assert table.target.tolist() == [1, 0, 1]
    assert table.features.categorical[:, 0].tolist() == ["b a a", "a", None]
    assert table.sequences == {"s": ("token", 3)}
    (step,) = default_steps(table)
    assert step == Tokenize(columns=["s"], unit="token", length=3)
    found = prepare(table, {"train": np.arange(3)}, [step])
    assert found.inputs is not None
    assert found.inputs.tolist() == [[3, 2, 2], [2, 0, 0], [0, 0, 0]]
    assert found.notes == ("s: no token, taken as padding (1 row)",)


def test_a_number_for_each_sequence(tmp_path: Path) -> None:
    table = sequences(tmp_path, "s,x\nb a,0.5\na,1.5\nc,2.5\n")
    assert table.task == "regression"
    assert table.inferred["target_type"] == "regression"
    with pytest.raises(DataError, match=r"a.csv:3: target x has no value"):
        sequences(tmp_path, "s,x\nb a,0.5\na,\nc,2.5\n")


def test_a_class_for_each_token(tmp_path: Path) -> None:
    content = "words;tags;note\nthe cat sat;D N V;x\nit ran;P V;y\n;;z\n"
    fields = {"text": "words", "target": "tags", "labels": "per_token"}
    table = sequences(tmp_path, content, **fields)
    assert table.task == "dense"
    assert table.classes == ("D", "N", "P", "V")
    assert table.target.tolist() == [[0, 1, 3], [2, 3, -1], [-1, -1, -1]]
    assert table.notes == ("sequences: columns that are not used: note",)
    cut = sequences(tmp_path, content, length=2, **fields)
    assert cut.target.tolist() == [[0, 1], [2, 3], [-1, -1]]


def test_another_file_has_the_positions_of_training(tmp_path: Path) -> None:
    source = Sequences(path="a.csv", text="s", target="t", labels="per_token")
    first = sequences(tmp_path, "s,t\na b,x y\nb,x\n", text="s", target="t", labels="per_token")
    (tmp_path / "b.csv").write_text("s,t\na b c d,x y y x\n")
    other = source.resolved(first).at(tmp_path / "b.csv").load()
    assert other.target.tolist() == [[0, 1]]
    assert other.sequences == first.sequences == {"s": ("token", 2)}
    (tmp_path / "c.csv").write_text("s\na b c d\n")
    without = source.resolved(first).at(tmp_path / "c.csv").load(labelled=False)
    assert without.target.shape == (1, 0)
    assert windows(without) == ["a b c d"]


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (
            "s,t\na b,x y\na b c,x y\n",
            {"labels": "per_token"},
            "a.csv:3: has 3 tokens and 2 labels",
        ),
        ("s,t\na,x\n,y\n", {"labels": "per_token"}, "a.csv:3: has 0 tokens and 1 label;"),
        ("s,t\na,x\n", {"text": "u"}, "a.csv: text: there is no column u (there are: s, t)"),
        ("s,t\na,x\n", {"target": "u"}, "target: there is no column u"),
        ("s,t\na,x\n", {"target": "s"}, "column s is both text and target"),
        ("s\na\n", {}, "column s is both text and target"),
        ("", {}, "a.csv: is empty"),
        ("s,t\n", {}, "a.csv: has a header but no rows"),
        ("s,t\na,x\nb\n", {}, "a.csv:3: has 1 fields"),
        ("s,t\na,x\n", {"labels": "per_token", "target_type": "regression"}, "is a class"),
        ("s,t\na,x\nb,y\n", {"target_type": "regression"}, "holds text, such as 'x'"),
    ],
)
def test_a_table_that_can_not_be_used_is_told(
    tmp_path: Path, content: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        sequences(tmp_path, content, **fields)
    assert message in str(caught.value)


# -- steps -----------------------------------------------------------------------------------------


def column(*texts: str | None) -> Features:
    values = np.array(texts, object)[:, None]
    return Features(np.empty((len(texts), 0)), (), values, ("t",))


def fitted(step: Any, features: Features, rows: int) -> Any:
    index = np.arange(rows)
    return step.fit(TrainingRows(features, index, np.zeros(rows, np.int64)))


def test_tokens_are_cut_padded_and_unknown() -> None:
    features = column("b a b", "a", "b c a b a", None, " ")
    step = Tokenize(unit="token")
    state = fitted(step, features, 2)
    assert state == {"column": "t", "vocabulary": ["a", "b"], "length": 3, "notes": []}
    found = step.apply(features, state)
    assert found.names == ("t:0", "t:1", "t:2")
    assert found.numeric[:].tolist() == [[3, 2, 3], [2, 0, 0], [3, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert step.codes(state) == dict.fromkeys(found.names, 4)
    assert step.unusual(features, state) == {
        "t: no token, taken as padding": 2,
        "t: longer than 3 tokens, and cut": 1,
        "t: holds unknown tokens": 1,
    }


def test_a_vocabulary_keeps_the_most_frequent() -> None:
    features = column("c c b B a", "b c")
    step = Tokenize(unit="token", vocabulary=2, lower=True, length=4)
    state = fitted(step, features, 2)
    assert state["vocabulary"] == ["b", "c"]
    assert state["notes"] == [
        "tokenize: t: 0.143 of the training's tokens are beyond the vocabulary, and unknown"
    ]
    assert step.apply(features, state).numeric[:].tolist() == [[3, 3, 2, 2], [2, 3, 0, 0]]
    tied = fitted(Tokenize(unit="character", vocabulary=2), column("dcba"), 1)
    assert tied["vocabulary"] == ["a", "b"]


def test_text_without_a_token_or_in_several_columns_is_told() -> None:
    with pytest.raises(DataError, match="tokenize: t holds no token in training"):
        fitted(Tokenize(), column(None, "", "a"), 2)
    problem = Tokenize().problem(Kinds(text=("a", "b")))
    assert problem == "reads one column of text, not a, b: name it in `columns`"
    assert Tokenize(columns=["a"]).problem(Kinds(text=("a", "b"))) is None
    assert Tokenize().problem(Kinds(numeric=("x",))) == "there is no text column"
    numeric = Tokenize(columns=["x"]).problem(Kinds(numeric=("x",), text=("a",)))
    assert numeric == "columns: x holds numbers; it needs text"


def test_rare_categories_are_unknown() -> None:
    features = column("b", "a", "b", None, "a", "c", "new")
    state = fitted(Ordinal(min_frequency=2), features, 6)
    assert state["categories"] == {"t": ["a", "b"]}
    step = Ordinal(min_frequency=2)
    assert step.apply(features, state).flat()[:, 0].tolist() == [3, 2, 3, 0, 2, 1, 1]
    assert step.codes(state) == {"t": 4}
    assert step.unusual(features, state) == {
        "t: category unseen or rare, taken as unknown": 2,
    }
    state = fitted(Ordinal(), features, 6)
    assert Ordinal().unusual(features, state) == {
        "t: category unseen in training, taken as unknown": 1,
    }
