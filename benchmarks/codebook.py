"""Codebook and bag of words: assignment, learning, one-pass counting and principal components, beside peers.

    python benchmarks/codebook.py [assign] [learn] [stream] [pca] [--audio FOLDER] [--json FILE]

`assign` finds the nearest of 4000 words for 39-dimensional frames: of Gaussian noise, where nothing can be
skipped, and of the recordings in FOLDER in their order, with words learned from the same recordings between
those frames, and with words learned from half of the recordings for the frames of the other half. Frames are
not standardized: distances are then the same for all peers. Every
peer's answers are compared first. `learn` learns 4000 words from a million frames of the recordings, which
start 10 samples apart. `stream` reads audio to MFCCs and to words. `pca` reduces word counts. Without
arguments, all parts run.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, vstack
from threadpoolctl import threadpool_limits

from dcbmr import MFCC, Codebook, _core
from dcbmr.audio.decode import decode
from dcbmr.features.featurize import featurize
from dcbmr.features.pca import PCA

N_WORDS, N_DIMS = 4000, 39
THREADS = sorted({1, len(os.sched_getaffinity(0))})
ROWS = []


def timed(function, repeats=5):
    """Median and half range of the seconds of several runs."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), (max(seconds) - min(seconds)) / 2


def show(**row):
    ROWS.append(row)
    cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print("  ".join(cells), flush=True)


def recordings(folder):
    return [np.concatenate(list(decode(path))) for path in sorted(Path(folder).glob("*.ogg"))]


def mfccs(sounds, offsets=(0,)):
    extract = MFCC()
    return np.concatenate([extract(sound[offset:]) for offset in offsets for sound in sounds])


# The peers: each returns a function of the frames that gives labels, on so many threads.


def peer_dcbmr(words, n_threads):
    search = _core.NearestWord(words)

    def run(frames):
        labels = np.empty(len(frames), np.int32)
        search.assign(frames, labels, None, n_threads)
        return labels

    return run


def peer_faiss(words, n_threads):
    import faiss

    faiss.omp_set_num_threads(n_threads)
    index = faiss.IndexFlatL2(words.shape[1])
    index.add(words)
    return lambda frames: index.search(frames, 1)[1][:, 0]


def peer_scikit_learn(words, n_threads):
    from sklearn.metrics import pairwise_distances_argmin

    def run(frames):
        with threadpool_limits(n_threads):
            return pairwise_distances_argmin(frames, words)

    return run


def peer_torch(words, n_threads):
    import torch

    torch.set_num_threads(n_threads)
    transposed, norms = torch.from_numpy(words.T.copy()), torch.from_numpy((words**2).sum(axis=1) / 2)

    def run(frames):
        blocks = torch.from_numpy(frames).split(8192)
        return torch.cat([(norms - block @ transposed).argmin(dim=1) for block in blocks]).numpy()

    return run


PEERS = {"dcbmr": peer_dcbmr, "faiss": peer_faiss, "scikit-learn": peer_scikit_learn, "torch": peer_torch}


def sgemm_rate(n_threads):
    """GFLOP/s of a large product."""
    a = np.random.default_rng(0).standard_normal((3072, 3072)).astype(np.float32)
    with threadpool_limits(n_threads):
        a @ a
        seconds, _ = timed(lambda: a @ a)
    return 2 * 3072**3 / seconds / 1e9


def worse_by(words, frames, labels):
    """How much farther the chosen words are than the nearest, at most, relatively; and how many differ."""
    exact = np.square(frames[:, None].astype(float) - words[None]).sum(axis=2)
    chosen = exact[np.arange(len(frames)), labels]
    return float((np.sqrt(chosen / exact.min(axis=1)) - 1).max()), int((labels != exact.argmin(axis=1)).sum())


def assign(sounds):
    rng = np.random.default_rng(0)
    cases = {"noise": (rng.standard_normal((N_WORDS, N_DIMS)), rng.standard_normal((60_000, N_DIMS)))}
    if sounds:
        between = Codebook(n_iterations=10, standardize=False).fit(mfccs(sounds, (64, 192, 320, 448)))
        cases["music"] = between.words_, mfccs(sounds)
        half = Codebook(n_iterations=10, standardize=False).fit(mfccs(sounds[::2], range(0, 512, 32)))
        cases["music, words of other recordings"] = half.words_, mfccs(sounds[1::2])
    for n_threads in THREADS:
        rate = sgemm_rate(n_threads)
        show(part="assign", frames="", who="sgemm", threads=n_threads, gflops=rate)
        for name, (words, frames) in cases.items():
            words = np.ascontiguousarray(words, np.float32)
            frames = np.ascontiguousarray(frames, np.float32)
            for peer, make in PEERS.items():
                try:
                    run = make(words, n_threads)
                except ImportError:
                    continue
                some = frames[rng.choice(len(frames), 300, replace=False)]
                worse, differ = worse_by(words, some, run(some))
                if peer in ("dcbmr", "faiss"):
                    assert worse < 1e-5, (peer, worse)
                used = frames if peer in ("dcbmr", "faiss") else frames[:10_000]
                if peer == "dcbmr":
                    used = np.tile(used, (1 + 200_000 // len(used), 1))
                seconds, spread = timed(lambda run=run, used=used: run(used))
                show(
                    part="assign",
                    frames=name,
                    who=peer,
                    threads=n_threads,
                    frames_per_s=round(len(used) / seconds),
                    spread_percent=100 * spread / seconds,
                    gflops=2e-9 * len(used) * N_WORDS * N_DIMS / seconds,
                    worse=worse,
                    differ_of_300=differ,
                )


def learn(sounds):
    n_iterations = 10
    frames = mfccs(sounds, range(0, 512, 10))
    frames = frames[np.random.default_rng(0).permutation(len(frames))[:1_000_000]]
    n_threads = THREADS[-1]
    for seed in range(2):
        codebook = Codebook(
            n_iterations=n_iterations,
            tolerance=0,
            standardize=False,
            n_threads=n_threads,
            random_state=seed,
        )
        seconds, _ = timed(lambda codebook=codebook: codebook.fit(frames), 1)
        who = {"dcbmr": (seconds, codebook.inertia_)}
        try:
            import faiss

            faiss.omp_set_num_threads(n_threads)
            peer = faiss.Kmeans(
                N_DIMS, N_WORDS, niter=n_iterations, seed=seed + 1, max_points_per_centroid=1 << 30
            )
            seconds, _ = timed(lambda peer=peer: peer.train(frames), 1)
            distances = np.empty(len(frames), np.float32)
            labels = np.empty(len(frames), np.int32)
            _core.NearestWord(peer.centroids).assign(frames, labels, distances, n_threads)
            who["faiss"] = seconds, float(distances.sum(dtype=float))
        except ImportError:
            pass
        for name, (seconds, inertia) in who.items():
            show(
                part="learn",
                who=name,
                seed=seed,
                threads=n_threads,
                n_frames=len(frames),
                iterations=n_iterations,
                seconds=seconds,
                mean_squared_distance=inertia / len(frames),
            )


def stream(folder, sounds):
    codebook = Codebook(n_iterations=5).fit(mfccs(sounds, (0, 128, 256, 384)), frame_config=MFCC().config)
    for n_threads in THREADS:
        base = None
        for name, options in {
            "MFCC": {"kinds": ["mfcc"]},
            "words": {"kinds": ["bow"], "codebook": codebook},
        }.items():

            def run(options=options, n_threads=n_threads):
                with tempfile.TemporaryDirectory() as directory:
                    report = featurize(folder, Path(directory) / "out", n_threads=n_threads, **options)
                    assert report.n_done == len(sounds), report.failed

            seconds, spread = timed(run)
            base = base or seconds
            show(
                part="stream",
                to=name,
                threads=n_threads,
                seconds=seconds,
                spread_percent=100 * spread / seconds,
                ratio=seconds / base,
                times_real_time=sum(map(len, sounds)) / 22050 / seconds,
            )


def memory_mib(reset_peak=False):
    """Greatest resident memory since the last reset; Linux only."""
    if reset_peak:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def word_counts(n_songs, n_topics=60):
    """Some 400 of 4000 words in a song; which ones, and how often, goes by its topic."""
    rng = np.random.default_rng(0)
    share = np.minimum(rng.gamma(0.5, 0.2, (n_topics, N_WORDS)), 0.9).astype(np.float32)
    blocks = []
    for begin in range(0, n_songs, 4096):
        n = min(4096, n_songs - begin)
        drawn = rng.random((n, N_WORDS), np.float32) / share[rng.integers(n_topics, size=n)]
        blocks.append(csr_array(np.where(drawn < 1, np.ceil(4 * (1 - drawn)), 0).astype(np.float32)))
    return vstack(blocks, format="csr")


def pca(sizes):
    for n_songs in sizes:
        X = word_counts(n_songs)
        before = memory_mib(reset_peak=True)
        reduced = PCA(variance=0.95)
        fit, _ = timed(lambda reduced=reduced, X=X: reduced.fit(X), 1)
        transform, _ = timed(lambda reduced=reduced, X=X: reduced.transform(X[:10_000]), 1)
        peak = memory_mib()
        agreement = ""
        if n_songs <= 10_000:
            dense = X.toarray() - X.mean(axis=0)
            value = np.linalg.eigvalsh((dense.T @ dense).astype(float))[-1] / (n_songs - 1)
            assert abs(reduced.explained_variance_[0] / value - 1) < 1e-4
            agreement = "checked"
        show(
            part="pca",
            n_songs=n_songs,
            n_words=N_WORDS,
            counts=X.nnz,
            fit_s=fit,
            transform_10000_s=transform,
            components=len(reduced.components_),
            mib_more=peak - before,
            agreement=agreement,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["assign", "learn", "stream", "pca"]
    parser.add_argument("parts", nargs="*", help=", ".join(parts))
    default = Path(__file__).resolve().parents[2] / "shared/data/audio"
    parser.add_argument("--audio", type=Path, default=default if default.is_dir() else None)
    parser.add_argument("--songs", type=int, nargs="+", default=[10_000, 400_000], help="of the part pca")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    wanted = args.parts or parts
    sounds = recordings(args.audio) if args.audio and set(wanted) - {"pca"} else []
    print(platform.processor() or platform.machine(), "| best instruction set:", _core.isa())
    if "assign" in wanted:
        assign(sounds)
    if "learn" in wanted and sounds:
        learn(sounds)
    if "stream" in wanted and sounds:
        stream(args.audio, sounds)
    if "pca" in wanted:
        pca(args.songs)
    if args.json:
        args.json.write_text(json.dumps(ROWS, indent=2) + "\n")


if __name__ == "__main__":
    main()
