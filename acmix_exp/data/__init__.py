"""Data sets: found, generated or converted, checked and counted. No torch in this room."""

from acmix_exp.data.dataset import Dataset, Sample
from acmix_exp.data.find import resolve
from acmix_exp.data.inspection import Inspection, inspect, report_table
from acmix_exp.data.scan import read_split
from acmix_exp.data.ultralytics_home import datasets_dir

__all__ = [
    "Dataset",
    "Inspection",
    "Sample",
    "datasets_dir",
    "inspect",
    "read_split",
    "report_table",
    "resolve",
]
