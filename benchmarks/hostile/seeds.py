"""What is mutated: whole files and directories, small, made by what writes them; and wires to trip.

A family is a name and its seeds in a folder; ``use(family, path)`` does with a mutated one what dcbmr does.
"""

import gzip
import io
import os
import pickle
import shutil

import numpy as np
import soundfile

import dcbmr
from dcbmr.audio.decode import decode
from dcbmr.contract.registry import built_in_only
from dcbmr.experiment.experiment import plan_experiment
from dcbmr.experiment.reading import read_experiment
from dcbmr.plays.songs import read_songs
from dcbmr.plays.split import split_plays

AUDIO = ("wav", "flac", "ogg", "mp3", "opus", "m4a")
KEPT = (
    "factors",
    "features",
    "codebook",
    "model",
    "split",
    "vectors",
    "config",
    "songs",
    "manifest",
    "results",
)
FAMILIES = (*AUDIO, "plays", *KEPT)
EXECUTED = "executed"  # a folder that a payload makes in the working directory


CONFIG = """
random_state = 3
[data]
plays = "../seeds/plays.tsv"
songs = "../seeds/songs/a.tsv"
audio = "../seeds/music"
[split]
by = "artist"
[factorization]
n_factors = 5
[features]
n_words = [4, 8]
[[rows]]
name = "linear"
regressor = "linear"
[[rows]]
name = "mlp"
regressor = "mlp"
loss = "mse"
params = { epochs = 3 }
"""


class Payload:
    """An object whose unpickling leaves a trace."""

    def __reduce__(self):
        return os.mkdir, (EXECUTED,)


def payloads():
    """Return files that execute something where they are unpickled."""
    array = io.BytesIO()
    np.save(array, np.array([Payload()], object), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, ids=np.array([Payload()], object), vectors=np.array([[Payload()]], object))
    return [array.getvalue(), archive.getvalue(), pickle.dumps(Payload()), pickle.dumps([Payload()], 0)]


def made_in(folder):
    """Return the folder ``seeds`` in a folder, made where it is not there."""
    if not (folder / "seeds").exists():
        shutil.rmtree(folder / "partial", ignore_errors=True)
        make(folder / "partial")
        (folder / "partial").rename(folder / "seeds")
    return folder / "seeds"


def make(folder):
    """Write the seeds of all families into an empty folder."""
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        (folder / family).mkdir(parents=True)
    _audio(folder, rng)
    _plays(folder / "plays", rng)
    _kept(folder, rng)


def _audio(folder, rng):
    def sound(seconds, sr, channels):
        t = np.arange(round(seconds * sr)) / sr
        return (0.2 * np.sin(2500 * t)[:, None] + 0.05 * rng.standard_normal((len(t), channels))).clip(-1, 1)

    soundfile.write(folder / "wav" / "a.wav", sound(0.05, 22050, 1), 22050)
    soundfile.write(folder / "wav" / "b.wav", sound(0.03, 44100, 2), 44100, subtype="FLOAT")
    soundfile.write(folder / "wav" / "c.wav", sound(0.1, 8000, 1), 8000, subtype="IMA_ADPCM")
    soundfile.write(folder / "wav" / "d.wav", sound(0.05, 48000, 3), 48000, format="WAVEX", subtype="PCM_24")
    soundfile.write(folder / "wav" / "e.wav", sound(0.05, 8000, 1), 8000, format="RF64", subtype="ULAW")
    soundfile.write(folder / "flac" / "a.flac", sound(0.1, 22050, 2), 22050)
    soundfile.write(folder / "flac" / "b.flac", sound(0.1, 44100, 1), 44100, subtype="PCM_24")
    soundfile.write(folder / "ogg" / "a.ogg", sound(0.2, 22050, 1), 22050)
    soundfile.write(folder / "ogg" / "b.ogg", sound(0.1, 44100, 2), 44100)
    soundfile.write(folder / "opus" / "a.opus", sound(0.3, 48000, 2), 48000, format="OGG", subtype="OPUS")
    soundfile.write(folder / "opus" / "b.opus", sound(0.2, 8000, 1), 8000, format="OGG", subtype="OPUS")
    soundfile.write(folder / "mp3" / "a.mp3", sound(0.3, 44100, 2), 44100)
    soundfile.write(folder / "mp3" / "b.mp3", sound(0.3, 16000, 1), 16000)
    tag = (
        b"ID3\x04\0\0"
        + bytes((0, 0, 0, 40))
        + b"TIT2"
        + bytes((0, 0, 0, 10, 0, 0, 3))
        + b"some title"
        + bytes(30)
    )
    (folder / "mp3" / "c.mp3").write_bytes(tag + (folder / "mp3" / "b.mp3").read_bytes())
    for name, sr, channels in (("a", 44100, 2), ("b", 16000, 1)):
        _write_m4a(folder / "m4a" / f"{name}.m4a", sound(0.3, sr, channels).astype(np.float32), sr)


def _write_m4a(path, samples, sr):
    import av

    layout = "stereo" if samples.shape[1] == 2 else "mono"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=sr, layout=layout)
        for begin in range(0, len(samples), 1024):
            part = np.ascontiguousarray(samples[begin : begin + 1024].T)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.rate, frame.pts = sr, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _plays(folder, rng):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [(f"user {rng.integers(9)}", f"song {song}", rng.integers(1, 20)) for song in range(40)]
    table = "".join(f"{user}\t{song}\t{n}\n" for user, song, n in rows).encode()
    (folder / "a.tsv").write_bytes(table)
    (folder / "b.csv").write_bytes(b"user,song,count\n" + table.replace(b"\t", b","))
    log = "".join(f"u{i % 5}\ts{i % 7}\t2024-01-{1 + i % 28:02}T10:00:00\t{i}\n" for i in range(40))
    (folder / "c.tsv").write_text("user\tsong\ttime\tseconds\n" + log)
    (folder / "d.tsv.gz").write_bytes(gzip.compress(table, mtime=0))
    (folder / "e.tsv.zst").write_bytes(pa.Codec("zstd").compress(table, asbytes=True))
    columns = {"user": [row[0] for row in rows], "song": [row[1] for row in rows]}
    for name, counts, codec in (("f", pa.int64(), "snappy"), ("g", pa.float64(), "zstd")):
        counted = pa.table({**columns, "count": pa.array([int(row[2]) for row in rows], counts)})
        parquet.write_table(counted, folder / f"{name}.parquet", compression=codec)


def _kept(folder, rng):
    music = folder / "music"
    music.mkdir()
    for song in range(12):
        samples = 0.1 * rng.standard_normal(9000) * np.sin(np.arange(9000) * 0.02 * (song + 1))
        soundfile.write(music / f"s{song}.wav", samples, 22050)
    store = folder / "features" / "a"
    dcbmr.featurize(music, store, kinds=("mel", "mfcc", "stats"), n_threads=1)
    users = np.repeat(np.arange(20), 5)
    songs = np.array([rng.permutation(12)[:5] for _ in range(20)]).ravel()
    rows = zip(users, songs, rng.integers(1, 9, len(users)), strict=True)
    (folder / "plays.tsv").write_text("".join(f"u{user}\ts{song}\t{n}\n" for user, song, n in rows))
    plays = dcbmr.PlayCounts.read(folder / "plays.tsv")
    artists = {f"s{song}": f"a{song // 2}" for song in range(12)}
    split_plays(plays, by="artist", artists=artists).save(folder / "split" / "a")
    factors = dcbmr.WeightedALS(n_factors=4, n_iterations=3).fit(plays).factors_
    factors.save(folder / "factors" / "a")
    opened = dcbmr.FeatureStore.open(store)
    dcbmr.fit_codebook(opened["mfcc"].features(opened["mfcc"].song_ids), n_words=8).save(
        folder / "codebook" / "a"
    )
    small = {"epochs": 1, "batch_size": 8}
    models = [
        dcbmr.train(factors, opened, regressor="linear", kind="stats"),
        dcbmr.train(
            factors,
            opened,
            regressor="linear",
            pipeline=dcbmr.FeaturePipeline("bow_pca", n_words=8),
            loss="mse",
        ),
        dcbmr.train(factors, opened, regressor="kernel_ridge", kind="stats"),
        dcbmr.train(factors, opened, regressor="mlp", kind="stats", loss="mse", params=small),
        dcbmr.train(factors, opened, regressor="mlr", kind="stats"),
        dcbmr.train(
            factors,
            opened,
            regressor="cnn",
            loss="mse",
            params={
                **small,
                "window": 8,
                "channels": (4,),
                "pools": (2,),
                "hidden": (8,),
                "filter_length": 3,
            },
        ),
    ]
    for number, model in enumerate(models):
        model.save(folder / "model" / f"{number}")
    dcbmr.Stack(models[:2]).save(folder / "model" / "stack")
    vectors = folder / "vectors"
    ids, numbers = [f"s{song}" for song in range(12)], rng.standard_normal((12, 3)).astype(np.float32)
    np.save(vectors / "a.npy", numbers)
    (vectors / "a.ids.txt").write_text("\n".join(ids) + "\n")
    np.savez(vectors / "b.npz", ids=np.array(ids), vectors=numbers)
    np.savez_compressed(vectors / "c.npz", ids=np.array(ids), vectors=numbers)
    rows = "\n".join("\t".join([song, *map(str, row)]) for song, row in zip(ids, numbers, strict=True))
    (vectors / "d.tsv").write_text("song\tx\ty\tz\n" + rows + "\n")
    table = "song\tartist\ttitle\n" + "".join(f"{song}\t{artists[song]}\tTitle\n" for song in ids)
    (folder / "songs" / "a.tsv").write_text(table)
    (folder / "songs" / "b.csv").write_text(table.replace("\t", ","))
    (folder / "manifest" / "a.tsv").write_text(
        "song\tpath\n" + "".join(f"{song}\t../../seeds/music/{song}.wav\n" for song in ids[:3])
    )
    (folder / "config" / "a.toml").write_text(CONFIG)
    by_play = split_plays(plays, by="play")
    known = dcbmr.WeightedALS(n_factors=4, n_iterations=2).fit(by_play).factors_
    dcbmr.evaluate_factors({"known": known}, by_play, n_resamples=10).save(folder / "results" / "a")


def use(family, path, seeds):
    """Do with a file or a directory what dcbmr does with it; InputError is the only error there should be."""
    if family in AUDIO:
        for block in decode(path, duration=30.0):
            assert np.isfinite(block).all()
        return
    _USES[family](path, seeds)


def _use_features(path, seeds):
    store = dcbmr.FeatureStore.open(path, unfinished=True)
    for kind in store:
        store[kind].check()
        for song in store[kind]:
            store[kind][song].sum()


def _use_codebook(path, seeds):
    codebook = dcbmr.Codebook.load(path)
    codebook.assign(dcbmr.FeatureStore.open(seeds / "features" / "a")["mfcc"]["s0"])


def _use_model(path, seeds):
    model = dcbmr.load_model(path)
    store = dcbmr.FeatureStore.open(seeds / "features" / "a")
    predicted = model.predict_store(store)
    assert np.isfinite(predicted).all()
    recommender = dcbmr.Recommender(model, model.songs_in(store), predicted)
    recommender.recommend(model.user_ids[:1], k=3)


def _use_factors(path, seeds):
    factors = dcbmr.Factors.load(path)
    dcbmr.Recommender(factors, factors.song_ids, factors.song_factors).recommend(factors.user_ids[:1], k=3)


def _use_split(path, seeds):
    split = dcbmr.Split.load(path)
    dcbmr.WeightedALS(n_factors=2, n_iterations=1).fit(split)


def _use_vectors(path, seeds):
    dcbmr.bring_vectors(path, path.parent / "brought", kind="tags")


def _use_config(path, seeds):
    with built_in_only():
        plan_experiment(read_experiment(path), path.parent / "out")


def _use_manifest(path, seeds):
    dcbmr.featurize(path, path.parent / "out", kinds=["mfcc"], n_threads=1)


def _use_results(path, seeds):
    dcbmr.Evaluation.load(path).table()


_USES = {
    "plays": lambda path, seeds: dcbmr.PlayCounts.read([path]),
    "features": _use_features,
    "codebook": _use_codebook,
    "model": _use_model,
    "factors": _use_factors,
    "split": _use_split,
    "vectors": _use_vectors,
    "config": _use_config,
    "songs": lambda path, seeds: read_songs(path),
    "manifest": _use_manifest,
    "results": _use_results,
}
