"""
Lambda, and what it is worth
============================

Weighted factorization of few plays, with more and more regularization. The paper's authors used 1e-5 on 48
million pairs of listener and song; with some thousand, that learns the noise. `dcbmr tune` finds this
without a script.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_array

import dcbmr

# %%
# Listeners and songs with six traits each: who plays what depends on them, on what is popular, and on
# chance.

rng = np.random.default_rng(0)
users, songs = rng.standard_normal((400, 6)), rng.standard_normal((300, 6))
liking = users @ songs.T + rng.standard_normal(300) + rng.gumbel(size=(400, 300)) * 2
played = liking >= np.quantile(liking, 0.93, axis=1, keepdims=True)  # 21 songs each
counts = csr_array(np.where(played, rng.geometric(0.4, played.shape), 0).astype(np.float32))
split = dcbmr.split_plays(dcbmr.PlayCounts.from_matrix(counts), by="play", random_state=0)

# %%
# A tenth of the plays is held out, and recall says how many of them are among the first twenty songs that a
# listener has not played in training.

lambdas = np.geomspace(1e-5, 1e4, 19)
recall = []
for regularization in lambdas:
    factors = dcbmr.WeightedALS(n_factors=30, regularization=regularization).fit(split).factors_
    evaluation = dcbmr.evaluate_factors({"als": factors}, split, k=20, n_resamples=0)
    recall.append(evaluation.rows[0]["recall_at_20"])

plt.figure(figsize=(7, 4), layout="constrained")
plt.semilogx(lambdas, recall, marker="o")
plt.xlabel("lambda")
plt.ylabel("recall@20 of held-out plays")
plt.ylim(0)
plt.show()
