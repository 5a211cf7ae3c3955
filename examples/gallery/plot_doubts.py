"""
A table, and how sure it is
===========================

Two models of the sound of songs, on artists that neither knows, with the intervals that `dcbmr evaluate`
prints: over other listeners and other artists. Where intervals overlap, the words under the table say
whether the two can be told apart.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile

import dcbmr

# %%
# 160 songs by 40 artists: a second of tones each, whose brightness and pace are the artist's, and the
# listeners' taste.

rng = np.random.default_rng(1)
folder = Path(tempfile.mkdtemp())
sr, n_songs, n_artists = 22050, 160, 40
artist = np.arange(n_songs) % n_artists
traits = rng.standard_normal((n_artists, 2))[artist] + 0.5 * rng.standard_normal((n_songs, 2))
time_s = np.arange(sr) / sr
(folder / "audio").mkdir()
for song, (bright, pace) in enumerate(traits):
    pitch = 110 * 2 ** rng.uniform(0, 1)
    tone = sum(np.sin(2 * np.pi * pitch * n * time_s) * n ** (bright - 2) for n in range(1, 12))
    beat = 1 + np.sin(2 * np.pi * 4 * 2**pace * time_s)
    noise = 0.02 * rng.standard_normal(sr)
    samples = tone * beat / np.abs(tone * beat).max() + noise
    soundfile.write(folder / "audio" / f"song-{song:03d}.wav", 0.5 * samples, sr)

users = rng.standard_normal((300, 2))
liking = users @ traits.T + rng.gumbel(size=(300, n_songs))
user, song = np.nonzero(liking >= np.quantile(liking, 0.85, axis=1, keepdims=True))
plays = dcbmr.PlayCounts.from_triplets(
    [f"user-{u:03d}" for u in user], [f"song-{s:03d}" for s in song], rng.geometric(0.4, len(user))
)
artists = {f"song-{s:03d}": f"artist-{a:02d}" for s, a in enumerate(artist)}

# %%
# A quarter of the artists is held out; the models learn from the others.

split = dcbmr.split_plays(plays, by="artist", artists=artists, fraction=0.25, random_state=0)
factors = dcbmr.WeightedALS(n_factors=4, regularization=10).fit(split).factors_
dcbmr.featurize(folder / "audio", folder / "features", kinds=["mel", "mfcc", "stats"])
features = dcbmr.FeatureStore.open(folder / "features")
models = {
    name: dcbmr.train(factors, features, regressor=name, kind="stats") for name in ("linear", "kernel_ridge")
}
evaluation = dcbmr.evaluate_models(models, split, features)
print(evaluation.table())

# %%
# The same as a picture. The dotted line is chance.

rows = {row["model"]: row for row in evaluation.rows}
auc = np.array([rows[name]["auc"] for name in models])
ends = np.array([[rows[name]["auc_low"], rows[name]["auc_high"]] for name in models]).T

plt.figure(figsize=(6, 2), layout="constrained")
plt.errorbar(auc, list(models), xerr=np.abs(ends - auc), fmt="o", capsize=4)
plt.axvline(0.5, color="grey", linestyle="dotted")
plt.xlabel("AUC on artists held out, 95 %")
plt.margins(y=0.5)
plt.show()
