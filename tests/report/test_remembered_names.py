"""Titles on the page, where the table of songs is gone."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from dcbmr.factorization.factors import Factors
from dcbmr.plays.songs import SongTable

pytest.importorskip("bokeh")
pytest.importorskip("openTSNE")


def test_the_page_shows_titles_that_the_factors_remember(tmp_path):
    from dcbmr.report.of_model import page_of_model
    from dcbmr.report.sources import Sources

    rng = np.random.default_rng(0)
    factors = Factors(
        user_factors=rng.standard_normal((20, 3)),
        song_factors=rng.standard_normal((6, 3)),
        counts=csr_array(np.ones((20, 6))),
    ).named_by(SongTable(["0", "5"], ["A", ""], ["Nought", "Five"]))
    songs = page_of_model(factors, tmp_path, Sources(tmp_path / "r.html")).songs
    assert songs.titles == ["Nought", "", "", "", "", "Five"]
    assert [label.name for label in songs.labels] == ["artist"]
    (tmp_path / "songs.tsv").write_text("song\ttitle\n1\tOne\n")
    given = page_of_model(factors, tmp_path, Sources(tmp_path / "r.html", songs=tmp_path / "songs.tsv")).songs
    assert given.titles == ["Nought", "One", "", "", "", "Five"], "a table that is given comes first"
