"""One check of settings, with one message."""

import pytest

from dcbmr.base.settings import check_settings
from dcbmr.errors import InputError


def differences(wanted, found):
    with pytest.raises(InputError) as error:
        check_settings(wanted, found, "it was made", remedy="give the same settings")
    return str(error.value)


def test_every_setting_that_differs_is_named_with_what_was_found_and_wanted():
    wanted = {"sr": 22050, "params": {"epochs": 5, "layers": {"width": 8}}, "same": 1, "new": True}
    found = {"sr": 44100, "params": {"epochs": 4, "layers": {"width": 9}, "dropout": 0.5}, "same": 1}
    assert differences(wanted, found) == (
        "it was made with other settings: sr is 44100 (wanted 22050), params.epochs is 4 (wanted 5), "
        "params.layers.width is 9 (wanted 8), new is none (wanted True), params.dropout is 0.5 "
        "(wanted none); give the same settings"
    )


def test_rows_of_a_list_are_compared_one_by_one():
    rows = [{"name": "a"}, {"name": "b", "params": {"epochs": 2}}]
    said = differences({"rows": rows}, {"rows": [rows[0], {"name": "c", "params": {}}]})
    assert "rows.1.name is c (wanted b), rows.1.params.epochs is none (wanted 2)" in said
    assert "rows.0" not in said


def test_what_json_cannot_tell_apart_is_the_same():
    check_settings(
        {"sizes": (1, 2), "none": None, "inner": {}}, {"sizes": [1, 2]}, "it was made", remedy="no matter"
    )
