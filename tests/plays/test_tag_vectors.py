"""Tags as vectors: by the name of the tag alone, of length one."""

import numpy as np
import pytest
from tables import write

import dcbmr
from dcbmr.cli import main
from dcbmr.plays.tag_vectors import tag_vectors, write_tag_vectors
from dcbmr.plays.vectors import read_vectors

LINES = "song\ttag\tweight\na\trock\t3\na\tLoud\t1\nb\tjazz\t2\nc\tROCK\t9\n"


def read(tmp_path, text, **options):
    tags = dcbmr.SongTags.read(write(tmp_path / "t.tsv", text))
    ((songs, vectors),) = tag_vectors(tags, **options)
    return dict(zip(songs, vectors, strict=True))


def test_a_vector_says_which_tags_and_how_much(tmp_path):
    found = read(tmp_path, LINES)
    assert {song: vector.shape for song, vector in found.items()} == dict.fromkeys("abc", (512,))
    for vector in found.values():
        assert np.linalg.norm(vector) == pytest.approx(1)
    assert found["a"] @ found["c"] == pytest.approx(np.log(4) / np.hypot(np.log(4), np.log(2)), rel=1e-6)
    assert found["a"] @ found["b"] == 0
    np.testing.assert_array_equal(np.abs(found["c"]).max(), 1)


def test_other_files_give_the_same(tmp_path):
    """Neither the order of the lines, nor other songs and tags, nor the block matter."""
    one = read(tmp_path, LINES)
    other = read(tmp_path, "z\tpolka\t1\na\tloud\t1\na\t Rock \t3\n")
    np.testing.assert_array_equal(one["a"], other["a"])


def test_inner_products_are_kept_as_far_as_the_dimensions_go(tmp_path):
    rng = np.random.default_rng(0)
    sets = [rng.choice(3000, 20, replace=False) for _ in range(40)]
    text = "".join(f"{song}\t{tag}\n" for song, tags in enumerate(sets) for tag in tags)
    truth = np.array([[len(set(a) & set(b)) / 20 for a in sets] for b in sets])
    for n_dims, error in ((256, 0.08), (4096, 0.02)):
        found = read(tmp_path, text, n_dims=n_dims)
        vectors = np.array([found[str(song)] for song in range(40)])
        assert np.sqrt(np.square(vectors @ vectors.T - truth).mean()) < error


def test_written_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dcbmr.plays.tag_vectors._BLOCK_SONGS", 2)
    tags = dcbmr.SongTags.read(write(tmp_path / "t.tsv", LINES))
    write_tag_vectors(tags, tmp_path / "t.parquet", n_dims=7)
    ids = [song for songs, _ in read_vectors(tmp_path / "t.parquet") for song in songs]
    found = np.concatenate([vectors for _, vectors in read_vectors(tmp_path / "t.parquet")])
    assert ids == ["a", "b", "c"]
    np.testing.assert_array_equal(
        found, np.concatenate([vectors for _, vectors in tag_vectors(tags, n_dims=7)])
    )
    with pytest.raises(dcbmr.InputError, match="t.parquet exists; give another file"):
        write_tag_vectors(tags, tmp_path / "t.parquet")
    write_tag_vectors(tags, tmp_path / "t.parquet", overwrite=True)
    assert next(read_vectors(tmp_path / "t.parquet"))[1].shape[1] == 512
    for path, options, message in (
        ("t.npz", {}, "written as Parquet; call it t.parquet"),
        ("u.parquet", {"n_dims": 0}, "n_dims must be at least 1"),
        ("none/u.parquet/x.parquet", {}, "cannot be written"),
    ):
        (tmp_path / "none").mkdir(exist_ok=True)
        (tmp_path / "none" / "u.parquet").touch()
        with pytest.raises(dcbmr.InputError, match=message):
            write_tag_vectors(tags, tmp_path / path, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none", "t.parquet", "t.tsv"]


def test_command_line(tmp_path, capsys):
    def run(*args):
        with pytest.raises(SystemExit) as stopped:
            main([str(arg) for arg in args])
        return stopped.value.code, *capsys.readouterr()

    file = write(tmp_path / "t.tsv", LINES.replace("song", "what").replace("tag", "how"))
    out = tmp_path / "t.parquet"
    assert run("vectors", "tags", file, "-o", out)[0] == 2
    command = ("vectors", "tags", file, "-o", out, "--columns", "what,how,weight", "--dims", 16)
    assert run(*command)[:2] == (0, f"{out}: 3 songs, 4 tags in 16 dimensions\n")
    assert run(*command)[0] == 2
    status, text, _ = run("featurize", "--vectors", out, "-o", tmp_path / "f", "--kind", "tags")
    assert (status, text) == (0, f"{tmp_path / 'f' / 'tags'}: 3 vectors of 16 dimensions\n")
