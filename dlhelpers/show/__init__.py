"""Pictures and tables that say in words what they show."""

from dlhelpers.base.tables import Table
from dlhelpers.show.plots import (
    PALETTE,
    Picture,
    plot_batches,
    plot_history,
    plot_images,
    plot_lines,
    plot_runs,
    show,
)

__all__ = [
    "PALETTE",
    "Picture",
    "Table",
    "plot_batches",
    "plot_history",
    "plot_images",
    "plot_lines",
    "plot_runs",
    "show",
]
