"""The convolutional network: what its data costs, how fast it predicts, and what a loss costs.

    python benchmarks/cnn.py [--quick] [--threads N] [--repeats N] [--json FILE]
    python benchmarks/cnn.py --device cuda --channels 128 --precision float32 bfloat16 --compile no yes --json cuda.json

Rates are those of the package's own training loop and prediction: once from a FeatureStore on disk, once from
batches that already lie on the device as float32, same network, one after the other in turn. The flops are
those that torch counts in one step; the peak is a measured sgemm on CPU and the maker's dense bfloat16 figure on
CUDA. Utilisation is what nvidia-smi says, over seconds of training that are not timed.
"""  # noqa: E501

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import threading
import time
from itertools import cycle, product
from pathlib import Path

import numpy as np
import soundfile
import torch
from dcbmr_torch.cnn import CNN
from dcbmr_torch.examples import WindowExamples
from dcbmr_torch.losses import MSE, WPE
from dcbmr_torch.ranking import Softmax
from dcbmr_torch.together import Together
from dcbmr_torch.training import predict, resolve_device, torch_session, train
from scipy.sparse import csr_array
from torch.utils.flop_counter import FlopCounterMode

import dcbmr

SR = 22050
# Dense bfloat16, the makers' data sheets, in flop/s; the first name that fits.
BF16_PEAK = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}


class Ready:
    """Examples that lie on the device as float32: a few batches, over and over."""

    unit = "windows"

    def __init__(self, stored, batch_size, device):
        self.song_ids, self.n_songs, self.n_dims = stored.song_ids, stored.n_songs, stored.n_dims
        self._stored = stored
        rows = np.resize(np.arange(stored.n_songs), (4, batch_size))
        drawn = stored.sample(rows, np.random.default_rng(0))
        self._batches = [inputs.to(device, torch.float32, copy=True) for _, inputs in drawn]

    def sample(self, rows, rng, mine):
        yield from zip(rows, cycle(self._batches))

    def cover(self, rows, batch_size):
        songs, _ = self._stored.covering(rows)
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
    return dcbmr.FeatureStore.open(directory / "features")["mel"]


def make_target(n_songs, n_users, n_factors=50, listeners=127):
    """Plays at random: 127 listeners a song, as in the paper."""
    rng = np.random.default_rng(0)
    users = rng.normal(size=(n_users, n_factors)).astype(np.float32)
    songs = rng.normal(size=(n_songs, n_factors)).astype(np.float32)
    indices = np.concatenate([rng.choice(n_users, listeners, replace=False) for _ in range(n_songs)])
    indptr = np.arange(n_songs + 1) * listeners
    surplus = csr_array((np.full(len(indices), 27.6, np.float32), indices, indptr), shape=(n_songs, n_users))
    return dcbmr.FactorTarget(songs, users, surplus, None, np.zeros(n_songs, bool))


def agree(songs, device):
    """What is timed is right: windows are the frames, also on the device; wpe is the sum over all users."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(songs.song_ids), 20)
    starts = rng.integers(0, 100, 20)
    expected = np.stack(
        [
            np.take(songs.frames(row), start + np.arange(129), 0, mode="wrap")
            for row, start in zip(rows, starts, strict=True)
        ]
    )
    np.testing.assert_array_equal(songs.windows(rows, starts, 129), expected)
    examples = WindowExamples(songs, 129, device)
    every = np.arange(len(songs.song_ids))
    covered = examples.covering(every)
    for batch, (found_rows, inputs) in enumerate(examples.cover(every, 50)):
        these = slice(50 * batch, 50 * batch + len(found_rows))
        expected = songs.windows(covered[0][these], covered[1][these], 129)
        np.testing.assert_array_equal(inputs.float().cpu().numpy(), expected)
    target = make_target(40, 5_000)
    rows = rng.integers(0, 40, 20)
    predicted = 0.05 * rng.normal(size=(20, target.song_factors.shape[1])).astype(np.float32)
    surplus = target.surplus[rows].toarray()
    expected = ((1 + surplus) * ((surplus > 0) - predicted @ target.user_factors.T) ** 2).sum() / 20
    found = WPE(target)(torch.from_numpy(predicted).to(device), torch.from_numpy(rows).to(device)).item()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def peak_of(device, n_threads):
    """Return flop/s of the device's matrix product."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
        return next((peak for key, peak in BF16_PEAK.items() if key in name), math.nan)
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


def utilisation(device, work, seconds=4.0):
    """Return the share of time in which the GPU computed while ``work`` was repeated; NaN if unknown."""
    if device.type != "cuda":
        return math.nan
    me = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    command = ["nvidia-smi", "--query-gpu=uuid,utilization.gpu", "--format=csv,noheader,nounits"]
    seen, done = [], threading.Event()

    def watch():
        while not done.wait(0.2):
            try:
                lines = subprocess.run(
                    command, capture_output=True, text=True, timeout=10
                ).stdout.splitlines()
                mine = [line for line in lines if me in line] or lines
                seen.append(float(mine[0].split(",")[1]))
            except (OSError, subprocess.SubprocessError, IndexError, ValueError):
                return  # no nvidia-smi, or it does not say

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
    done.set()
    watcher.join()
    return statistics.mean(seen[3:]) / 100 if len(seen) > 3 else math.nan  # it looks back up to a second


def rates(model, songs, device, n_threads, repeats):
    """Return windows/s of training and of prediction, {(what, source): [...]}, and the utilisation."""
    model.check()
    found = {(what, source): [] for what in ("train", "predict") for source in ("store", "ready")}
    target = make_target(len(songs.song_ids), 100, listeners=1)
    loss = MSE(target)
    with torch_session(n_threads, device, 0):
        stored = WindowExamples(songs, model.window, device)
        network = model._standardized(songs.n_dims, target.song_factors.shape[1])
        rows = np.arange(stored.n_songs)
        network.standardize(stored.statistics(rows, np.random.default_rng(0)), target.song_factors)
        network.to(device)
        if model.compile:
            network.body.compile()
        ready = Ready(stored, model.batch_size, device)
        rows = rows[: max(model.batch_size, len(rows) // 3)]  # three windows of each
        n_windows = len(stored.covering(rows)[0])
        for repeat in range(repeats + 1):  # the first one warms up, compiles and searches algorithms
            for source, examples in (("store", stored), ("ready", ready)):
                history = train(network, examples, target, loss, model, dcbmr.FitRun(), Together())
                began = time.perf_counter()
                predict(network, examples, rows, model.batch_size)  # ends with the predictions in memory
                seconds = time.perf_counter() - began
                if repeat:
                    found["train", source] += [row["windows_per_s"] for row in history]
                    found["predict", source].append(n_windows / seconds)
        busy = utilisation(
            device, lambda: train(network, stored, target, loss, model, dcbmr.FitRun(), Together())
        )
    return found, busy


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
        found[name] = 1e3 * statistics.median(times[repeats // 3 :])
    return found


def measure(args, store, device, peak, batch_size, channels, precision, compiled):
    """Return one row of the table."""
    model = CNN(
        architecture=args.architecture,
        channels=(channels,) * (4 if args.architecture == "spotify2014" else 2),
        batch_size=batch_size,
        precision=precision,
        compile=compiled == "yes",
        epochs=2,
    )
    # Steps enough that the first batch of an epoch, for which the network waits, does not decide.
    n_songs = 2 * batch_size if args.quick else batch_size * (200 if device.type == "cuda" else 8)
    songs = store.features(np.resize(list(store), max(n_songs, 2 * batch_size if args.quick else 1024)))
    torch.compiler.reset()  # else the limit on compilations of one function is soon reached
    found, busy = rates(model, songs, device, args.threads, 1 if args.quick else args.repeats)
    row = {"batch_size": batch_size, "channels": channels, "precision": precision, "compile": compiled}
    for (what, source), values in found.items():
        middle = statistics.median(values)
        row[f"{what}_{source}"] = middle
        row[f"{what}_{source}_spread"] = (max(values) - min(values)) / middle
    for what in ("train", "predict"):  # of neighbours in time: the machine's speed drifts
        pairs = zip(found[what, "store"], found[what, "ready"], strict=True)
        row[f"{what}_ratio"] = statistics.median(store / ready for store, ready in pairs)
    flops = flops_of_a_window(model, songs.n_dims, 50)
    row["of_peak"] = flops * row["train_store"] / peak
    row["utilisation"] = busy
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--precision", nargs="+", default=["auto"], choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--architecture", default="nips2013", choices=("nips2013", "spotify2014"))
    parser.add_argument("--compile", nargs="+", default=["no"], choices=("no", "yes"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-losses", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = resolve_device(args.device)
    about = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {args.threads} threads",
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "tf32": {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "matrices": torch.backends.cuda.matmul.allow_tf32,
        },
        "architecture": args.architecture,
        "peak": peak_of(device, args.threads),
    }
    print("; ".join(f"{name} {value}" for name, value in about.items()))
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        store = make_store(Path(directory), 64 if args.quick else 4096 if device.type == "cuda" else 1024, 9)
        agree(store.features(list(store)[:64]), device)
        print(
            "batch  channels  precision  compiled   train: store      ready  ratio  of peak  busy"
            "   predict: store      ready  ratio  (windows/s)"
        )
        for settings in product(args.batch_sizes, args.channels, args.precision, args.compile):
            try:
                row = measure(args, store, device, about["peak"], *settings)
            except Exception as error:  # one that does not run, as for want of a compiler, costs itself
                print(*settings, f"did not run: {type(error).__name__}: {str(error)[:200]}", flush=True)
                continue
            rows.append(row)
            print(
                f"{row['batch_size']:5}  {row['channels']:8}  {row['precision']:9}  {row['compile']:8}"
                f"  {row['train_store']:13,.0f} {row['train_ready']:10,.0f}  {row['train_ratio']:5.2f}"
                f"  {row['of_peak']:7.1%}  {row['utilisation']:4.0%}"
                f"  {row['predict_store']:15,.0f} {row['predict_ready']:10,.0f}  {row['predict_ratio']:5.2f}"
                f"  spread {max(v for k, v in row.items() if k.endswith('spread')):.0%}",
                flush=True,
            )
    for n_users in () if args.no_losses else (1_000, 10_000) if args.quick else (10_000, 100_000, 1_000_000):
        row = {"n_users": n_users, **losses(n_users, device)}
        rows.append(row)
        print(
            f"{n_users:9,} users: "
            + ", ".join(f"{k} {v:.2f} ms" for k, v in row.items() if k != "n_users")
            + " a batch of 64 songs of 127 listeners, with the gradient"
        )
    if args.json:
        args.json.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
