"""What any diffusion or flow network predicts, as the denoiser D(x; sigma): schedules, predictions, a base class."""

from __future__ import annotations

from distillkit.convert.denoiser import Converted, Encoding
from distillkit.convert.further import Further, FurtherInputs
from distillkit.convert.predictions import PREDICTIONS, from_x0, to_x0
from distillkit.convert.schedules import Edm, Flow, Gvp, Schedule, TrigFlow, Vp
from distillkit.convert.tables import TABLES, CosineLogSnr, Table, linear, scaled_linear, squared_cosine

__all__ = [
    "PREDICTIONS",
    "TABLES",
    "Converted",
    "CosineLogSnr",
    "Edm",
    "Encoding",
    "Flow",
    "Further",
    "FurtherInputs",
    "Gvp",
    "Schedule",
    "Table",
    "TrigFlow",
    "Vp",
    "from_x0",
    "linear",
    "scaled_linear",
    "squared_cosine",
    "to_x0",
]
