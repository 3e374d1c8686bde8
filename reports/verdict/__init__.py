"""The verdict of a study: `judge(data)` says of every declared pair of models who wins, and how sure that is."""

from reports.verdict.types import SAYS

__all__ = ["SAYS"]
