"""Tables and figures from records: `compare` records, `render` the comparison, draw it with `comparison_figure`.

Importing this package imports no framework and no drawing library.
"""

from reports.figures import comparison_figure
from reports.rows import Column, Comparison, Row, Spread, compare
from reports.tables import FORMATS, render

__all__ = ["FORMATS", "Column", "Comparison", "Row", "Spread", "compare", "comparison_figure", "render"]
