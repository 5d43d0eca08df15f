"""Data sets: find or generate one, read and check its images and labels, count it. Nothing here imports torch.

Read dataset.py (the types) and find.py (from the config to a data set); then the three sources yolo_layout.py (with
class_names.py, split_images.py and label_files.py), voc.py (with voc_layout.py, voc_split.py, voc_annotation.py and
voc_boxes.py) and shapes.py; then the reading in images.py, labels.py and scan.py, the choice of the headline in
headline.py, and the counting in inspection.py and label_statistics.py.
"""

from acmix_exp.data.dataset import Dataset, Sample
from acmix_exp.data.find import resolve
from acmix_exp.data.headline import Headline, headline
from acmix_exp.data.inspection import Inspection, inspect, report_table
from acmix_exp.data.scan import read_split
from acmix_exp.data.ultralytics_home import datasets_dir

__all__ = [
    "Dataset",
    "Headline",
    "Inspection",
    "Sample",
    "datasets_dir",
    "headline",
    "inspect",
    "read_split",
    "report_table",
    "resolve",
]
