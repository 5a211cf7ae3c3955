"""The convolutional network: what its data costs, how fast it predicts, and what a loss costs.

    python benchmarks/cnn.py [--quick] [--threads N] [--repeats N] [--json FILE]
    python benchmarks/cnn.py --device cuda --batch-sizes 64 256 1024 --precision float32 bfloat16 --compile --json cuda.json

Rates are those of the package's own training loop and prediction: once from a FeatureStore on disk, once from
batches that already lie on the device, same network, one after the other in turn. The flops are those that
torch counts in one step; the peak is a measured sgemm on CPU and the maker's dense figure on CUDA.
"""  # noqa: E501

import argparse
import json
import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
import torch
from dcbmr_torch.cnn import CNN
from dcbmr_torch.examples import WindowExamples
from dcbmr_torch.losses import MSE, WPE
from dcbmr_torch.ranking import Softmax
from dcbmr_torch.training import predict, resolve_device, torch_session, train
from scipy.sparse import csr_array
from torch.utils.flop_counter import FlopCounterMode

import dcbmr

SR = 22050
# Dense bfloat16, the makers' data sheets, in flop/s.
BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


class Ready:
    """Examples that lie on the device: a few batches of noise, over and over."""

    unit = "windows"

    def __init__(self, like, length, batch_size, device):
        self.song_ids, self.n_songs, self.n_dims = like.song_ids, like.n_songs, like.n_dims
        self._like = like
        self._batches = [torch.randn(batch_size, length, self.n_dims, device=device) for _ in range(4)]

    def sample(self, rows, rng):
        yield from zip(rows, cycle(self._batches))

    def cover(self, rows, batch_size):
        songs, _ = self._like.covering(rows)
        for start, inputs in zip(range(0, len(songs), batch_size), cycle(self._batches)):
            part = songs[start : start + batch_size]
            yield part, inputs[: len(part)]


def make_store(directory, n_songs, seconds):
    """Feature store of noise: what it sounds like costs nothing."""
    rng = np.random.default_rng(0)
    audio = directory / "audio"
    audio.mkdir()
    for song in range(n_songs):
        samples = rng.integers(-3000, 3000, int(seconds * SR), np.int16)
        soundfile.write(audio / f"song{song:05}.wav", samples, SR)
    dcbmr.featurize(audio, directory / "features", kinds=("mel",))
    store = dcbmr.FeatureStore.open(directory / "features")
    return store.features(list(store))


def make_target(n_songs, n_users, n_factors=50, listeners=127):
    """Plays at random: 127 listeners a song, as in the paper."""
    rng = np.random.default_rng(0)
    users = rng.normal(size=(n_users, n_factors)).astype(np.float32)
    songs = rng.normal(size=(n_songs, n_factors)).astype(np.float32)
    indices = np.concatenate([rng.choice(n_users, listeners, replace=False) for _ in range(n_songs)])
    indptr = np.arange(n_songs + 1) * listeners
    surplus = csr_array((np.full(len(indices), 27.6, np.float32), indices, indptr), shape=(n_songs, n_users))
    return dcbmr.FactorTarget(songs, users, surplus, None, np.zeros(n_songs, bool))


def agree(songs, target):
    """What is timed is right: windows are the frames, wpe is the sum over all users."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(songs.song_ids), 20)
    starts = rng.integers(0, 100, 20)
    for window, row, start in zip(songs.windows(rows, starts, 129), rows, starts, strict=True):
        np.testing.assert_array_equal(
            window, np.take(songs.frames(row), start + np.arange(129), 0, mode="wrap")
        )
    predicted = 0.05 * rng.normal(size=(20, target.song_factors.shape[1])).astype(np.float32)
    surplus = target.surplus[rows].toarray()
    expected = ((1 + surplus) * ((surplus > 0) - predicted @ target.user_factors.T) ** 2).sum() / 20
    found = WPE(target)(torch.from_numpy(predicted), torch.from_numpy(rows)).item()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def peak_of(device, n_threads):
    """Return flop/s of the device's matrix product."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
        return next((peak for key, peak in BF16_PEAK.items() if key in name), float("nan"))
    torch.set_num_threads(n_threads)
    a = torch.randn(3072, 3072)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return 2 * 3072**3 / min(times)


def flops_of_a_window(model, n_dims, n_factors):
    """Return the flops of one window, forward and back."""
    network = model.network(n_dims, n_factors)
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(8, model.window, n_dims)).sum().backward()
    return counter.get_total_flops() / 8


def rates(model, songs, target, device, n_threads, repeats):
    """Return windows/s of training and of prediction: {(what, source): [rate of each repeat]}."""
    model.check()
    found = {(what, source): [] for what in ("train", "predict") for source in ("store", "ready")}
    with torch_session(n_threads, device, 0):
        n_factors = target.song_factors.shape[1]
        stored = WindowExamples(songs, model.window, device)
        network = model._standardized(songs.n_dims, n_factors)
        rows = np.arange(len(songs.song_ids))
        network.standardize(stored.statistics(rows, np.random.default_rng(0)), target.song_factors)
        network.to(device)
        ready = Ready(stored, model.window, model.batch_size, device)
        n_windows = len(stored.covering(rows)[0])
        for repeat in range(repeats + 1):  # the first one warms up
            for source, examples in (("store", stored), ("ready", ready)):
                history = train(network, examples, target, MSE(target), model, dcbmr.FitRun())
                began = time.perf_counter()
                predict(network, examples, rows, model.batch_size)
                seconds = time.perf_counter() - began
                if repeat:
                    found["train", source] += [row["windows_per_s"] for row in history]
                    found["predict", source].append(n_windows / seconds)
    return found


def losses(n_users, device, batch_size=64, repeats=30):
    """Return milliseconds of each loss with its gradient, for one batch."""
    target = make_target(2 * batch_size, n_users)
    songs = torch.arange(batch_size, device=device)
    predicted = torch.randn(batch_size, target.song_factors.shape[1], device=device, requires_grad=True)
    found = {}
    for name, loss in (("mse", MSE(target)), ("wpe", WPE(target)), ("softmax", Softmax(target))):
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            loss(predicted, songs).backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        found[name] = 1e3 * statistics.median(times)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--precision", nargs="+", default=["auto"])
    parser.add_argument("--architecture", default="nips2013")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = resolve_device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {args.threads} threads"
    peak = peak_of(device, args.threads)
    print(f"{name}; torch {torch.__version__}; peak {peak / 1e9:,.0f} Gflop/s")
    n_songs = 64 if args.quick else 8192 if device.type == "cuda" else 1024
    out = []
    with tempfile.TemporaryDirectory() as directory:
        songs = make_store(Path(directory), n_songs, seconds=9)
        target = make_target(n_songs, 20_000)
        agree(songs, target)
        print(
            "batch  channels  precision   train: store    ready  ratio  of peak"
            "   predict: store    ready  ratio  (windows/s)"
        )
        for batch_size in args.batch_sizes:
            for channels in args.channels:
                for precision in args.precision:
                    wide = (channels,) * (4 if args.architecture == "spotify2014" else 2)
                    model = CNN(
                        architecture=args.architecture,
                        channels=wide,
                        batch_size=min(batch_size, n_songs),
                        precision=precision,
                        compile=args.compile,
                        epochs=2,
                    )
                    found = rates(
                        model, songs, target, device, args.threads, 1 if args.quick else args.repeats
                    )
                    row = {"batch_size": batch_size, "channels": channels, "precision": precision}
                    for (what, source), values in found.items():
                        row[f"{what}_{source}"] = statistics.median(values)
                        row[f"{what}_{source}_spread"] = (max(values) - min(values)) / statistics.median(
                            values
                        )
                    for what in ("train", "predict"):
                        row[f"{what}_ratio"] = row[f"{what}_store"] / row[f"{what}_ready"]
                    flops = flops_of_a_window(model, songs.n_dims, target.song_factors.shape[1])
                    row["of_peak"] = flops * row["train_store"] / peak
                    out.append(row)
                    print(
                        f"{batch_size:5}  {channels:8}  {precision:9}  {row['train_store']:14,.0f} "
                        f"{row['train_ready']:8,.0f}  {row['train_ratio']:5.2f}  {row['of_peak']:7.1%}"
                        f"  {row['predict_store']:15,.0f} {row['predict_ready']:8,.0f}"
                        f"  {row['predict_ratio']:5.2f}"
                        f"  spread {max(v for k, v in row.items() if k.endswith('spread')):.0%}"
                    )
    sizes = (1_000, 10_000) if args.quick else (10_000, 100_000, 1_000_000)
    for n_users in sizes:
        row = {"n_users": n_users, **losses(n_users, device)}
        out.append(row)
        print(
            f"{n_users:9,} users: "
            + ", ".join(f"{k} {v:.2f} ms" for k, v in row.items() if k != "n_users")
            + " a batch of 64 songs of 127 listeners, with the gradient"
        )
    if args.json:
        about = {"device": name, "torch": torch.__version__, "peak": peak, "date": time.strftime("%Y-%m-%d")}
        args.json.write_text(json.dumps({"about": about, "rows": out}, indent=2) + "\n")


if __name__ == "__main__":
    main()
