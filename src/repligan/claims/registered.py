"""conf/registered.yaml: each claim's rule as it stood before any of the seeds that decide it was trained.

Whoever changes a rule has seen what the present seeds say of it. So the rule, new, counts from fresh seeds on; its
digest is committed before they are trained, and git says when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from repligan.claims.rows import Claim, Registered, registry
from repligan.core.errors import InputError
from repligan.core.files import write_bytes
from repligan.params import Params

HEADER = "# Written by `repligan register`: the digest of each claim's rule, and the first seed that it had not seen.\n"


def register(
    path: Path, claims: Mapping[str, Claim], params: Params, names: Sequence[str], seeds_from: int | None
) -> dict[str, Registered]:
    """Register the rules that changed, by default of all claims, and write `path`; returns what changed.

    They count from `seeds_from` on, by default from the first seed that none of their rows has now.
    Raises InputError at an unknown claim.
    """
    for name in names:
        if name not in claims:
            raise InputError(f"claim: found {name!r}; allowed: {', '.join(claims)}")
    known = {name: one for name, one in registry(path).items() if name in claims}
    changed = {}
    for name in names or claims:
        claim, old = claims[name], known.get(name)
        if old is None or old.rule != claim.rule_digest():
            used = [
                params.rows[row].seed_range.stop for test in claim.deciding for row in test.rows if row in params.rows
            ]
            first = max(used, default=0) if seeds_from is None else seeds_from
            changed[name] = Registered(rule=claim.rule_digest(), seeds=first)
    lines = [f"  {name}: {{rule: {one.rule!r}, seeds: {one.seeds}}}" for name, one in (known | changed).items()]
    write_bytes(path, (HEADER + "registered:\n" + "\n".join(lines) + "\n").encode())
    return changed
