"""What became of what was expected before the study ran."""

from __future__ import annotations

from collections.abc import Sequence

from reports.study import Hypothesis
from reports.text import clean
from reports.verdict.types import CANNOT_TELL, SAYS, Contest, Outcome
from reports.verdict.words import most_often, place

SUPPORTED, CONTRADICTED, NOT_JUDGED = "supported", "contradicted", "not judged"
UNSAID = "it names no verdict that could be compared: judge it by the tables"
MOST_CONDITIONS = 8  # that are named


def outcome(hypothesis: Hypothesis, contests: Sequence[Contest]) -> Outcome:
    """Supported if every contest that it is about says so, contradicted if one says otherwise; a contest that cannot
    tell does neither. One that says no verdict is not judged. What it does not name (task, structured, black box) is
    every one."""

    def found(what: str, because: str) -> Outcome:
        return Outcome(hypothesis.text, what, because)

    if not hypothesis.says:
        return found(NOT_JUDGED, UNSAID)
    if hypothesis.says not in SAYS:
        return found(CANNOT_TELL, f"{clean(hypothesis.says)!r} is none of {', '.join(SAYS)}")
    about = [contest for contest in contests if _about(hypothesis, contest)]
    if not about:
        return found(CANNOT_TELL, "no contest of the study is about it")
    against = [c for c in about if c.says not in (hypothesis.says, CANNOT_TELL)]
    silent = [c for c in about if c.says == CANNOT_TELL != hypothesis.says]
    if against:
        return found(CONTRADICTED, _named(against, about))
    if silent:
        named = _named(silent, about)
        if len(silent) > 1 and (why := most_often(silent)):  # of all, and not of whichever comes first
            return found(CANNOT_TELL, f"{named}. {why}")
        why = "; ".join(clean(reason) for reason in silent[0].reasons[:2])
        return found(CANNOT_TELL, f"{named}: {why or 'the intervals are too wide'}")
    return found(SUPPORTED, _named(about, about))


def _about(hypothesis: Hypothesis, contest: Contest) -> bool:
    wanted = (hypothesis.task, hypothesis.structured, hypothesis.black_box, hypothesis.axis)
    given = (contest.task, contest.structured, contest.black_box, contest.axis)
    return all(not want or want == got for want, got in zip(wanted, given, strict=True))


def _named(some: Sequence[Contest], every: Sequence[Contest]) -> str:
    """What is said of some of the contests that it is about: of which, or under which conditions."""
    first = some[0]
    who = f"{clean(first.structured)} against {clean(first.black_box)}"
    if len(every) == 1:
        return f"{who} on {place(first.task, first.condition)}: {first.says}"
    count = f"{' or '.join(dict.fromkeys(c.says for c in some))} in {len(some)} of {len(every)} contests"
    if len({(c.task, c.structured, c.black_box) for c in every}) > 1:
        return f"{count}, as {who} on {place(first.task, first.condition)}"
    under = [clean(c.condition) for c in some][: MOST_CONDITIONS + 1]
    return f"{who} on {clean(first.task)}: {count}" + (
        f" ({'; '.join(under)})" if len(under) <= MOST_CONDITIONS else ""
    )
