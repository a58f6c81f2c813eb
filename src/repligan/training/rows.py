"""Rows of a training: loss, optimiser, the updates of one step, and the experiment that joins them with networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from repligan.core.rows import Name, Positive, Rate, Size, Strict, Threads
from repligan.data.rows import Dataset, ImagesForm
from repligan.models.rows import DRow, GRow, Noise

if TYPE_CHECKING:
    from repligan.training.losses import Loss


class _Target(Strict):
    """D's outputs against 1 for real (less `smoothing`) and 0 for generated; its halves are added or averaged."""

    is_probability: ClassVar[bool] = True  # sigmoid(logits) means the probability of being real
    halves: Literal["sum", "mean"]
    smoothing: Annotated[float, Field(ge=0, lt=1)]

    def refuse_unfit(self, of_D: list[Update], stacked: bool) -> None:
        """It fits everything."""


class Bce(_Target):
    """Binary cross-entropy (Goodfellow et al. 2014)."""

    kind: Literal["bce"]

    def build(self) -> Loss:
        """The loss itself."""
        from repligan.training.losses import NonSaturating

        return NonSaturating(self.halves, self.smoothing)


class Mse(_Target):
    """Squared error."""

    kind: Literal["mse"]

    def build(self) -> Loss:
        """The loss itself."""
        from repligan.training.losses import SquaredError

        return SquaredError(self.halves, self.smoothing)


class WganGp(Strict):
    """Wasserstein distance by a critic whose gradient is held to norm 1 by `penalty` (Gulrajani et al. 2017)."""

    is_probability: ClassVar[bool] = False
    kind: Literal["wgan-gp"]
    penalty: Annotated[float, Field(gt=0, le=1000)]

    def refuse_unfit(self, of_D: list[Update], stacked: bool) -> None:
        """Raises ValueError for toys, and unless each update of D sees both sides, to mix them."""
        if stacked:
            raise ValueError("loss.kind: found 'wgan-gp'; allowed for toys: 'bce', 'mse'")
        if lonely := [update.sees for update in of_D if len(update.sees) == 1]:
            raise ValueError(f"schedule: found D on {lonely[0]}; allowed for wgan-gp: D on real and generated images")

    def build(self) -> Loss:
        """The loss itself."""
        from repligan.training.wgan_gp import Wasserstein

        return Wasserstein(self.penalty)


class Adam(Strict):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"]
    lr: Rate
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]


class Sgd(Strict):
    """Plain stochastic gradient descent."""

    kind: Literal["sgd"]
    lr: Rate


class Update(Strict):
    """One optimiser step: which network, on what.

    `real`: a new real batch; `fresh_z`: images of a new z; `same_z`: new images of the last z;
    `same_img`: the last generated images, detached. Done `times` in a row.
    """

    update: Literal["G", "D"]
    sees: Annotated[list[Literal["real", "fresh_z", "same_z", "same_img"]], Field(min_length=1, max_length=2)]
    times: Annotated[int, Field(ge=1, le=1000)] = 1

    @model_validator(mode="after")
    def _makes_sense(self) -> Update:
        gen = [["fresh_z"], ["same_z"]]
        half = [*gen, ["same_img"]]
        allowed = gen if self.update == "G" else [["real"], *half, *(["real", *g] for g in half)]
        if self.sees not in allowed:
            raise ValueError(f"sees: found {self.sees}; allowed for {self.update}: {', '.join(map(str, allowed))}")
        return self


class Alarms(Strict):
    """What is raised once it holds at every logged step for `lasting` steps; `stop`: whether training then ends.

    `accuracy`: D is right about at least this share of a batch; `spread`: the variance of G's images is at most this
    share of the real ones'; `twins`: at least this share of G's images nearly equal another one of the batch.
    """

    lasting: Positive
    accuracy: Annotated[float, Field(gt=0.5, le=1)]
    spread: Annotated[float, Field(ge=0, lt=1)]
    twins: Annotated[float, Field(gt=0, le=1)]
    stop: bool


class Experiment(Strict):
    """One GAN: data, noise, two networks, loss, optimiser, and the ordered updates of one step.

    Its seeds are `first_seed` and those that follow. Losses are recorded every `log_every` steps, weights kept every
    `snapshot_every`; only image GANs have `alarms`.
    `keep_weights`: how many of its first trials leave their weights among DVC's outputs.
    """

    dataset: str
    seeds: Size
    first_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    keep_weights: Annotated[int, Field(ge=0, le=2**16)]
    z: Noise
    G: GRow
    D: DRow
    loss: Annotated[Bce | Mse | WganGp, Field(discriminator="kind")]
    optimiser: Annotated[Adam | Sgd, Field(discriminator="kind")]
    schedule: Annotated[list[Update], Field(min_length=1)]
    batch: Positive
    steps: Positive
    log_every: Positive
    snapshot_every: Positive
    threads: Threads
    alarms: Alarms | None

    @model_validator(mode="after")
    def _makes_sense(self) -> Experiment:
        if self.log_every > self.steps:
            raise ValueError(f"log_every: found {self.log_every}; allowed: at most steps, {self.steps}")
        if not self.G.learns and any(u.update == "G" for u in self.schedule):
            raise ValueError("schedule: found an update of G; allowed for G.kind identity: updates of D")
        if (self.alarms is None) != self.stacked:
            found, allowed = ("none", "a table for image GANs") if self.alarms is None else ("a table", "null for toys")
            raise ValueError(f"alarms: found {found}; allowed: {allowed}")
        if self.schedule[0].sees[-1] in ("same_z", "same_img"):
            raise ValueError(f"schedule: found {self.schedule[0].sees[-1]} first; allowed: real, fresh_z")
        self.loss.refuse_unfit([update for update in self.schedule if update.update == "D"], self.stacked)
        return self

    def refuse_unfit(self, dataset: Dataset) -> None:
        """Raises ValueError unless its networks and batches fit the data."""
        for name, net in (("G", self.G), ("D", self.D)):
            net.refuse_unfit(name, dataset, self.z)
        if isinstance(dataset.form, ImagesForm):
            dataset.form.refuse_large_batch(self.batch)

    @property
    def stacked(self) -> bool:
        """Whether all seeds train as one stack of networks; convolutional ones train one by one."""
        return self.D.stacked

    @property
    def seed_range(self) -> range:
        """All of its seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def updates(self) -> list[Update]:
        """The updates of one step, one by one."""
        return [update for update in self.schedule for _ in range(update.times)]

    def snapshot_steps(self, last: int | None = None) -> list[int]:
        """The steps after which weights are kept: 0, every `snapshot_every`, and the last, by default `steps`."""
        last = self.steps if last is None else last
        return sorted({*range(0, last, self.snapshot_every), last})


PUBLISHED = "published"


class RowId(Strict):
    """A row of params.yaml: an experiment as published, or one of its variants."""

    experiment: Name
    variant: Name = PUBLISHED

    def __str__(self) -> str:
        return self.experiment if self.variant == PUBLISHED else f"{self.experiment}/{self.variant}"


def snapshot_name(step: int) -> str:
    """File name of the weights after `step`."""
    return f"step_{step:08d}.safetensors"
