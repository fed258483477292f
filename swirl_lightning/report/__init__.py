"""What a run leaves behind, made readable: a table for the terminal and a page that opens offline."""

from swirl_lightning.report.page import write_report
from swirl_lightning.report.run import Run, read_run
from swirl_lightning.report.table import gain_table

__all__ = ["Run", "gain_table", "read_run", "write_report"]
