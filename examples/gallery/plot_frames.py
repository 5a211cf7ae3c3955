"""
What a model hears
==================

A tone that rises, a chord and four clicks, as log-mel spectra and as MFCCs: what `dcbmr featurize` keeps of
a song.
"""

import matplotlib.pyplot as plt
import numpy as np

import dcbmr

sr = 22050
time_s = np.arange(sr) / sr
rising = np.sin(2 * np.pi * (200 * time_s + 1900 * time_s**2))  # 200 to 4,000 Hz
chord = sum(np.sin(2 * np.pi * pitch * time_s) for pitch in (220.0, 554.4, 1396.9)) / 3
clicks = np.zeros(sr)
clicks[:: sr // 4] = 1
samples = np.concatenate([rising, chord, clicks]).astype(np.float32)

# %%
# Frames are rows and bands are columns. The chord is three lines, a click a line across all bands; loudness
# is on a logarithmic scale, ``log(1 + 10000 * power)``.

mel = dcbmr.LogMel()(samples)
mfcc = dcbmr.MFCC()(samples)[:, 1:13]  # without c0, the loudness, and without the differences
end_s = len(mel) * 512 / sr

figure, (above, below) = plt.subplots(2, sharex=True, figsize=(8, 5), layout="constrained")
above.imshow(mel.T, origin="lower", aspect="auto", extent=(0, end_s, 0, mel.shape[1]))
above.set_ylabel("mel band")
below.imshow(mfcc.T, origin="lower", aspect="auto", extent=(0, end_s, 1, 13), cmap="coolwarm")
below.set(xlabel="seconds", ylabel="coefficient")
plt.show()
