"""Rows of conf/claims.yaml: what the sources say, and the tests that have to hold."""

from __future__ import annotations

import hashlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from repligan.core.errors import InputError
from repligan.core.rows import Finite, Name, Positive, Strict, checked, one_line, read_yaml
from repligan.metrics.metric import BY_NAME, frechet
from repligan.params import SCALES, Params
from repligan.training.rows import RowId

CLAIMS = Path("conf/claims.yaml")
REGISTERED = Path("conf/registered.yaml")
BOUNDS = "share, mean, ratio, logit, bounded 2"  # kinds of bounds that rules use; another name where they change
REAL = "real"  # in a test: the real data, measured as G's are
BLURRED = "blurred"  # the same at half the resolution and back: a loss of known size
Part = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)]


class _Of(Strict):
    """A value made of a metric."""

    metric: str

    @model_validator(mode="after")
    def _is_of_a_metric(self) -> _Of:
        _refuse_unknown("metric", self.metric)
        return self


class Snapshot(_Of):
    """A metric of each seed at `step`, null for the last; `metric` may be `fd`, the Frechet distance.

    `over` blurred: in units of what real images at half the resolution come to, so that data sets can be compared.
    """

    kind: Literal["snapshot"]
    step: Annotated[int, Field(ge=0)] | None = None
    over: Literal["blurred"] | None = None


class During(_Of):
    """The mean of what training recorded, for each seed, over a `part` of it, as [from, to] in shares of its steps."""

    kind: Literal["during"]
    part: Part


class Away(_Of):
    """How far what training recorded stays from `level` either way: the mean distance, for each seed, over a `part`."""

    kind: Literal["away"]
    level: Finite
    part: Part


class Change(_Of):
    """How much the mean of what training recorded moves from one part of it to another."""

    kind: Literal["change"]
    before: Part
    after: Part


class Settles(_Of):
    """The first snapshot from which on a metric stays over a half, to the end; the last one where it does not."""

    kind: Literal["settles"]


class Progress(_Of):
    """A metric of the last snapshot over that of the one at a share `since` of the steps: below 1 it still fell."""

    kind: Literal["progress"]
    since: Annotated[float, Field(ge=0, lt=1)]


class Variation(_Of):
    """The coefficient of variation (standard deviation over mean) of what training recorded."""

    kind: Literal["variation"]
    part: Part


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


Value = Snapshot | During | Away | Change | Variation | Settles | Progress
Rule = Share | Above | Below | Within


class ClaimTest(Strict):
    """One measured part of a claim: `value` of `row`.

    `against` another row, with seeds in common, or `real` or `blurred` data: their `difference` or `ratio`. `inside`
    [low, high], either null for none, makes it a yes or no. `by` says what is known of the values, where it is not as
    usual. `published` is the source's value. Without a `rule` it is shown only.
    """

    label: str
    value: Annotated[Value, Field(discriminator="kind")]
    row: RowId
    against: RowId | Literal["real", "blurred"] | None = None
    relation: Literal["difference", "ratio"] | None = None
    inside: Annotated[list[Finite | None], Field(min_length=2, max_length=2)] | None = None
    by: Literal["mean", "ratio", "logit", "bounded"] | None = None
    rule: Annotated[Rule | None, Field(discriminator="kind")] = None
    published: Finite | None = None

    @field_validator("against", mode="plain")
    @classmethod
    def _is_a_row_or_real(cls, found: object) -> object:
        if found is None or found in (REAL, BLURRED) or isinstance(found, RowId):
            return found
        if not isinstance(found, dict):
            allowed = f"{REAL}, {BLURRED}, or a table like that of row"
            raise ValueError(f"experiment: found none in {found!r}; allowed: {allowed}")
        try:
            return RowId.model_validate(found)
        except ValidationError as error:
            raise ValueError(one_line(error, RowId)) from None

    @model_validator(mode="after")
    def _makes_sense(self) -> ClaimTest:
        if (self.against is None) != (self.relation is None):
            raise ValueError(f"relation: found {self.relation!r}; allowed: difference or ratio, just with against")
        low, high = self.inside or (0.0, 1.0)
        if (low is None and high is None) or (low is not None and high is not None and low >= high):
            raise ValueError(f"inside: found {self.inside}; allowed: [low, high], one of them may be null")
        if isinstance(self.rule, Share) and not self.inside and self.against is not None:
            raise ValueError("rule.kind: found 'share' of a relation; allowed: with inside, a yes or no")
        if self.by == "bounded" and self.range is None:
            raise ValueError("by: found 'bounded' of values without a range; allowed: mean, ratio, logit")
        return self

    @property
    def range(self) -> tuple[float, float] | None:
        """Between what its values, or their differences, can lie; None where nothing is known."""
        known, value = BY_NAME.get(self.value.metric), self.value
        is_of_other_units = isinstance(value, Settles | Progress | Variation | Away) or getattr(value, "over", None)
        if known is None or known.low is None or known.high is None or is_of_other_units or self.relation == "ratio":
            return None
        width = (known.high - known.low) * (2 if isinstance(value, Change) and self.against else 1)
        return (-width, width) if isinstance(value, Change) or self.against else (known.low, known.high)

    @property
    def rows(self) -> list[RowId]:
        """The rows that it needs."""
        return [self.row, self.against] if isinstance(self.against, RowId) else [self.row]


class Claim(Strict):
    """What a source says at a `place`, in our words, and the tests that all have to hold.

    `reading`: whether the source states it or only implies it. `needs`: the smallest scale whose budget decides it.
    `premise`: tests of what the claim supposes; where it is not met, the claim is not tested.
    """

    source: str
    place: str
    says: str
    reading: Literal["stated", "implied"] = "stated"
    needs: Literal["smoke", "laptop", "overnight", "full"]
    premise: list[ClaimTest] = Field(default_factory=list)
    tests: Annotated[list[ClaimTest], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_decided(self) -> Claim:
        if not any(test.rule for test in self.tests):
            raise ValueError("tests: found no rule; allowed: at least one test with a rule")
        if any(test.rule is None for test in self.premise):
            raise ValueError("premise: found a test without a rule; allowed: tests with a rule")
        return self

    @property
    def all_tests(self) -> list[ClaimTest]:
        """Those of the premise first."""
        return [*self.premise, *self.tests]

    @property
    def deciding(self) -> list[ClaimTest]:
        """The tests with a rule, those of the premise among them."""
        return [test for test in self.all_tests if test.rule]

    def decided_at(self, scale: str) -> bool:
        """Whether the budget of a scale, or of one with a name of its own, is enough for a verdict."""
        return scale not in SCALES or SCALES.index(scale) >= SCALES.index(self.needs)

    def rule_digest(self) -> str:
        """Changes with all that decides the verdict."""
        said = [test.model_dump(mode="json", exclude={"label", "published"}, warnings=False) for test in self.deciding]
        content = json.dumps([BOUNDS, len(self.premise), said], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


class Budget(Strict):
    """What a source spent on an experiment: a row with less, or at another learning rate, has a reduced budget.

    `G`, `D`: widths; `images` to learn from; None where it has none.
    """

    steps: Positive
    batch: Positive
    lr: Finite
    G: Positive | None = None
    D: Positive | None = None
    images: Positive | None = None


class Registered(Strict):
    """The rule as it stood before any of the seeds that decide it was trained, and the first of those."""

    rule: str
    seeds: Annotated[int, Field(ge=0)]


class Claims(Strict):
    """All of conf/claims.yaml."""

    budgets: dict[Name, Budget]
    claims: dict[Name, Claim]


class Registry(Strict):
    """All of conf/registered.yaml."""

    registered: dict[Name, Registered]


def load(path: Path, params: Params) -> Claims:
    """Read and check the claims; raises InputError naming the file, the key, what was found, what is allowed."""
    found = checked(path, Claims, read_yaml(path))
    if unknown := sorted(params.experiments.keys() - found.budgets.keys()):
        raise InputError(f"{path}: budgets: found none of {unknown[0]!r}; allowed: one of each experiment")
    for key, claim in found.claims.items():
        try:
            _refuse_unfit(f"claims.{key}", claim, params)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
    return found


def registry(path: Path) -> dict[str, Registered]:
    """The registered rules; none where the file is missing."""
    return checked(path, Registry, read_yaml(path)).registered if path.exists() else {}


def _refuse_unfit(where: str, claim: Claim, params: Params) -> None:
    if not claim.decided_at(params.scale):
        return  # a small scale may leave rows out
    for i, test in enumerate(claim.all_tests):
        for row in test.rows:
            if row not in params.rows:
                allowed = ", ".join(sorted(map(str, params.rows)))
                raise ValueError(f"{where}.tests.{i}: found row '{row}'; allowed: {allowed}")
            if standin_for := params.dataset_of(row.experiment).standin_for:
                found = f"{claim.needs!r} with {row} on a stand-in for {standin_for}"
                raise ValueError(f"{where}.needs: found {found}; allowed: a scale with the real data")


def _refuse_unknown(key: str, metric: str) -> None:
    known = BY_NAME.keys()
    if metric not in known and frechet([metric]) is None:
        near = get_close_matches(metric, known, n=5, cutoff=0.3) or sorted(known)[:5]
        raise ValueError(
            f"{key}: found {metric!r}; allowed: the metrics of metrics/metric.py, such as {', '.join(near)}"
        )
