"""Pictures as matplotlib Figures: each function takes arrays and returns a Figure, no file.

A function lives in the module of its own name, `from nnexp.report.figures.curves import curves`:

    curves(histories: Mapping[str, Sequence[History]], metric: str | Sequence[str],
           gap: bool = False) -> Figure
        Metrics against the epoch, on train and dev, of runs (one history) and groups (several).
    schedule(epochs: Array, values: Mapping[str, Array], title: str = "",
             recorded: Mapping[str, tuple[Array, Array]] | None = None) -> Figure
        Learning rate, momentum … against the epoch `[T]`, a panel each; a value is `[T]`, `[M, T]`.
    confusion(counts: Array, classes: Sequence[str], title: str = "") -> Figure
        Counts `[C, C]`, the truth down and the answer across, with the share of each row.
    calibration(probabilities: Array, targets: Array, title: str = "", bins: int = 15,
                times: float = 1.0) -> Figure
        Probabilities `[N, C]` against class numbers `[N]`: a reliability diagram.
    precision_recall(found: PrecisionRecall, title: str = "") -> Figure
        Precision against recall of a class or label, of each member and their mean.
    residuals(targets: Array, predictions: Array, names: Sequence[str], title: str = "") -> Figure
        Predicted against true values, both `[N, O]`, a column an output.
    layers(table: Table, title: str = "") -> Figure
        Quantiles of each layer's outputs and gradients against the epoch, a panel each.
    filters(weights: Array, title: str = "") -> Figure
        First-layer weights `[F, C, H, W]` as small images.
    boundary(region: Region, points: Array, targets: Array, names: Sequence[str],
             classes: Sequence[str] | None, title: str = "") -> Figure
        What models answer over a plane, and the examples `[N, 2]` on it.
    words(places: Array, names: Sequence[str], shares: tuple[float, float], title: str = "")
             -> Figure
        Words at their places `[V, 2]` along the two main directions of their embeddings.
    surface(landscape: Landscape, paths: Mapping[str, Array]) -> Figure
        The paths `[T, 2]` of optimizers over a loss of two parameters; `animation` beside it.
    learning_curve(over: str, values: Array, scores: Mapping[str, Array], metric: str,
                   title: str = "") -> Figure
        Scores `[P, M]` of M members at P amounts of data, or sizes of the net, with intervals.

`style.save(figure, path)` writes PNG, SVG or PDF by the ending of the path. What they draw comes
from `nnexp.analysis` (pictures: answers, schedules; precision_recall; layers; landscapes; vectors),
`nnexp.runs.inside` (filters, planes) and `nnexp.search.curve`.
"""
