"""The verdict of a study: `judge(data)` says of every declared pair of models who wins, and how sure that is.

`verdict_json` makes plain data of it. How it is reached: `docs/verdict.md`.
"""

from reports.verdict.judge import judge
from reports.verdict.plain import verdict_json
from reports.verdict.prices import Prices
from reports.verdict.types import SAYS, Verdict

__all__ = ["SAYS", "Prices", "Verdict", "judge", "verdict_json"]
