"""Features beside those that a model learned from: made otherwise, or by another version."""

from dataclasses import replace
from pathlib import Path

import pytest

from dcbmr import FeatureConfig, InputError
from dcbmr.contract.provenance import check_made_as

WANTED = FeatureConfig(
    kind="chroma",
    shape="frames",
    dtype="<f4",
    n_dims=12,
    settings={"sr": 22050, "hop_length": 512},
    params={"sr": 22050, "hop_length": 512},
    package="dcbmr-librosa 1.2.0",
)
WHERE = Path("features/chroma")


def test_features_made_alike_pass():
    check_made_as(WANTED, WANTED, WHERE)
    check_made_as(WANTED, replace(WANTED, package="dcbmr-librosa 1.9.1", params=None), WHERE)


def test_other_settings_are_refused_with_the_command_that_makes_them():
    other = {"sr": 16000, "hop_length": 512}
    with pytest.raises(InputError) as error:
        check_made_as(WANTED, replace(WANTED, settings=other, params=other), WHERE)
    said = str(error.value)
    assert "features/chroma was made with other settings: sr is 16000 (wanted 22050)" in said
    assert "dcbmr featurize AUDIO -o OTHER --kind chroma --set chroma.sr=22050 makes" in said


def test_another_version_of_the_plugin_is_warned_of():
    with pytest.warns(UserWarning, match=r"2\.0, .* by dcbmr-librosa 1\.2\.0: train it"):
        check_made_as(WANTED, replace(WANTED, package="dcbmr-librosa 2.0"), WHERE)
    own = replace(WANTED, package="dcbmr 0.1.0")
    check_made_as(own, replace(own, package="dcbmr 0.9"), WHERE)
