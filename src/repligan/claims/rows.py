"""Rows of conf/claims.yaml: what the sources say, and the tests that have to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from repligan.core.errors import InputError
from repligan.core.rows import Finite, Name, Strict, checked, one_line, read_yaml
from repligan.metrics.metric import BY_NAME, frechet
from repligan.params import SCALES, Params
from repligan.training.rows import PUBLISHED, RowId

CLAIMS = Path("conf/claims.yaml")
REAL = "real"  # in a test: the real data, measured as G's are
OF_COMPONENTS = ("shift", "factors_moved")  # latent scores with a value for each component of z
NEARER = "nearer "  # begins the latent scores with a value for each pair of z: "nearer A + B"
Part = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)]


class _Of(Strict):
    """A value made of a metric."""

    metric: str

    @model_validator(mode="after")
    def _is_of_a_metric(self) -> _Of:
        _refuse_unknown("metric", self.metric)
        return self


class Snapshot(_Of):
    """A metric of each seed at `step`, null for the last; `metric` may be `fd`, the Frechet distance."""

    kind: Literal["snapshot"]
    step: Annotated[int, Field(ge=0)] | None = None


class During(_Of):
    """The mean of what training recorded, for each seed, over a `part` of it, as [from, to] in shares of its steps."""

    kind: Literal["during"]
    part: Part


class Change(_Of):
    """How much the mean of what training recorded moves from one part of it to another."""

    kind: Literal["change"]
    before: Part
    after: Part


class Variation(_Of):
    """The coefficient of variation (standard deviation over mean) of what training recorded, over that of `than`."""

    kind: Literal["variation"]
    than: str
    part: Part

    @model_validator(mode="after")
    def _is_beside_a_metric(self) -> Variation:
        _refuse_unknown("than", self.than)
        return self


class Latent(Strict):
    """A score of the explored latent space, one value a pair of latents or a component."""

    kind: Literal["latent"]
    metric: str

    @model_validator(mode="after")
    def _is_a_score(self) -> Latent:
        if self.metric not in OF_COMPONENTS and not self.metric.startswith(NEARER):
            allowed = f"{', '.join(OF_COMPONENTS)} or {NEARER}<operation>"
            raise ValueError(f"metric: found {self.metric!r}; allowed for latent: {allowed}")
        return self


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


Value = Snapshot | During | Change | Variation | Latent
Rule = Share | Above | Below | Within


class ClaimTest(Strict):
    """One measured part of a claim: `value` of `row`.

    `against` another row, with seeds in common, or `real`, the data: their `difference` or `ratio`. `over` or `under`
    a number makes it a yes or no. `published` is the source's value. Without a `rule` it is shown only.
    """

    label: str
    value: Annotated[Value, Field(discriminator="kind")]
    row: RowId
    against: RowId | Literal["real"] | None = None
    relation: Literal["difference", "ratio"] | None = None
    over: Finite | None = None
    under: Finite | None = None
    rule: Annotated[Rule | None, Field(discriminator="kind")] = None
    published: Finite | None = None

    @field_validator("against", mode="plain")
    @classmethod
    def _is_a_row_or_real(cls, found: object) -> object:
        if found is None or found == REAL or isinstance(found, RowId):
            return found
        if not isinstance(found, dict):
            raise ValueError(f"experiment: found none in {found!r}; allowed: {REAL}, or a table like that of row")
        try:
            return RowId.model_validate(found)
        except ValidationError as error:
            raise ValueError(one_line(error, RowId)) from None

    @model_validator(mode="after")
    def _makes_sense(self) -> ClaimTest:
        if (self.against is None) != (self.relation is None):
            raise ValueError(f"relation: found {self.relation!r}; allowed: difference or ratio, just with against")
        if self.over is not None and self.under is not None:
            raise ValueError(f"over: found {self.over} beside under; allowed: one of them")
        if isinstance(self.rule, Share) and self.over is None and self.under is None and self.against is not None:
            raise ValueError("rule.kind: found 'share' of a relation; allowed: with over or under, a yes or no")
        changed = [row.variant for row in self.rows if row.variant != PUBLISHED]
        if isinstance(self.value, Latent) and changed:
            raise ValueError(f"row.variant: found {changed[0]!r}; allowed for latent: {PUBLISHED!r}, which is explored")
        return self

    @property
    def rows(self) -> list[RowId]:
        """The rows that it needs."""
        return [self.row, self.against] if isinstance(self.against, RowId) else [self.row]


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

    def decided_at(self, scale: str) -> bool:
        """Whether the budget of a scale, or of one with a name of its own, is enough for a verdict."""
        return scale not in SCALES or SCALES.index(scale) >= SCALES.index(self.needs)


class Claims(Strict):
    """All of conf/claims.yaml."""

    claims: dict[Name, Claim]


def load(path: Path, params: Params) -> dict[str, Claim]:
    """Read and check the claims; raises InputError naming the file, the key, what was found, what is allowed."""
    claims = checked(path, Claims, read_yaml(path)).claims
    for key, claim in claims.items():
        try:
            _refuse_unfit(f"claims.{key}", claim, params)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
    return claims


def _refuse_unfit(where: str, claim: Claim, params: Params) -> None:
    if not claim.decided_at(params.scale):
        return  # a small scale may leave rows out
    for i, test in enumerate(claim.tests):
        for row in test.rows:
            if row not in params.rows:
                allowed = ", ".join(sorted(map(str, params.rows)))
                raise ValueError(f"{where}.tests.{i}: found row '{row}'; allowed: {allowed}")
            if standin_for := params.dataset_of(row.experiment).standin_for:
                found = f"{claim.needs!r} with {row} on a stand-in for {standin_for}"
                raise ValueError(f"{where}.needs: found {found}; allowed: a scale with the real data")


def _refuse_unknown(key: str, metric: str) -> None:
    known = BY_NAME.keys() - set(OF_COMPONENTS)
    if metric not in known and frechet([metric]) is None:
        raise ValueError(f"{key}: found {metric!r}; allowed: {', '.join(sorted(known))}")
