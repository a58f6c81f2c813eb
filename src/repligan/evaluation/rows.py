"""Rows of the evaluation: extractors and floors, what is measured when, walks through latent spaces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from repligan.core.rows import File, Positive, Rate, Size, Strict, Threads
from repligan.data.rows import Dataset, ImagesForm
from repligan.models.rows import Noise

# What latent arithmetic shows of two latents A and B, component by component.
OPERATIONS = ("A", "B", "A + B", "|A - B|", "A * B")
NEIGHBOURS = 5  # k of precision, recall, density and coverage


def _with_neighbours(num: int) -> int:
    if num <= NEIGHBOURS:
        raise PydanticCustomError("too_few", f"above {NEIGHBOURS}, for precision looks at {NEIGHBOURS} neighbours")
    return num


Num = Annotated[int, AfterValidator(_with_neighbours)]


class DrawsReference(Strict):
    """The real-vs-real floor of a toy: statistics of `num` real draws, `repeats` times."""

    kind: Literal["draws"]
    num: Positive
    repeats: Positive

    def refuse_unfit(self, dataset: Dataset) -> None:
        """Raises ValueError for images."""
        if isinstance(dataset.form, ImagesForm):
            raise ValueError("kind: found 'draws'; allowed: 'cnn' or 'inception'")


class _Extractor(Strict):
    """Features to measure distances on, at `num` images a side, `repeats` times."""

    num: Num
    repeats: Annotated[int, Field(ge=2)]
    threads: Threads

    def refuse_unfit(self, dataset: Dataset) -> None:
        """Raises ValueError for toys, and unless two sides fit into the images."""
        if not isinstance(dataset.form, ImagesForm):
            raise ValueError(f"kind: found {self.kind!r}; allowed: 'draws'")  # type: ignore[attr-defined]
        dataset.form.refuse_beyond_half(self.num)


class CnnReference(_Extractor):
    """A classifier trained on the real images, and on a third as many that are none, of three kinds."""

    kind: Literal["cnn"]
    width: Size
    features: Size
    epochs: Positive
    batch: Annotated[int, Field(ge=9)]
    lr: Rate

    def refuse_unfit(self, dataset: Dataset) -> None:
        """Raises ValueError also where a batch does not fit."""
        if isinstance(dataset.form, ImagesForm):
            dataset.form.refuse_large_batch(self.batch)
        super().refuse_unfit(dataset)


class InceptionReference(_Extractor):
    """The standard Inception-v3 with the converted TensorFlow weights in `weights`, so that FIDs compare with published
    ones.

    `weights` needs its sha256: torch unpickles the file, which runs whatever code is in it.
    """

    kind: Literal["inception"]
    weights: File

    @field_validator("weights")
    @classmethod
    def _is_the_known_file(cls, weights: File) -> File:
        if weights.sha256 is None:
            raise ValueError("sha256: found none; allowed: the file's, 64 hex digits")
        return weights


ImageReference = CnnReference | InceptionReference
Reference = Annotated[DrawsReference | CnnReference | InceptionReference, Field(discriminator="kind")]


class Walk(Strict):
    """Walks through the latent space of an image GAN.

    Each of `components` is swept in `frames` steps from -reach to reach at `midpoints` latents; `pairs` pairs are
    interpolated and added; scores are means over `num` latents or pairs.
    """

    components: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=12)]
    reach: Annotated[float, Field(gt=0, le=100)]
    frames: Annotated[int, Field(ge=2, le=25)]
    midpoints: Annotated[int, Field(ge=1, le=12)]
    pairs: Annotated[int, Field(ge=1, le=12)]
    num: Annotated[int, Field(ge=2, le=10**5)]

    def refuse_unfit(self, z: Noise) -> None:
        """Raises ValueError where a component is none of z."""
        if max(self.components) >= z.dim:
            raise ValueError(f"components: found {max(self.components)}; allowed: 0 to {z.dim - 1}, those of z")


class Measure(Strict):
    """What is measured of an experiment: `published` at all snapshots, each variant at `variants_at`.

    An image GAN's variants are measured at `variants_num` images a side, once a seed (null for toys); its first
    published seed is walked through as `walk` says. Metrics are tabled at the steps `milestones`.
    """

    variants_at: Literal["all", "last"]
    variants_num: Num | None
    walk: Walk | None
    milestones: list[Annotated[int, Field(ge=0)]]

    def refuse_unfit(self, dataset: Dataset, z: Noise) -> None:
        """Raises ValueError where a table is missing or does not fit the data."""
        of_images = isinstance(dataset.form, ImagesForm)
        for key, found in (("variants_num", self.variants_num), ("walk", self.walk)):
            if of_images != (found is not None):
                allowed = "a value for images" if of_images else "null for toys"
                raise ValueError(f"{key}: found {'null' if found is None else found}; allowed: {allowed}")
        if isinstance(dataset.form, ImagesForm) and self.variants_num and 2 * self.variants_num > dataset.form.train:
            most = dataset.form.train
            raise ValueError(
                f"variants_num: found {self.variants_num}; allowed: at most half of {most} training images"
            )
        if self.walk:
            try:
                self.walk.refuse_unfit(z)
            except ValueError as error:
                raise ValueError(f"walk.{error}") from None


class Report(Strict):
    """How an experiment is presented."""

    title: str
    source: str
