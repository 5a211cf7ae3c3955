from datetime import date

import pytest

from dcbmr import InputError
from dcbmr.plays.dates import read_dates


def test_years_months_days_and_moments_are_dates(tmp_path):
    file = tmp_path / "songs.tsv"
    lines = ("a\tx\t2012", "b\tx\t2012-06", "c\ty\t2012-6-3", "d\ty\t2012-06-03T10:00Z", "e\ty\t")
    file.write_text("\n".join(["song\tartist\tRelease Date", *lines, ""]))
    assert read_dates(file) == {
        "a": date(2012, 1, 1),
        "b": date(2012, 6, 1),
        "c": date(2012, 6, 3),
        "d": date(2012, 6, 3),
    }


@pytest.mark.parametrize("wrong", ["03/06/2012", "2012-13-01", "1970s", "12"])
def test_what_is_no_date_is_named_with_its_line(tmp_path, wrong):
    file = tmp_path / "songs.tsv"
    file.write_text(f"song\tdate\na\t2012\nb\t{wrong}\nc\t{wrong}\n")
    with pytest.raises(InputError, match=rf"line 3: the date '{wrong}' is not understood \(and 1 more\)"):
        read_dates(file)


def test_a_table_without_dates(tmp_path):
    file = tmp_path / "songs.tsv"
    file.write_text("song\tartist\na\tx\n")
    with pytest.raises(InputError, match="do not say which is the date"):
        read_dates(file)
