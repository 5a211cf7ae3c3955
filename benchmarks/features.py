"""Audio to features: extraction in memory beside six peers, whole files, the store, and memory.

    python benchmarks/features.py [memory] [mp3] [flac] [ogg] [stats] [store] [growth] [--json FILE]

memory: every peer computes, on one thread, the log-mel spectrum of a 29 s clip at 22,050 Hz (window 1024, hop
512, 128 bands), and is compared with a float64 reference before it is timed. mp3, flac, ogg: featurize on a
folder of such clips at 44.1 kHz, stereo, beside nothing but decoding and resampling through the same
libraries on the same threads. stats: what the kind adds to featurize from MP3, and what it takes to make it
of a store's frames. store: size and random windows. growth: of the process. Without arguments, all.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from threadpoolctl import threadpool_limits

import dcbmr
from dcbmr import _core
from dcbmr.features import featurize as extraction
from dcbmr.features.recipe import Recipe
from dcbmr.features.stored_kind import StoredKind
from dcbmr.features.writer import StoreWriter, create_store

SR, N_FFT, HOP, N_MELS = 22050, 1024, 512, 128
CLIP_S = 29


def clip(seconds=CLIP_S, sr=SR, seed=0):
    """Chords of decaying tones over a little noise: nothing is silent, nothing is white."""
    rng = np.random.default_rng(seed)
    n = round(seconds * sr)
    t = np.arange(sr // 2) / sr
    notes = []
    for _ in range(-(-n // len(t))):
        tones = 110 * 2 ** (rng.integers(0, 48, 4) / 12)
        notes.append(sum(np.sin(2 * np.pi * f * t) * np.exp(-4 * t) for f in tones))
    return (0.1 * np.concatenate(notes)[:n] + 0.003 * rng.standard_normal(n)).astype(np.float32)


def mel_filters(htk=False):
    import librosa

    return librosa.filters.mel(sr=SR, n_fft=N_FFT, n_mels=N_MELS, htk=htk)


def reference(y, htk=False, periodic=True):
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / (N_FFT if periodic else N_FFT - 1))
    frames = np.lib.stride_tricks.sliding_window_view(y, N_FFT)[::HOP] * window
    return np.log1p(1e4 * (np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters(htk).astype(float).T))


# The peers: each returns a function of the samples, and what it cannot but do otherwise than we.


def peer_librosa():
    import librosa

    def run(y):
        mel = librosa.feature.melspectrogram(y=y, sr=SR, n_fft=N_FFT, hop_length=HOP, center=False)
        return np.log1p(1e4 * mel).T

    return run, {}


def peer_torch():
    import torch

    torch.set_num_threads(1)
    window, filters = torch.hann_window(N_FFT), torch.from_numpy(mel_filters())

    def run(y):
        spectrum = torch.stft(
            torch.from_numpy(y), N_FFT, HOP, window=window, center=False, return_complex=True
        )
        return torch.log1p(1e4 * (filters @ spectrum.abs().square())).T.contiguous().numpy()

    return run, {}


def peer_ducc0():
    import ducc0

    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)
    filters = mel_filters().T.copy()

    def run(y):
        frames = np.lib.stride_tricks.sliding_window_view(y, N_FFT)[::HOP] * window
        spectrum = ducc0.fft.r2c(frames, axes=(1,), nthreads=1)
        return np.log1p(1e4 * ((spectrum.real**2 + spectrum.imag**2) @ filters))

    return run, {}


def peer_audioflux():
    import audioflux as af
    from audioflux.type import (
        SpectralDataType,
        SpectralFilterBankNormalType,
        SpectralFilterBankScaleType,
        SpectralFilterBankStyleType,
    )

    bft = af.BFT(
        num=N_MELS,
        radix2_exp=10,
        samplate=SR,
        low_fre=0.0,
        high_fre=SR / 2,
        slide_length=HOP,
        scale_type=SpectralFilterBankScaleType.MEL,
        style_type=SpectralFilterBankStyleType.SLANEY,
        normal_type=SpectralFilterBankNormalType.BAND_WIDTH,
        data_type=SpectralDataType.POWER,
    )
    return lambda y: np.log1p(1e4 * bft.bft(y, result_type=1)).T, {"htk": True}


def peer_essentia():
    import essentia
    import essentia.standard as es

    essentia.log.warningActive = False
    window = es.Windowing(type="hann", size=N_FFT, zeroPhase=False, normalized=False)
    spectrum = es.Spectrum(size=N_FFT)
    bands = es.MelBands(
        inputSize=N_FFT // 2 + 1,
        numberBands=N_MELS,
        sampleRate=SR,
        lowFrequencyBound=0,
        highFrequencyBound=SR / 2,
        warpingFormula="slaneyMel",
        weighting="linear",
        normalize="unit_tri",
        type="power",
    )

    def run(y):
        frames = es.FrameGenerator(
            y, frameSize=N_FFT, hopSize=HOP, startFromZero=True, validFrameThresholdRatio=1
        )
        return np.log1p(1e4 * np.array([bands(spectrum(window(frame))) for frame in frames]))

    return run, {"periodic": False}


def peer_kaldi_native_fbank():
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither, frame.preemph_coeff = SR, 0.0, 0.0
    frame.remove_dc_offset, frame.window_type, frame.snip_edges = False, "hann", True
    frame.frame_length_ms, frame.frame_shift_ms = 1000 * N_FFT / SR, 1000 * HOP / SR
    mel.num_bins, mel.low_freq, mel.high_freq, mel.is_librosa = N_MELS, 0.0, SR / 2, True
    options.use_log_fbank = False

    def run(y):
        bank = knf.OnlineFbank(options)
        bank.accept_waveform(SR, y)
        bank.input_finished()
        frames = [bank.get_frame(i) for i in range(bank.num_frames_ready)]
        return np.log1p(1e4 * np.array(frames))

    return run, {}


PEERS = {
    "torch.stft + matmul + log1p": peer_torch,
    "ducc0 FFT + NumPy": peer_ducc0,
    "librosa": peer_librosa,
    "audioflux": peer_audioflux,
    "essentia": peer_essentia,
    "kaldi-native-fbank": peer_kaldi_native_fbank,
}


def librosa_mfcc(y):
    import librosa

    mel = librosa.feature.melspectrogram(y=y, sr=SR, n_fft=N_FFT, hop_length=HOP, center=False)
    cepstra = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=13)
    deltas = [librosa.feature.delta(cepstra, order=order, mode="nearest") for order in (1, 2)]
    return np.vstack([cepstra, *deltas]).T


def instruction_sets():
    best = _core.isa()
    return {"portable": ["portable"], "avx2": ["avx2", "portable"]}.get(best, ["avx512", "avx2", "portable"])


def on(isa, run):
    def with_isa(y):
        _core.set_isa(isa)
        return run(y)

    return with_isa


def times_of(runs, argument, rounds):
    """Median and range of each, milliseconds.

    The runs take turns, so that drift hits all alike; each is called twice, so that none finds the caches as
    another left them.
    """
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if len(times[name]) > 3 and sum(times[name]) > 1.5:
                continue
            run(argument)
            began = time.perf_counter()
            run(argument)
            times[name].append(time.perf_counter() - began)
    return {
        name: (statistics.median(found) * 1e3, min(found) * 1e3, max(found) * 1e3)
        for name, found in times.items()
    }


def part_memory(report):
    y = clip()
    runs = {}
    sets = instruction_sets()
    for isa in sets:
        _core.set_isa(isa)  # the tables of an extractor are made for the set of their time
        runs[f"dcbmr LogMel, {isa}"] = dcbmr.LogMel()
        np.testing.assert_allclose(runs[f"dcbmr LogMel, {isa}"](y), reference(y), atol=1e-4)
    for name, make in PEERS.items():
        try:
            run, otherwise = make()
        except ImportError as error:
            print(f"  {name} is not installed ({error.name})")
            continue
        np.testing.assert_allclose(run(y), reference(y, **otherwise), atol=1e-3, err_msg=name)
        runs[name] = run
    np.testing.assert_allclose(dcbmr.MFCC()(y), librosa_mfcc(y), atol=1e-3, rtol=1e-5)
    for isa in sets:
        _core.set_isa(isa)
        runs[f"dcbmr MFCC (39), {isa}"] = dcbmr.MFCC()
        joint = dcbmr.share_spectrum({"mel": dcbmr.LogMel(), "mfcc": dcbmr.MFCC()})
        runs[f"dcbmr both kinds, {isa}"] = lambda y, joint=joint: (lambda s: (s.accept(y), s.finish()))(
            joint.stream()
        )
    _core.set_isa(sets[0])
    runs["librosa mfcc + two deltas"] = librosa_mfcc
    for name, (median, low, high) in times_of(runs, y, 40).items():
        report("memory", name, clip_ms=median, low=low, high=high)


def decode_and_resample(path):
    """What any program must do: read, mix, resample; block by block, through the same libraries."""
    with soundfile.SoundFile(path) as file:
        stream = soxr.ResampleStream(file.samplerate, SR, 1, dtype="float32", quality="HQ")
        buffer = np.empty((1 << 16, file.channels), np.float32)
        while len(block := file.read(out=buffer)):
            stream.resample_chunk((block[:, 0] + block[:, 1]) * np.float32(0.5))
        stream.resample_chunk(np.empty(0, np.float32), last=True)


def write_clips(root, ending, n_files):
    """One clip under many names."""
    left, right = clip(sr=44100, seed=1), clip(sr=44100, seed=2)
    first = root / f"0.{ending}"
    # A second at a time: libsndfile's encoder of Vorbis fails on long writes.
    with soundfile.SoundFile(first, "w", 44100, 2) as file:
        for begin in range(0, len(left), 44100):
            end = begin + 44100
            file.write(np.stack([left[begin:end], right[begin:end]], axis=1))
    for i in range(1, n_files):
        os.link(first, root / f"{i}.{ending}")
    return sorted(root.glob(f"*.{ending}"))


def files_part(ending, n_files=150):
    def run(report):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            paths = write_clips(root, ending, n_files)

            def decode_only(n_threads):
                with ThreadPoolExecutor(n_threads) as pool:
                    list(pool.map(decode_and_resample, paths))

            def featurize(n_threads):
                extraction.featurize(paths, root / "features", n_threads=n_threads)

            decode_only(2)
            seconds = {}
            for _ in range(3):
                for n_threads in (1, 2):
                    for name, timed in {"decode": decode_only, "featurize": featurize}.items():
                        began = time.perf_counter()
                        timed(n_threads)
                        seconds.setdefault((name, n_threads), []).append(time.perf_counter() - began)
                    shutil.rmtree(root / "features")
        median = {key: statistics.median(found) for key, found in seconds.items()}
        for n_threads in (1, 2):
            report(
                ending,
                f"{n_files} files, threads: {n_threads}",
                decode_ms=median["decode", n_threads] / n_files * 1e3,
                featurize_ms=median["featurize", n_threads] / n_files * 1e3,
                ratio=median["featurize", n_threads] / median["decode", n_threads],
                speedup=median["featurize", 1] / median["featurize", n_threads],
            )

    return run


def part_stats(report, n_files=40, rounds=9):
    """Featurize with and without statistics in turns; then make the same of the frames of a store."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = write_clips(root, "mp3", n_files)
        seconds = {}
        for _ in range(rounds):
            for kinds in (("mel", "mfcc"), ("mel", "mfcc", "stats")):
                began = time.perf_counter()
                extraction.featurize(paths, root / "features", kinds=kinds, n_threads=1, overwrite=True)
                seconds.setdefault(len(kinds), []).append(time.perf_counter() - began)
        without, both = (statistics.median(found) / n_files * 1e3 for found in seconds.values())
        stored = dcbmr.FeatureStore.open(root / "features")["stats"].features(map(str, range(n_files)))
        extraction.featurize(paths, root / "frames", n_threads=1)
        store = dcbmr.FeatureStore.open(root / "frames")
        began = time.perf_counter()
        store["stats"].make(store.song_ids, n_threads=1)
        made_ms = (time.perf_counter() - began) / n_files * 1e3
        made = store["stats"].features(map(str, range(n_files)))
        np.testing.assert_array_equal(made.vectors(), stored.vectors())
    report(
        "stats", "mp3, 1 thread", without_ms=without, with_ms=both, adds_percent=100 * (both / without - 1)
    )
    report("stats", "of stored frames, 1 thread", ms=made_ms)


def part_store(report, n_songs=10_000):
    """A store of clips as featurize writes it, the frames all alike; random windows of 3 s out of it."""
    frames = dcbmr.LogMel()(clip()).astype("<f2")
    (config,) = Recipe(["mel"]).configs
    with tempfile.TemporaryDirectory() as folder:
        create_store(Path(folder) / "mel", config)
        writer = StoreWriter(Path(folder) / "mel", config)
        writer.cut()
        data = frames.tobytes()
        with tempfile.TemporaryFile() as spool:
            spool.write(data)
            for i in range(n_songs):
                spool.seek(0)
                writer.append(f"song{i}", spool, len(frames), 0)
        writer.commit()
        writer.close()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        store = StoredKind(Path(folder, "mel"), "mel")
        features = store.features(store.song_ids)
        rng = np.random.default_rng(0)
        length, batch = round(3 * SR / HOP), 256
        out = np.empty((batch, length, N_MELS), np.float32)

        def windows(n_batches):
            began = time.perf_counter()
            for _ in range(n_batches):
                songs = rng.integers(n_songs, size=batch)
                starts = rng.integers(len(frames) - length, size=batch)
                features.windows(songs, starts, length, out=out)
            return n_batches * batch / (time.perf_counter() - began)

        windows(200)
        rates = [windows(100) for _ in range(5)]
        np.testing.assert_array_equal(features.windows([7], [11], 5)[0], frames[11:16].astype(np.float32))
        report("store", "log-mel, float16", kb_per_clip=size / n_songs / 1e3)
        report(
            "store",
            f"windows of {length} frames",
            windows_per_s=statistics.median(rates),
            low=min(rates),
            high=max(rates),
        )


def growth_of(script, *words):
    """MiB by which a fresh process grows while it runs the body, over what imports took."""
    code = (
        "import sys, soundfile, soxr\nfrom dcbmr.features import featurize as extraction\n"
        # Not ru_maxrss, which remembers the process that started this one.
        "status = lambda: open('/proc/self/status').read()\n"
        "peak = lambda: int(status().split('VmHWM:')[1].split()[0]) / 1024\n"
        "before = peak()\n" + script + "\nprint(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, check=True)
    return float(done.stdout.split()[-1])


def part_growth(report):
    run = "extraction.featurize(sys.argv[1], sys.argv[2], n_threads=2, resume=True)"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        music = root / "long"
        music.mkdir()
        minute = clip(60, 96000)
        with soundfile.SoundFile(music / "hours.wav", "w", 96000, 1, "PCM_16") as file:
            for _ in range(180):
                file.write(minute)
        report("growth", "3 h at 96 kHz", mib=growth_of(run, music, root / "f"))
        (music / "hours.wav").unlink()
        sample = root / "sample.wav"
        soundfile.write(sample, clip(0.06), SR)
        for n in (1000, 100_000):
            many = root / f"many{n}"
            many.mkdir()
            for i in range(n):
                if i % 1000 == 0:  # a file has at most some 65,000 links
                    source = many / f"{i:06}.wav"
                    source.write_bytes(sample.read_bytes())
                else:
                    os.link(source, many / f"{i:06}.wav")
            for what in ("new", "there already"):
                report("growth", f"{n} files, {what}", mib=growth_of(run, many, root / f"f{n}"))


PARTS = {
    "memory": part_memory,
    "mp3": files_part("mp3"),
    "flac": files_part("flac"),
    "ogg": files_part("ogg"),
    "stats": part_stats,
    "store": part_store,
    "growth": part_growth,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=" ".join(PARTS), default=list(PARTS))
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    rows = []

    def report(part, name, **figures):
        rows.append({"part": part, "name": name, **figures})
        print(
            f"{part:<8}{name:<34}" + "".join(f"{key} {value:<12.4g}" for key, value in figures.items()),
            flush=True,
        )

    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, {_core.isa()}"
    )
    with threadpool_limits(1):
        for part in options.parts:
            PARTS[part](report)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
