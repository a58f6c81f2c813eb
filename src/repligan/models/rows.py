"""Rows of networks and of their input: what they are made of, and whether they fit the data.

Each row builds its network itself, importing torch only then: a network is a row here and a module beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from repligan.core.rows import Finite, Positive, Size, Strict
from repligan.data.rows import Dataset, ImagesForm

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class Noise(Strict):
    """Input of G. `bits`: 0 or 1; `uniform`: [low, high); `normal`: mean low, std high; `constant`: low.

    `pool`: how many batches are drawn and used in turn; by default each batch is new.
    """

    kind: Literal["bits", "uniform", "normal", "constant"]
    dim: Size
    low: Finite
    high: Finite
    pool: Positive | None = None


class Mlp(Strict):
    """Fully connected, sigmoid after every layer (D's last one is left to the loss)."""

    learns: ClassVar[bool] = True
    stacked: ClassVar[bool] = True  # all seeds train as one stack of networks
    kind: Literal["mlp"]
    widths: Annotated[list[Size], Field(min_length=2)]

    def refuse_unfit(self, name: str, dataset: Dataset, z: Noise) -> None:
        """Raises ValueError unless it maps z (as G) or data (as D) to what is wanted."""
        if dataset.dim == 0:
            raise ValueError(f"{name}.kind: found 'mlp'; allowed for images: networks of images")
        wanted = (z.dim, dataset.dim) if name == "G" else (dataset.dim, 1)
        meant = ("z.dim", "the size of the data") if name == "G" else ("the size of the data", "one logit")
        for end, said in ((0, "inputs"), (-1, "outputs")):
            if self.widths[end] != wanted[end]:
                raise ValueError(
                    f"{name}.widths: found {self.widths[end]} {said}; allowed: {wanted[end]}, {meant[end]}"
                )

    def build(self, name: str, dim: int, form: object, rngs: Sequence[np.random.Generator]) -> nn.Module:
        """A stack of networks, one a generator of `rngs`."""
        from repligan.models.mlp import StackedMlp

        return StackedMlp(self.widths, rngs, squash=name == "G")


class _OfImages(Strict):
    """A network whose layers halve or double the image's side."""

    learns: ClassVar[bool] = True
    stacked: ClassVar[bool] = False  # seeds train one by one
    smallest: ClassVar[int]  # pixels a side of an image
    width: Size

    def refuse_unfit(self, name: str, dataset: Dataset, z: Noise) -> None:
        """Raises ValueError unless it makes (as G) or takes (as D) images of the dataset's size."""
        form = dataset.form
        if not isinstance(form, ImagesForm):
            raise ValueError(f"{name}: found a network of images; allowed for {form.kind}: mlp (G also identity)")
        if form.size < self.smallest:
            raise ValueError(f"{name}: found images of {form.size} pixels; allowed: at least {self.smallest}")


class _Dcgan(_OfImages):
    """Strided `kernel` x `kernel` convolutions between `start` x `start` and the images' size (Radford et al. 2016).

    `width`: channels of the layer next to the image; they double from layer to layer away from it.
    `bias`: whether convolutions have one. `init`: kernels from N(0, .02), or `uniform` as torch's layers start.
    """

    smallest: ClassVar[int] = 8
    kind: Literal["dcgan"]
    kernel: Literal[4, 5]
    start: Literal[2, 4]
    bias: bool
    init: Literal["normal", "uniform"] = "normal"

    def refuse_unfit(self, name: str, dataset: Dataset, z: Noise) -> None:
        """Raises ValueError unless at least two layers fit."""
        super().refuse_unfit(name, dataset, z)
        assert isinstance(dataset.form, ImagesForm)
        if self.start * 4 > dataset.form.size:
            found, size = self.start, dataset.form.size
            raise ValueError(f"{name}.start: found {found}; allowed: at most a fourth of {size} pixels")


class DcganG(_Dcgan):
    """`project`: whether batch normalisation and ReLU (`norm`) or nothing (`plain`) follow the first, dense layer."""

    project: Literal["norm", "plain"]

    def build(self, name: str, dim: int, form: ImagesForm, rngs: Sequence[np.random.Generator]) -> nn.Module:
        """A generator of images."""
        from repligan.models.dcgan import Generator

        return Generator(self, dim, form.channels, form.size, rngs[0])


class DcganD(_Dcgan):
    """`slope` of LeakyReLU; 0 is ReLU. `norm`: whether batch normalisation follows the hidden convolutions."""

    slope: Annotated[float, Field(ge=0, lt=1)]
    norm: Literal["batch", "none"]

    def build(self, name: str, dim: int, form: ImagesForm, rngs: Sequence[np.random.Generator]) -> nn.Module:
        """A discriminator of images."""
        from repligan.models.dcgan import Discriminator

        return Discriminator(self, form.channels, form.size, rngs[0])


class _Resnet(_OfImages):
    """Residual blocks of 3 x 3 convolutions with `width` channels (Miyato et al. 2018, table 4)."""

    kind: Literal["resnet"]
    smallest: ClassVar[int] = 16


class ResnetG(_Resnet):
    """From 4 x 4 up, a block each doubling; batch normalisation."""

    def build(self, name: str, dim: int, form: ImagesForm, rngs: Sequence[np.random.Generator]) -> nn.Module:
        """A generator of images."""
        from repligan.models.resnet import Generator

        return Generator(self.width, dim, form.channels, form.size, rngs[0])


class ResnetD(_Resnet):
    """Two blocks that halve, then two that do not; no normalisation."""

    def build(self, name: str, dim: int, form: ImagesForm, rngs: Sequence[np.random.Generator]) -> nn.Module:
        """A discriminator of images."""
        from repligan.models.resnet import Discriminator

        return Discriminator(self.width, form.channels, rngs[0])


class Identity(Strict):
    """G(z) = z: tests D alone against pure noise."""

    learns: ClassVar[bool] = False
    kind: Literal["identity"]

    def refuse_unfit(self, name: str, dataset: Dataset, z: Noise) -> None:
        """Raises ValueError unless z is as large as the data."""
        if z.dim != dataset.dim:
            raise ValueError(f"{name}: found {z.dim} outputs; allowed: {dataset.dim}, the size of the data")

    def build(self, name: str, dim: int, form: object, rngs: Sequence[np.random.Generator]) -> nn.Module:
        """Nothing to learn."""
        from torch import nn

        return nn.Identity()


GRow = Annotated[Mlp | DcganG | ResnetG | Identity, Field(discriminator="kind")]
DRow = Annotated[Mlp | DcganD | ResnetD, Field(discriminator="kind")]
