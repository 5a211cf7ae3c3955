"""Decoding: formats, rates, channels, and files that cannot be used."""

import ctypes
import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soxr
from sounds import FORMATS, damage, tone, write

import dcbmr
from dcbmr import _core
from dcbmr.audio.decode import decode


@pytest.mark.parametrize("ending", FORMATS)
def test_formats(tmp_path, ending):
    sr = 48000
    samples = tone(2.0, sr, 2)
    path = write(tmp_path / f"tone.{ending}", samples, sr, **FORMATS[ending])
    decoded = np.concatenate(list(decode(path)))
    assert decoded.dtype == np.float32
    assert abs(len(decoded) - 2 * 22050) < 2200  # MP3 pads
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    peaks = np.sort(np.argsort(spectrum)[-2:]) * 22050 / len(decoded)
    assert set(np.round(peaks / 440)) <= {1, 2}
    assert 0.05 < decoded.std() < 0.15


@pytest.mark.parametrize("sr", [8000, 11025, 22050, 44100, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(tmp_path, sr, channels):
    path = write(tmp_path / "a.wav", tone(0.5, sr, channels, hz=300), sr)
    mono = np.concatenate(list(decode(path)))
    assert abs(len(mono) - 11025) <= 2
    channel = np.concatenate(list(decode(write(tmp_path / "b.wav", tone(0.5, sr, 1, hz=300), sr))))
    # The mean of the channels: each has a tone of its own of the same strength.
    assert mono.std() == pytest.approx(channel.std() / np.sqrt(channels), rel=0.05)


def test_blocks_are_small_and_joined_without_a_seam(tmp_path):
    samples = tone(8.0)[:, 0]
    path = write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    blocks = list(decode(path, 44100))
    assert len(blocks) == 3
    np.testing.assert_array_equal(np.concatenate(blocks), samples)
    resampled = np.concatenate(list(decode(path)))
    np.testing.assert_allclose(resampled, soxr.resample(samples, 44100, 22050), atol=1e-6)


def test_a_rate_that_cannot_be(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.2), 7)
    with pytest.raises(dcbmr.InputError, match=r"a\.wav: has an impossible sampling rate: 7 Hz"):
        list(decode(path))


def test_offset_and_duration(tmp_path):
    samples = tone(3.0, 22050)[:, 0]
    path = write(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    part = np.concatenate(list(decode(path, offset=1.0, duration=0.5)))
    np.testing.assert_array_equal(part, samples[22050 : 22050 + 11025])
    np.testing.assert_array_equal(np.concatenate(list(decode(path, offset=2.5, duration=9))), samples[55125:])
    with pytest.raises(dcbmr.InputError, match=r"a\.wav: ends before the offset of 4 s, at 3\.000 s"):
        list(decode(path, offset=4.0))
    with pytest.raises(dcbmr.InputError, match="duration: wanted a positive"):
        list(decode(path, duration=0.0))
    with pytest.raises(dcbmr.InputError, match="offset: wanted seconds"):
        list(decode(path, offset=-1.0))


def test_samples_beyond_one_are_kept(tmp_path):
    path = write(tmp_path / "a.wav", np.full(30000, 2.5, np.float32), 22050, subtype="FLOAT")
    assert np.concatenate(list(decode(path))).max() == 2.5


def pages(data):
    """Where each page of an Ogg file begins, and its end."""
    begins = [0]
    while begins[-1] < len(data):
        at = begins[-1]
        assert data[at : at + 4] == b"OggS"
        n = data[at + 26]
        begins.append(at + 27 + n + sum(data[at + 27 : at + 27 + n]))
    return begins


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_a_truncated_ogg_file(tmp_path, codec):
    path = write(tmp_path / "a.ogg", tone(4.0, 48000, 2), 48000, format="OGG", subtype=codec)
    whole = path.read_bytes()
    begins = pages(whole)
    n = len(np.concatenate(list(decode(path))))
    last = begins[-2]
    for length in (last, last + 3, last + 26, last + 27, len(whole) - 1, begins[-3] + 9):
        path.write_bytes(whole[:length])
        with pytest.raises(dcbmr.InputError, match=r"a\.ogg: is truncated: its last page"):
            list(decode(path))
    # As of a download whose room was taken first.
    path.write_bytes(whole[: len(whole) * 2 // 3] + bytes(100_000))
    with pytest.raises(dcbmr.InputError, match=r"a\.ogg: is "):
        list(decode(path))
    # What other programs append, and streams one after the other, are no cut.
    empty_page = b"OggS\0\4" + bytes(21)
    for more in (b"TAG" + bytes(125), empty_page, whole):
        path.write_bytes(whole + more)
        assert len(np.concatenate(list(decode(path)))) >= n


def test_damage_is_told_and_stderr_stays_clean(tmp_path, capfd):
    """Several threads at once, each with a file of its own: every line comes to the file that it is of."""
    whole = [write(tmp_path / f"whole{i}.mp3", tone(4.0, channels=2)) for i in range(3)]
    broken = [damage(write(tmp_path / f"broken{i}.mp3", tone(4.0, channels=2))) for i in range(3)]

    def damage_of(path):
        found = []
        assert len(np.concatenate(list(decode(path, damage=found)))) == pytest.approx(4 * 22050, abs=50)
        return found

    with ThreadPoolExecutor(6) as pool:
        found = dict(zip(whole + broken, pool.map(damage_of, whole + broken), strict=True))
    assert [found[path] for path in whole] == [[], [], []]
    assert all(any("too large" in line for line in found[path]) for path in broken)
    assert found[broken[0]] == found[broken[1]] == found[broken[2]]
    assert capfd.readouterr().err == ""


def test_tags_and_what_is_appended_are_no_damage(tmp_path, capfd):
    path = write(tmp_path / "a.mp3", tone(2.0))
    body = b"COMM" + (7).to_bytes(4, "big") + bytes(2) + b"\0engtxt"  # a comment without its text
    tag = b"ID3\3\0\0" + bytes([0, 0, 0, len(body)]) + body
    path.write_bytes(tag + path.read_bytes() + bytes(3000))
    found = []
    list(decode(path, damage=found))
    assert found == []
    assert capfd.readouterr().err == ""


def test_only_the_thread_that_catches_is_caught(capfd):
    libc = ctypes.CDLL(None)

    def say(text):
        libc.fputs(text, ctypes.c_void_p.in_dll(libc, "stderr"))

    _core.catch_stderr()
    try:
        say(b"caught\n")
        os.write(2, b"straight\n")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(say, b"of another thread\n").result()
    finally:
        assert _core.caught_stderr() == b"caught\n"
    say(b"shown again\n")
    assert _core.caught_stderr() == b""
    _core.catch_stderr()
    for _ in range(1000):
        say(b"at most a few KiB are kept\n")
    assert len(_core.caught_stderr()) == 4096
    assert capfd.readouterr().err == "straight\nof another thread\nshown again\n"


def test_a_crash_in_between_is_seen():
    code = "import faulthandler, os; from dcbmr import _core; faulthandler.enable()"
    code += "; _core.catch_stderr(); os.abort()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode < 0
    assert "Fatal Python error: Aborted" in done.stderr


def test_permission_denied(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(0.5))

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    # Not chmod, which does not stop root.
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(dcbmr.InputError, match=r"a\.wav: cannot be read: Permission denied"):
        list(decode(path))


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = write(tmp_path / "a.wav", tone(4.0))
    blocks = decode(path)
    next(blocks)
    os.utime(path, ns=(1, 1))
    with pytest.raises(dcbmr.InputError, match="changed while it was read"):
        list(blocks)


def test_m4a_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"....")
    with pytest.raises(dcbmr.InputError, match=r"\.m4a needs PyAV: pip install 'dcbmr\[av\]'"):
        list(decode(tmp_path / "a.m4a"))


def write_aac(path, samples):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        for begin in range(0, len(samples), 1024):
            part = np.ascontiguousarray(samples[begin : begin + 1024].T)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.rate, frame.pts = 44100, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("ending", ["m4a", "mka"])
def test_a_truncated_aac_file(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    write_aac(path, tone(4.0, 44100, 2))
    assert abs(len(np.concatenate(list(decode(path)))) - 4 * 22050) < 2500
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(dcbmr.InputError, match="is (truncated: it says that it has 4|damaged)"):
        list(decode(path))


def test_m4a(tmp_path):
    samples = tone(2.0, 44100, 2)
    write_aac(tmp_path / "a.m4a", samples)
    decoded = np.concatenate(list(decode(tmp_path / "a.m4a")))
    assert abs(len(decoded) - 44100) < 2500
    original = np.concatenate(list(decode(write(tmp_path / "a.wav", samples))))
    assert decoded.std() == pytest.approx(original.std(), rel=0.05)
    part = np.concatenate(list(decode(tmp_path / "a.m4a", offset=0.5, duration=0.25)))
    assert abs(len(part) - 22050 / 4) <= 2
    with pytest.raises(dcbmr.InputError, match="before the offset"):
        list(decode(tmp_path / "a.m4a", offset=60.0))
