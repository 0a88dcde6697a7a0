"""`nnexp neighbours`, `similarity`, `analogies`, `vectors` and `fill`: what word vectors know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson
from nnexp.errors import UsageError

WordRun = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run's or a group's directory, or a word2vec text file."),
]
OwnRun = Annotated[Path, typer.Argument(metavar="RUN", help="A run's or a group's directory.")]
Member = Annotated[
    int | None, typer.Option(min=0, help="Which of a group's members. [default: the first]")
]
Count = Annotated[int, typer.Option("-k", min=1, metavar="K", help="How many words.")]


def neighbours(
    run: WordRun,
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="Words of the text.")],
    k: Count = 10,
    member: Member = None,
    as_json: AsJson = False,
) -> None:
    """Show the words whose vectors are nearest, by their cosine.

    \b
    Example:
      nnexp neighbours runs/litbank/2026-11-20T10-15-02-3f9a sea walked -k 5
    """
    from nnexp.analysis.words.vectors import vectors_at

    vectors = vectors_at(run, member)
    rows = {word: vectors.row(word) for word in words}  # all are known before any is shown
    found = {word: vectors.neighbours(word, k) for word in rows}
    if as_json:
        shown = {
            word: [{"word": other, "cosine": cosine} for other, cosine in near]
            for word, near in found.items()
        }
        console.say_json({"run": run, "neighbours": shown})
        return
    for word, near in found.items():
        cells = [[other, f"{cosine:.3f}"] for other, cosine in near]
        console.say_table([word, "cosine"], cells, right=[1])


def similarity(
    run: WordRun,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Two words and a score a line (csv, tsv, …).")
    ],
    member: Member = None,
    as_json: AsJson = False,
) -> None:
    """Hold word vectors against people's judgement.

    That is a file with a score for each pair; the result is the rank correlation with it.

    \b
    Example:
      nnexp similarity runs/litbank/2026-11-20T10-15-02-3f9a wordsim353.tsv
    """
    from nnexp.analysis.words.quality import similarity as measure
    from nnexp.analysis.words.vectors import vectors_at

    found = measure(vectors_at(run, member), file)
    if as_json:
        counts = {"known": found.known, "pairs": found.pairs, "unknown": found.unknown}
        console.say_json({"run": run, "file": file, "spearman": found.correlation, **counts})
        return
    console.say(
        f"Spearman's rank correlation {found.correlation:.3f}, over {found.known} of "
        f"{console.count(found.pairs, 'pair')}"
    )
    if found.unknown:
        some = ", ".join(found.unknown[:8]) + (", …" if len(found.unknown) > 8 else "")
        console.note(f"not in the vocabulary: {some}")


def analogies(
    run: WordRun,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Four words a line, in sections `: name`.")
    ],
    member: Member = None,
    as_json: AsJson = False,
) -> None:
    """Answer "a is to b as c is to …", and count the right answers.

    The answer is the word nearest to b − a + c. Questions with an unknown word are left out.

    \b
    Example:
      nnexp analogies runs/litbank/2026-11-20T10-15-02-3f9a questions-words.txt
    """
    from nnexp.analysis.words.quality import analogies as measure
    from nnexp.analysis.words.quality import total
    from nnexp.analysis.words.vectors import vectors_at

    sections = measure(vectors_at(run, member), file)
    whole = total(sections)
    if as_json:
        shown = [section.to_json() for section in sections]
        console.say_json({"run": run, "file": file, "total": whole.to_json(), "sections": shown})
        return
    rows = []
    for section in (*sections, whole):
        share = "–" if section.accuracy is None else f"{section.accuracy:.1%}"
        numbers = (section.right, section.known, section.asked)
        rows.append([section.name, share, *(f"{number:,}" for number in numbers)])
    console.say_table(["section", "right", "", "known", "asked"], rows, right=[1, 2, 3, 4])


def vectors(
    run: OwnRun,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write.")],
    member: Member = None,
) -> None:
    """Write word vectors as text, in word2vec's format.

    The first line has the numbers of words and of dimensions, each other one a word and its vector.

    \b
    Example:
      nnexp vectors runs/litbank/2026-11-20T10-15-02-3f9a -o vectors.txt
    """
    if not out.absolute().parent.is_dir():
        raise UsageError(f"-o: there is no folder {out.parent}")
    if out.is_dir():
        raise UsageError(f"-o: {out} is a folder")
    from nnexp.analysis.words.vectors import vectors_of, write_word2vec

    found = vectors_of(run, member)
    write_word2vec(found, out)
    size, width = found.matrix.shape
    console.note(f"{console.count(size, 'word')}, {console.count(width, 'number')} each")
    console.say_path(out)


def fill(
    run: OwnRun,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Words, with a _ where one lacks.")],
    k: Count = 10,
    member: Member = None,
    as_json: AsJson = False,
) -> None:
    """Guess the word that is missing from a sentence (cbow).

    \b
    Example:
      nnexp fill runs/cbow/2026-11-20T10-15-02-3f9a "the ship put out to _ again"
    """
    from nnexp.analysis.words.fill import fill as guess

    found = guess(run, text, k, member)
    if found.unknown:
        console.note(f"not in the vocabulary: {', '.join(found.unknown)}", "warning")
    if as_json:
        words = [{"word": word, "probability": chance} for word, chance in found.words]
        about = {"context": found.context, "unknown": found.unknown, "rest": found.rest}
        console.say_json({"run": run, "text": text, **about, "words": words})
        return
    rows = [[word, f"{chance:.1%}"] for word, chance in found.words]
    console.say_table(["word", "probability"], rows, right=[1])
    console.say(f"all words that are not in the vocabulary: {found.rest:.1%}", "dim")
