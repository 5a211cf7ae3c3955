"""Sounds to test with, and how to write them in every format."""

import numpy as np
import soundfile

FORMATS = {"wav": {}, "flac": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {}}


def tone(seconds=2.0, sr=44100, channels=1, hz=440.0):
    t = np.arange(round(seconds * sr)) / sr
    rng = np.random.default_rng(0)
    waves = [np.sin(2 * np.pi * hz * (c + 1) * t) for c in range(channels)]
    return (0.2 * np.stack(waves, 1) + 0.01 * rng.standard_normal((len(t), channels))).astype(np.float32)


def write(path, samples, sr=44100, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sr, **options)
    return path


def damage(path):
    """Change the sound, but no header, of some frames of an MP3."""
    content = bytearray(path.read_bytes())
    frames = [at for at in range(len(content) - 200) if content[at : at + 2] == content[:2]]
    for at in frames[10::10]:
        content[at + 8 : at + 20] = b"\xff" * 12
    path.write_bytes(content)
    return path
