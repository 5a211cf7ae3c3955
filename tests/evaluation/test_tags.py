"""Tags from vectors: reading them, choosing them, cross-validating them, and the command."""

import gzip
import json

import numpy as np
import pytest
import soundfile
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dcbmr import InputError, PlayCounts, SongTags, WeightedALS, evaluate_tags, plot_tags
from dcbmr.cli import main


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def read(tmp_path, text, name="tags.tsv"):
    (tmp_path / name).write_text(text)
    found = SongTags.read(tmp_path / name)
    cells = found.weights.tocoo()
    return {
        (found.song_ids[row], found.tags[column]): weight
        for row, column, weight in zip(cells.row, cells.col, cells.data, strict=True)
    }


class TestRead:
    @pytest.mark.parametrize(
        "text",
        [
            "a\trock\na\tjazz\nb\trock\n",
            "a\trock\t1\r\na\tjazz\t1\r\nb\trock\t1\r\n",
            "song\ttag\na\trock\na\tjazz\nb\trock",
            "weight,tag,song\n1,rock,a\n\n1,jazz,a\n1,rock,b\n",
            "track_id;label;score\na;rock;1\na;jazz;1\nb;rock;1\n",
            "userID,artistID,tagID,day\nu,a,rock,30\nu,a,jazz,30\nu,b,rock,30\n",
            "﻿a,rock\na,jazz\nb,rock\n",
        ],
        ids=[
            "two",
            "three, CRLF",
            "header",
            "header, other order",
            "usual names",
            "artists for songs",
            "BOM",
        ],
    )
    def test_forms(self, tmp_path, text):
        assert read(tmp_path, text) == {("a", "rock"): 1, ("a", "jazz"): 1, ("b", "rock"): 1}

    def test_weights_are_summed_and_zero_is_none(self, tmp_path):
        found = read(tmp_path, 'a,"rock, hard",2\na,"rock, hard",0.5\nb,jazz,0\nb,pop,1\n')
        assert found == {("a", "rock, hard"): 2.5, ("b", "pop"): 1}

    def test_quotes_are_letters_between_tabs(self, tmp_path):
        assert read(tmp_path, 'a\t12" mix\n') == {("a", '12" mix'): 1}

    def test_compressed(self, tmp_path):
        (tmp_path / "tags.tsv.gz").write_bytes(gzip.compress(b"a\trock\n"))
        assert SongTags.read(tmp_path / "tags.tsv.gz").tags == ["rock"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty; wanted lines of song, tag and, optionally, weight"),
            ("song\ttag\n", "holds no tags"),
            ("a\trock\nb\n", "line 2: wanted song, tag and, optionally, weight.*got 'b'"),
            ("a\trock\n\t\n", "line 2: the song is empty"),
            ("a\trock\nb\t\n", "line 2: the tag is empty"),
            ("a\trock\t1\nb\trock\tmuch\n", "line 2: the weight 'much' is not a number from 0 up"),
            ("a\trock\t1\nb\trock\tnan\n", "line 2: the weight 'nan'"),
            ("a\trock\t1\nb\trock\t-1\n", "line 2: the weight '-1'"),
        ],
    )
    def test_bad_lines(self, tmp_path, text, message):
        with pytest.raises(InputError, match=message):
            read(tmp_path, text)

    def test_bad_files(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            SongTags.read(tmp_path / "none.tsv")
        with pytest.raises(
            InputError,
            match="'id', 'name', 'value' do not say which is the song and which the tag; give --columns id,",
        ):
            read(tmp_path, "id;name;value\na;rock;1\n")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01" * 9)
        with pytest.raises(InputError, match="is a binary file, or text in UTF-16"):
            SongTags.read(tmp_path / "binary")


class TestMostPopular:
    tags = SongTags(
        ["a", "b", "c", "d"],
        ["rare", "rock", "jazz"],
        csr_array(np.array([[0, 5, 1], [0, 2, 1], [1, 0, 0], [0, 0, 0]], float)),
    )

    def test_counts_the_songs_in_hand(self):
        songs, tags, has_tag = self.tags.most_popular(["x", "b", "a", "c", "d"])
        assert songs == ["b", "a", "c"]  # d has none, x is unknown
        assert tags == ["jazz", "rock", "rare"]
        np.testing.assert_array_equal(has_tag, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
        assert self.tags.most_popular(["c"])[1] == ["rare"]
        assert self.tags.most_popular(["a", "b", "c"], n_tags=1)[1] == ["jazz"]

    def test_min_weight(self):
        songs, tags, _ = self.tags.most_popular(["a", "b", "c"], min_weight=2)
        assert (songs, tags) == (["a", "b"], ["rock"])

    def test_nothing_in_common(self):
        with pytest.raises(InputError, match=r"none of the 4 songs with tags \(such as 'a'\).*such as 'x'"):
            self.tags.most_popular(["x"])


class TestEvaluate:
    def test_is_what_scikit_learn_computes(self, rng):
        X = rng.standard_normal((200, 6)) * [1, 10, 1, 1, 1, 1] + 3
        y = X[:, 0] + rng.standard_normal(200) > 3.5
        report = evaluate_tags(X, y[:, None], tags=["loud"], n_folds=5, random_state=3)
        folds = StratifiedKFold(5, shuffle=True, random_state=3)
        model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8))
        expected = cross_val_score(model, X, y, cv=folds, scoring="roc_auc")
        score = report.scores[0]
        assert (score.n_songs, score.n_folds) == (y.sum(), 5)
        assert score.auc == pytest.approx(expected.mean(), abs=1e-3)
        assert score.auc_std == pytest.approx(expected.std(), abs=1e-3)

    def test_nothing_to_tell_is_a_half(self, rng):
        tags = [str(n) for n in range(20)]
        report = evaluate_tags(rng.standard_normal((300, 4)), rng.random((300, 20)) < 0.3, tags=tags)
        assert report.mean == pytest.approx(0.5, abs=0.03)

    def test_artists_do_not_leak(self, rng):
        artists = np.repeat(np.arange(40), 8)
        # A song's vector says who made it; a tag is an artist's whim.
        X = np.repeat(rng.standard_normal((40, 30)), 8, axis=0) + 0.1 * rng.standard_normal((320, 30))
        y = np.repeat(rng.random(40) < 0.4, 8)[:, None]
        by_song = evaluate_tags(X, y, tags=["whim"]).mean
        by_artist = evaluate_tags(X, y, tags=["whim"], groups=artists).mean
        assert by_song > 0.9
        assert by_artist < 0.75

    def test_rare_tags(self, rng):
        has_tag = np.zeros((30, 5), bool)
        has_tag[0, 0] = True
        has_tag[:3, 1] = True
        has_tag[:, 2] = True
        has_tag[1:, 3] = True
        seen = []
        report = evaluate_tags(
            rng.standard_normal((30, 2)),
            has_tag,
            tags=["one", "three", "all", "all but one", "none"],
            progress=lambda stage, n, n_tags, figures: seen.append((n, n_tags)),
        )
        one, three, everyone, most, none = report.scores
        assert one.skipped == "on 1 song: at least 2 are needed"
        assert three.n_folds == 3
        assert not three.skipped
        assert everyone.skipped == "on all songs"
        assert most.skipped == "on all songs but one"
        assert none.skipped == "on 0 songs: at least 2 are needed"
        assert np.isnan(one.auc)
        assert report.mean == three.auc
        assert seen == [(n, 5) for n in range(1, 6)]

    def test_a_tag_of_one_artist(self, rng):
        has_tag = np.zeros((30, 1), bool)
        has_tag[:5] = True
        groups = ["solo"] * 5 + [f"other {n}" for n in range(25)]
        report = evaluate_tags(rng.standard_normal((30, 2)), has_tag, tags=["t"], groups=groups)
        assert report.scores[0].skipped == "on the songs of one artist"
        assert np.isnan(report.mean)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vectors": np.zeros((3, 2))}, r"got \(3, 2\) and \(4, 1\)"),
            ({"vectors": np.full((4, 2), np.nan)}, "NaN or infinite values in 4 rows, the first is row 0"),
            ({"tags": ["a", "b"]}, "has_tag has 1 columns for 2 tags"),
            ({"n_folds": 1}, "n_folds must be at least 2; got 1"),
            ({"C": 0.0}, "C must be a positive number"),
            ({"groups": ["a"]}, "groups has 1 entries for 4 songs"),
        ],
    )
    def test_bad_input(self, change, message):
        given = {"vectors": np.eye(4), "has_tag": np.ones((4, 1)), "tags": ["a"], **change}
        with pytest.raises(InputError, match=message):
            evaluate_tags(**given)

    def test_plot(self, tmp_path, rng):
        pytest.importorskip("matplotlib")
        has_tag = rng.random((40, 3)) < 0.5
        has_tag[:, 2] = True
        reports = {
            name: evaluate_tags(rng.standard_normal((40, 2)), has_tag, tags=["a", "b", "c"])
            for name in ("factors", "model")
        }
        plot_tags(reports, tmp_path / "tags.svg")
        assert (tmp_path / "tags.svg").stat().st_size > 1000
        with pytest.raises(InputError, match="tags.docx: it must end in .png, .svg or .pdf"):
            plot_tags(reports, tmp_path / "tags.docx")


class TestCommand:
    """Songs of two tastes; the tag says which."""

    @pytest.fixture
    def world(self, tmp_path, rng):
        taste = np.arange(60) % 2
        likes = np.where(np.arange(80)[:, None] % 2 == taste[None], 0.5, 0.02)
        counts = csr_array((rng.random((80, 60)) < likes).astype(np.float32))
        songs = [f"s{n}" for n in range(60)]
        plays = PlayCounts([f"u{n}" for n in range(80)], songs, counts)
        als = WeightedALS(n_factors=4, n_iterations=3, n_threads=1).fit(plays)
        als.factors_.save(tmp_path / "factors")
        lines = [f"{song}\t{'rock' if taste[n] else 'jazz'}" for n, song in enumerate(songs)]
        lines += ["s3\todd one", "unheard\trock"]
        (tmp_path / "tags.tsv").write_text("\n".join(lines) + "\n")
        (tmp_path / "songs.tsv").write_text("\n".join(f"{s}\tartist{n % 20}" for n, s in enumerate(songs)))
        return tmp_path

    def run(self, world, capsys, *words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["tags", str(world / "tags.tsv"), "--factors", str(world / "factors"), *map(str, words)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    def test_rows(self, world, capsys):
        code, out, err = self.run(world, capsys, "--json")
        assert code == 0, err
        rows = {row["tag"]: row for row in json.loads(out)}
        assert list(rows) == ["jazz", "rock", "odd one", "mean of 2 tags"]
        assert rows["rock"]["songs"] == 30
        assert rows["rock"]["factors auc"] > 0.95
        assert rows["odd one"]["factors auc"] is None
        assert rows["mean of 2 tags"]["factors auc"] == pytest.approx(
            (rows["rock"]["factors auc"] + rows["jazz"]["factors auc"]) / 2
        )
        assert "1 of 61 songs with tags have no vector and are left out: 'unheard'" in err
        assert "skipped 'odd one': on 1 song: at least 2 are needed" in err

    def test_by_artist_with_a_plot(self, world, capsys):
        words = ["--by", "artist", "--songs", world / "songs.tsv", "--plot", world / "tags.png", "--top", 2]
        code, out, err = self.run(world, capsys, *words)
        assert code == 0, err
        assert "60 songs with tags, folds by artist" in out
        assert (world / "tags.png").read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        ("plot", "message"),
        [
            ("none/tags.png", "none is no directory"),
            ("tags.docx", "it must end in .png, .svg or .pdf"),
            ("tags", "it must end in .png, .svg or .pdf"),
        ],
    )
    def test_a_plot_that_cannot_be_written_is_refused_before_the_work(self, world, capsys, plot, message):
        (world / "tags.tsv").unlink()  # what the work would begin with
        code, _, err = self.run(world, capsys, "--plot", world / plot)
        assert code == 2
        assert f"the plot cannot be written to {world / plot}: " in err
        assert message in err

    def test_columns(self, world, capsys):
        lines = (world / "tags.tsv").read_text().splitlines()
        rows = [f"someone\t{line.replace(chr(9), chr(9) + 'why' + chr(9))}\n" for line in lines]
        (world / "tags.tsv").write_text("".join(["who\tclip\treason\tword\n", *rows]))
        code, _, err = self.run(world, capsys, "--top", 2)
        assert code == 2
        assert "do not say which is the song and which the tag; give --columns" in err
        for columns in ("clip,word", "2,4"):
            code, out, err = self.run(world, capsys, "--columns", columns, "--top", 2, "--json")
            assert code == 0, err
            assert [row["songs"] for row in json.loads(out)][:2] == [30, 30]

    def test_artists_need_a_table(self, world, capsys):
        code, _, err = self.run(world, capsys, "--by", "artist")
        assert code == 2
        assert "--by artist and --songs SONGS.tsv, which names the artists, go together" in err

    def test_bad_combinations(self, world, capsys):
        capsys.readouterr()
        for words, message in (
            ([], "nothing to tell tags from: give --factors, --words or --model"),
            (
                ["--model", world / "model"],
                "--model and --features, the features to predict from, go together",
            ),
        ):
            with pytest.raises(SystemExit) as end:
                main(["tags", str(world / "tags.tsv"), *map(str, words)])
            assert end.value.code == 2
            assert message in capsys.readouterr().err

    def test_words_and_predictions(self, world, capsys, rng):
        """The audio of a taste is bright or dull; one song with tags has none."""
        (world / "audio").mkdir()
        for n in range(59):
            noise = rng.standard_normal(11025)
            dull = np.convolve(noise, np.ones(8) / 8, mode="same")
            soundfile.write(world / "audio" / f"s{n}.wav", 0.1 * (dull if n % 2 else noise), 22050)

        def call(*words):
            with pytest.raises(SystemExit) as end:
                main([str(word) for word in words])
            assert not end.value.code, capsys.readouterr().err

        call("featurize", world / "audio", "-o", world / "features")
        call("codebook", world / "features", "-o", world / "codebook", "--words", 20)
        words = ("--kind", "bow", "--codebook", world / "codebook")
        call("featurize", world / "audio", "-o", world / "words", *words)
        model = ("--regressor", "linear", "--words", 20, "-o", world / "linear")
        call("train", "--factors", world / "factors", "--features", world / "features", *model)
        sources = ("--words", world / "words", "--model", world / "linear", "--features", world / "features")
        code, out, err = self.run(world, capsys, *sources, "--json")
        assert code == 0, err
        rows = {row["tag"]: row for row in json.loads(out)}
        assert rows["rock"]["songs"] + rows["jazz"]["songs"] == 59
        for name in ("factors", "words", "linear"):
            assert rows["rock"][f"{name} auc"] > 0.9
        assert "2 of 61 songs with tags have no vector and are left out: 's59', 'unheard'" in err
        assert "linear was trained on 59 of these 59 songs" in err

        (world / "some.txt").write_text("".join(f"s{n}\n" for n in range(20)))
        code, out, err = self.run(world, capsys, "--only", world / "some.txt", "--json")
        assert [row["songs"] for row in json.loads(out)][:2] == [10, 10]
