"""The report: one self-contained HTML file about a project.

`render` is pure: records and already gated pictures in, HTML out. Reading the store, running the display gate and
blurring faces are the caller's work. uPlot (MIT) is handed in as text; it is never part of this repository.
"""

from mien.export.report.data import ClipView, Event, ModelView, Picture, Project, ReportData, SignalView, Waiting
from mien.export.report.render import render

__all__ = ["ClipView", "Event", "ModelView", "Picture", "Project", "ReportData", "SignalView", "Waiting", "render"]
