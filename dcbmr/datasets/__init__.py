"""Data to work on: published data sets, made into what the toolkit reads, and the embedded world."""

from dcbmr.datasets.convert import DATASETS as DATASETS
from dcbmr.datasets.convert import convert_dataset as convert_dataset
