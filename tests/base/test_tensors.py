"""Tensors with a header, to a directory and back."""

import numpy as np
import pytest

import dcbmr
from dcbmr import InputError

TENSORS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    "steps": np.array(3, np.int64),
}


@pytest.fixture
def directory(tmp_path):
    dcbmr.save_tensors(tmp_path, TENSORS, {"loss": "mse"}, name="model", format_version=3)
    return tmp_path


def test_what_is_saved_is_loaded(directory):
    header, tensors = dcbmr.load_tensors(directory, name="model", format_version=3)
    assert header == {"loss": "mse"}
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], value)
        assert (tensors[name].dtype, tensors[name].shape) == (value.dtype, value.shape)
    assert sorted(path.name for path in directory.iterdir()) == ["model.json", "model.safetensors"]


def test_a_field_that_is_missing_is_named(directory):
    header, tensors = dcbmr.load_tensors(directory, name="model", format_version=3)
    with pytest.raises(InputError, match=r"model\.json is damaged: it has no 'rank'"):
        header["rank"]
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: it has no 'bias'"):
        tensors["bias"]


def test_another_version_says_what_to_do(directory):
    with pytest.raises(InputError, match=r"model\.json: format_version is 3, this package reads 4;.*train"):
        dcbmr.load_tensors(directory, name="model", format_version=4)


@pytest.mark.parametrize("content", ["{", "[]", "{}", None], ids=["cut", "list", "no version", "missing"])
def test_a_header_that_cannot_be_read_is_named(directory, content):
    (directory / "model.json").unlink()
    if content is not None:
        (directory / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json is missing or damaged"):
        dcbmr.load_tensors(directory, name="model", format_version=3)


def test_tensors_that_cannot_be_read_are_named(directory):
    data = directory / "model.safetensors"
    data.write_bytes(data.read_bytes()[:20])
    with pytest.raises(InputError, match=r"model\.safetensors is missing or damaged"):
        dcbmr.load_tensors(directory, name="model", format_version=3)


def test_a_figure_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        dcbmr.save_tensors(tmp_path, {}, {"loss": float("nan")}, name="model", format_version=1)
