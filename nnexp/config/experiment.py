"""The whole of a config file, as checked and frozen objects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from nnexp.components.augmentations.base import Augmentation
from nnexp.components.augmentations.warp import Border
from nnexp.components.baselines import Baseline
from nnexp.components.datasets import Dataset
from nnexp.components.inits import Auto, Initializer
from nnexp.components.losses.loss import Loss, Task
from nnexp.components.metrics.metric import Metric
from nnexp.components.models.model import Model
from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.components.optimizers.rules import Adam
from nnexp.components.preprocessing.step import Step
from nnexp.components.regularizers import Regularizer
from nnexp.components.samplers import Sampler, Uniform
from nnexp.components.schedules import ConstantRate, Schedule
from nnexp.config.sweep import Sweep
from nnexp.data.splits import Split, Splitter
from nnexp.data.variation import Corruption
from nnexp.registry import KeyedBy, OneOf, Spec, param, rule

Count = Annotated[int, Field(ge=1, le=2**53)]
Pieces = Annotated[int, Field(ge=1, le=100_000)]


class Data(Spec):
    """Where the examples come from and how they are split."""

    source: OneOf[Dataset] = param(..., "the data set: a builtin's name, or a file's description")
    split: OneOf[Splitter] = param(Split(), "which examples train, which choose (dev), which test")
    scale_target: bool | None = param(
        None,
        "standardize regression targets for training (metrics stay in the target's units)",
        when="null: yes for regression",
    )
    subset: int | float | None = param(
        None,
        "train on so many of the training examples (from 1), or on a share of them (below 1)",
        when="null: all",
        also=("train_size", "max_examples", "limit"),
    )
    label_noise: float = param(
        0.0,
        "share of the training examples with a wrong target: another class, or another example's",
        ge=0,
        le=1,
        also=("noisy_labels",),
    )
    shuffle_labels: bool = param(
        False,
        "permute the training targets, so that they can only be memorized",
        also=("random_labels",),
    )
    corruption: Corruption | None = param(None, "make the prepared inputs worse")

    @field_validator("subset")
    @classmethod
    def _count_or_share(cls, value: int | float | None) -> int | float | None:
        if isinstance(value, float) and value == 1.0:
            raise rule(
                "1.0 could mean one example or all of them",
                allowed="1 (one example), a share such as 0.1, or null (all of them)",
            )
        if value is not None and (value <= 0 or (isinstance(value, float) and value > 1)):
            raise rule("is neither a count nor a share", "a count from 1, or 0 < share < 1")
        return value


class EarlyStopping(Spec):
    """Stop a member once a dev metric no longer improves, and keep its best weights."""

    monitor: str = param("dev/loss", "metric that is watched, as in metrics.csv")
    patience: int = param(
        10, "epochs without improvement before stopping", unit="epochs", ge=0, le=100_000
    )
    min_delta: float = param(0.0, "smallest change that counts as improvement", ge=0, le=1e6)
    smooth: float = param(
        0.0, "β of a bias-corrected running average of the metric; 0: none", ge=0, lt=1
    )


class Training(Spec):
    """How long, in what portions, and with what arithmetic."""

    epochs: int = param(20, "passes over the training split", unit="epochs", ge=1, le=10_000_000)
    steps: int | None = param(
        None,
        "updates after which training ends, in place of `epochs`",
        unit="updates",
        ge=1,
        le=10**12,
        also=("max_steps", "iterations"),
    )
    max_minutes: float | None = param(
        None,
        "training ends after this time at the latest, wherever it is then; such a run can't be "
        "repeated to the bit",
        unit="min",
        gt=0,
        le=1e6,
    )
    batch_size: Count | Literal["full"] = param(
        64, "examples an update, or `full`", also=("minibatch", "batch")
    )
    early_stopping: EarlyStopping | None = param(None, "stop when a dev metric stalls")
    clip_grad_norm: float | None = param(
        None, "largest norm of a member's gradient", gt=0, le=1e9, per_member=True
    )
    clip_grad_value: float | None = param(
        None, "largest absolute value of a gradient's entry", gt=0, le=1e9, per_member=True
    )
    precision: Literal["float32", "bf16", "float64"] = param(
        "float32", "arithmetic; bf16 keeps weights, statistics and losses in float32"
    )
    device: Literal["auto", "cpu", "cuda"] = param("auto", "where to train; auto: cuda if there")
    train_sample: Count | Literal["all"] = param(
        10_000, "training examples (a fixed sample) on which train metrics are taken each epoch"
    )
    checkpoint_seconds: float = param(
        30.0,
        "time between two checkpoints, at the ends of epochs or within",
        unit="s",
        ge=0,
        le=1e6,
    )
    activation_checkpointing: Pieces | bool | Literal["auto"] = param(
        "auto",
        "to save memory, keep activations only between so many pieces of the network and compute "
        "the rest again; true: √layers pieces; the result is the same to the bit",
        when="auto: yes where a step's activations take 2 GiB and more",
        also=("gradient_checkpointing", "checkpointing", "rematerialization"),
    )
    tensorboard: bool = param(
        False, "also write TensorBoard's event files, into each run", also=("tfevents", "events")
    )
    record_health: bool | Literal["every_epoch"] = param(
        True,
        "write health.csv: activations, gradients and updates of each layer, at the ends of as "
        "many epochs as 5 % of the training time allow, or of all; no result changes by it",
        also=("health", "layer_statistics", "watch"),
    )
    checks: bool = param(
        True,
        "before `nnexp train` begins, look at the data and the first loss, and say in a line what "
        "was found; nothing changes by it, and training begins in any case",
        also=("check", "sanity_checks", "preflight"),
    )

    def updates(self, steps_per_epoch: int) -> int:
        """How many updates are planned."""
        return self.steps or self.epochs * steps_per_epoch


Degrees = Annotated[float, Field(ge=-360, le=360)]
Pixels = Annotated[int, Field(ge=1, le=65_536)]


class TestTime(Spec):
    """Several views of each example at evaluation, and samples of dropout; answers averaged."""

    __test__ = False  # to pytest its name looks like a test's

    angles: list[Degrees] = param([0.0], "turn the image by each of these", unit="°", min_length=1)
    sizes: list[Pixels] = param(
        [],
        "scale the image to each of these heights, then cut it to its own size, or pad it",
        unit="px",
        when="[]: its own",
    )
    flip: bool = param(False, "also its mirror image, left for right")
    crops: Literal[1, 5] = param(
        1, "what to cut out of a larger size: the middle, or the four corners, too"
    )
    border: Border = param("edge", "what lies outside the image")
    mc_dropout: int = param(
        0, "evaluate each view so many times with dropout on; 0: once without", ge=0, le=10_000
    )

    @property
    def moves(self) -> bool:
        """Whether any view differs from the image."""
        return self.flip or bool(self.sizes) or self.angles != [0.0]

    @property
    def passes(self) -> int:
        """How often each example goes through the network."""
        views = len(self.angles) * max(len(self.sizes), 1) * self.crops * (1 + self.flip)
        return views * max(self.mc_dropout, 1)


class Experiment(Spec):
    """One experiment. Only `data` and `model` must be given."""

    name: str = param("", "name of the runs' folder", when="the file's name", max_length=100)
    seed: int = param(
        0, "start of all randomness but the split's", ge=0, le=2**53, also=("random_state",)
    )
    task: Task | None = param(None, "what is learnt", when="null: follows from the data and loss")
    data: Data = param(..., "the examples")
    preprocessing: list[OneOf[Step]] | None = param(
        None, "steps fitted on the training split", when="null: what the data needs"
    )
    model: OneOf[Model] = param(..., "the architecture")
    initialization: OneOf[Initializer] = param(Auto(), "how weights start")
    loss: OneOf[Loss] | None = param(
        None,
        "what is minimized",
        when="null: cross_entropy; mse for regression, multilabel_bce for labels",
    )
    regularization: Annotated[dict[str, Regularizer], KeyedBy] = param(
        {}, "penalties and decay, by name"
    )
    sampler: OneOf[Sampler] = param(Uniform(), "which examples an epoch visits, in what order")
    augmentation: list[OneOf[Augmentation]] = param(
        [],
        "random changes of the training examples, in this order, but moved pixels before changed "
        "values",
        also=("augmentations", "transforms"),
    )
    test_time: TestTime | None = param(
        None,
        "views that are averaged in the summary, in `eval` and in `predict`; not in the metrics of "
        "each epoch, which would cost as many times as much",
        also=("tta", "test_time_augmentation"),
    )
    optimizer: OneOf[Optimizer] = param(Adam(), "the update rule")
    schedule: OneOf[Schedule] = param(ConstantRate(), "how the learning rate changes")
    training: Training = param(Training(), "length, batches, stopping, arithmetic")
    metrics: list[OneOf[Metric]] | None = param(
        None, "what is recorded", when="null: all that suit the task; the first is the primary one"
    )
    baselines: list[OneOf[Baseline]] = param(
        [],
        "standard models that are fitted and scored on the same examples, beside the network",
        max_length=100,
        also=("baseline", "references"),
    )
    sweep: Sweep | None = param(None, "what `nnexp sweep` searches over", exclude=True)
