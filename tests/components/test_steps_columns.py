"""Which columns a step sees, where its results stand, and what is foretold before any fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnexp.components.preprocessing import Center, Impute, Log1p, OneHot, Pca, Standardize
from nnexp.components.preprocessing.columns import Kinds, chosen, may_match, placed
from nnexp.components.preprocessing.step import TrainingRows, apply_steps
from nnexp.components.table import Features
from nnexp.data.prepare import check_steps
from nnexp.errors import DataError

NUMERIC = ("temp_in", "temp_out", "rain", "we[i]rd*")
TEXT = ("city", "street")
BOTH = ("numeric", "categorical")


def weather(n=12):
    rng = np.random.default_rng(0)
    words = np.array([["Paris", "a"], ["Rome", "b"], ["Oslo", "c"]], object)[np.arange(n) % 3]
    return Features(rng.random((n, 4)) + 1, NUMERIC, words, TEXT)


def run(steps, features=None):
    """The features after all steps, each fitted on what those before it gave."""
    features = weather() if features is None else features
    fitted = []
    for step in steps:
        index = np.arange(len(features))
        rows = TrainingRows(features, index, np.zeros(len(features), np.int64), tuple(fitted))
        fitted.append((step, step.fit(rows)))
    return apply_steps(fitted, features)


class TestChoice:
    @pytest.mark.parametrize(
        ("columns", "places"),
        [
            (["temp_*"], ((0, 1), ())),
            (["rain", "temp_in", "rain"], ((0, 2), ())),
            (["numeric"], ((0, 1, 2, 3), ())),
            (["categorical"], ((), (0, 1))),
            (["*i*"], ((0, 2, 3), (0,))),
            (["we[i]rd*"], ((3,), ())),
            (["numeric", "city"], ((0, 1, 2, 3), (0,))),
        ],
    )
    def test_names_globs_and_kinds(self, columns, places):
        assert chosen(tuple(columns), BOTH, NUMERIC, TEXT) == places

    def test_a_glob_leaves_out_what_does_not_suit(self):
        assert chosen(("*",), ("numeric",), NUMERIC, TEXT) == ((0, 1, 2, 3), ())
        assert chosen(("*",), ("categorical",), NUMERIC, TEXT) == ((), (0, 1))

    @pytest.mark.parametrize(
        ("entry", "suits", "message"),
        [
            ("tmp_in", BOTH, "columns: no column matches tmp_in; did you mean temp_in?"),
            ("tmp_*", BOTH, "columns: no column matches tmp_*"),
            ("rains*", BOTH, "columns: no column matches rains*; did you mean rain?"),
            ("city", ("numeric",), "columns: city holds text; it needs numbers"),
            ("rain", ("categorical",), "columns: rain holds numbers; it needs text"),
            ("c*", ("numeric",), "columns: c* means columns of text; it needs numbers"),
            ("categorical", ("numeric",), "categorical means columns of text; it needs numbers"),
        ],
    )
    def test_what_matches_nothing_is_told(self, entry, suits, message):
        with pytest.raises(DataError) as caught:
            chosen((entry,), suits, NUMERIC, TEXT)
        assert message in str(caught.value)

    def test_a_kind_that_is_not_there(self):
        with pytest.raises(DataError, match="there is no column that holds text"):
            chosen(("categorical",), BOTH, NUMERIC, ())

    def test_what_earlier_steps_make_is_let_pass(self):
        made = ("city=*", "pc*")
        for entry in ("city=Paris", "city=*", "c*", "pc1", "*", "numeric"):
            assert chosen((entry,), ("numeric",), (), (), made) == ((), ())
        for entry in ("town=Paris", "town*", "p"):
            with pytest.raises(DataError, match="no column matches"):
                chosen((entry,), ("numeric",), (), (), made)
        with pytest.raises(DataError, match="no column matches"):
            chosen(("city=Paris",), ("categorical",), (), (), made)

    @given(st.text("ab*?", max_size=4), st.text("ab", max_size=4))
    def test_a_glob_that_matches_a_made_name_may_match_its_glob(self, entry, tail):
        from fnmatch import fnmatchcase

        name = f"pc{tail}"
        for asked in (entry, f"p{entry}", name):
            if fnmatchcase(name, asked):
                assert may_match(asked, "pc*")


names = st.lists(st.sampled_from("abcde"), unique=True).map(tuple)


class TestPlaces:
    def test_by_hand(self):
        assert placed(("a", "b", "c"), ("a", "c"), ("a", "c")) == ((3, 1, 4), ("a", "b", "c"))
        assert placed(("a", "b", "c"), ("a", "c"), ("pc1",)) == ((1, 3), ("b", "pc1"))
        # pc1 is another step's: the new one gets a number
        assert placed(("b", "pc1"), ("b",), ("pc1", "pc2")) == ((1, 2, 3), ("pc1", "pc1_2", "pc2"))
        assert placed((), (), ("a", "a", "a_2")) == ((0, 1, 2), ("a", "a_2", "a_2_2"))

    @given(names, st.data(), st.lists(st.sampled_from("abcdexy")).map(tuple))
    def test_nothing_is_lost_or_named_twice(self, before, data, found):
        seen = tuple(n for n in before if data.draw(st.booleans()))
        order, after = placed(before, seen, found)
        assert len(set(after)) == len(after) == len(order) == len(set(order))
        untouched = {place for place, name in enumerate(before) if name not in seen}
        assert set(order) == untouched | {len(before) + i for i in range(len(found))}
        stay = [name for name in before if name not in seen or name in found]
        assert list(after[: len(stay)]) == stay


class TestSteps:
    def test_elementwise_steps_keep_places(self):
        out = run([Center(columns=["temp_out", "rain"])])
        assert out.names == NUMERIC
        assert out.categorical_names == TEXT
        x = weather().numeric
        np.testing.assert_array_equal(out.numeric[:, [0, 3]], x[:, [0, 3]])
        np.testing.assert_allclose(out.numeric[:, [1, 2]], (x - x.mean(axis=0))[:, [1, 2]])

    def test_projections_stand_at_the_end_and_names_stay_unique(self):
        out = run([Pca(columns=["temp_*"]), Pca(columns=["rain", "we[i]rd*"])])
        assert out.names == ("pc1", "pc2", "pc1_2", "pc2_2")
        first = run([Pca(columns=["temp_*"])])
        assert first.names == ("rain", "we[i]rd*", "pc1", "pc2")
        np.testing.assert_array_equal(out.numeric[:, :2], first.numeric[:, 2:])

    def test_columns_of_an_earlier_step_can_be_chosen(self):
        steps = [OneHot(columns=["city"]), Standardize(columns=["city=Paris", "temp_*"])]
        out = run(steps)
        assert out.categorical_names == ("street",)
        assert out.names == (*NUMERIC, "city=Oslo", "city=Paris", "city=Rome")
        np.testing.assert_allclose(out.numeric.mean(axis=0)[[0, 1, 5]], 0, atol=1e-12)
        assert set(out.numeric[:, 4]) == {0, 1}
        with pytest.raises(
            DataError, match="standardize: columns: no column matches city=Pari; did you mean"
        ):
            run([OneHot(), Standardize(columns=["city=Pari"])])

    def test_imputing_some_columns_leaves_the_gaps_of_others(self):
        features = weather()
        features.numeric[0] = np.nan
        features.categorical[0] = None
        out = run([Impute(columns=["temp_in", "street"], indicator=True)], features)
        assert out.names == (*NUMERIC, "temp_in is missing")
        assert np.isnan(out.numeric[0]).tolist() == [False, True, True, True, False]
        assert out.categorical[0].tolist() == [None, "b"]

    def test_names_that_a_step_would_give_twice(self):
        words = np.array([["b=c", "c"], ["b=d", "d"]], object)
        out = run([OneHot()], Features(np.zeros((2, 0)), (), words, ("a", "a=b")))
        assert out.names == ("a=b=c", "a=b=d", "a=b=c_2", "a=b=d_2")

    def test_columns_are_a_list_that_is_not_empty(self):
        with pytest.raises(ValueError, match="columns"):
            Center(columns=[])
        with pytest.raises(ValueError, match="columns"):
            Center(columns="numeric")


class TestBeforeAnyFit:
    @pytest.mark.parametrize(
        ("steps", "found"),
        [
            ([OneHot(columns=["city"])], [(1, "columns street hold text: add `one_hot`")]),
            ([OneHot(columns=["city"]), OneHot(columns=["street"])], []),
            ([OneHot(), Center(columns=["city=Paris"])], []),
            ([OneHot(), Center(columns=["town=Paris"])], [(1, "no column matches town=Paris")]),
            ([OneHot(), OneHot()], [(1, "there is no text column")]),
            ([Pca(columns=["temp_*"]), Center(columns=["temp_in"]), OneHot()], [(1, "no column")]),
            ([Pca(), Pca(columns=["pc1", "pc2"]), OneHot()], []),
            ([OneHot(columns=["cty", "street"])], [(0, "cty; did you mean city?")]),
            ([Center(columns=["city"]), OneHot()], [(0, "city holds text; it needs numbers")]),
            ([Impute(columns=["rain"]), OneHot()], [(2, "missing values in temp_in: add")]),
            (
                [Impute(columns=["rain"]), Log1p(columns=["numeric"]), OneHot()],
                [(1, "missing values in temp_in: put `impute` before it")],
            ),
            ([Log1p(columns=["temp_out"]), Impute(), OneHot()], []),
            ([Impute(indicator=True), Center(columns=["temp_in is missing"]), OneHot()], []),
            ([Impute(), Center(columns=["temp_in is missing"]), OneHot()], [(1, "no column")]),
        ],
    )
    def test_what_does_not_suit_is_told(self, steps, found):
        features = weather()
        gaps = any(isinstance(step, Impute) for step in steps)
        features.numeric[3, [0, 2]] = np.nan if gaps else 1.0
        problems = check_steps(steps, features)
        assert [number for number, _ in problems] == [number for number, _ in found]
        for (_, message), (_, part) in zip(problems, found, strict=True):
            assert part in message

    def test_images_have_no_columns(self):
        images = Features.of(np.zeros((3, 1, 2, 2)))
        problems = check_steps([Center(columns=["numeric"]), Center()], images)
        assert problems == [
            (0, "`columns` chooses from the columns of a table, and an image has none")
        ]

    @given(st.data())
    def test_what_is_foretold_comes_true(self, data):
        """Steps that suit the columns can be fitted, and leave what was said."""
        column = st.sampled_from(["temp_*", "rain", "city", "street", "numeric", "pc*", "*=*", "*"])
        choice = st.none() | st.lists(column, min_size=1, max_size=2)
        kind = st.sampled_from([Center, Impute, OneHot, Pca])
        steps = [
            data.draw(kind)(columns=data.draw(choice)) for _ in range(data.draw(st.integers(1, 3)))
        ]
        features, kinds = weather(), Kinds(NUMERIC, TEXT)
        for step in steps:
            if step.problem(kinds) is not None:
                return
            kinds = step.after(kinds)
        try:
            out = run(steps, features)
        except DataError as error:  # only what steps make is known later
            if "no column matches" not in str(error):
                raise
            return
        assert out.categorical_names == kinds.text
        assert out.names[: len(kinds.numeric)] == kinds.numeric
        made = out.names[len(kinds.numeric) :]
        assert all(any(may_match(name, glob) for glob in kinds.made) for name in made)
