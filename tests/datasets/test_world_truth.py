"""Nothing about the answer is built in: take away what carries it, and the margin goes.

The demo's world at a third of its size, through the same parts: features, factors, split by artist, linear
regression on a bag of words, CNN. Every figure is (mAP - random) on held-out artists.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import dcbmr
from dcbmr.audio.frames import MFCC, LogMel
from dcbmr.datasets.world import World
from dcbmr.experiment.demo import demo_config
from dcbmr.features.memory import MemoryFeatures
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.models.training import factor_target
from dcbmr.plays.split import split_plays
from dcbmr.ranking.chance import random_row
from dcbmr.ranking.report import evaluate_ranking

pytestmark = pytest.mark.slow

SETTINGS = replace(demo_config().world, n_songs=1200, n_artists=300, n_users=1500, random_state=21)
CNN = {"epochs": 25, "device": "cpu"}


class Heard:
    """A world's songs, as frames in memory; they do not depend on the share."""

    def __init__(self, world: World) -> None:
        def both(song):
            samples = world.synthesize(song)
            return LogMel()(samples).astype(np.float16), MFCC()(samples)

        with ThreadPoolExecutor() as pool:
            self.mel, self.mfcc = zip(*pool.map(both, range(world.settings.n_songs)), strict=True)


@pytest.fixture(scope="module")
def heard():
    pytest.importorskip("torch")
    return Heard(World(SETTINGS))


def judge(share, mel, mfcc):
    """Return the random row's mAP and the (mAP, AUC) of both regressors on held-out artists."""
    world = World(replace(SETTINGS, share=share))
    row = {song: i for i, song in enumerate(world.song_ids)}
    artists = {song: world.artist_id(i) for i, song in enumerate(world.song_ids)}
    split = split_plays(world.plays(), by="artist", artists=artists, fraction=0.2)
    factors = demo_config().als().fit(split.train).factors_
    songs = list(factors.song_ids)
    target = factor_target(factors, songs, artists=artists)

    def features(kind, frames, ids):
        return MemoryFeatures(kind, ids, [np.asarray(frames[row[song]], np.float32) for song in ids])

    heldout = split.heldout.counts
    known = {user: i for i, user in enumerate(factors.user_ids)}
    users = np.array([known.get(user, -1) for user in split.heldout.user_ids])
    user_factors = np.where(users[:, None] >= 0, factors.user_factors[users], 0)
    mfcc_train, mfcc_test = (features("mfcc", mfcc, ids) for ids in (songs, split.heldout_songs))
    mel_train, mel_test = (features("mel", mel, ids) for ids in (songs, split.heldout_songs))
    words = FeaturePipeline("bow_pca", n_words=250)
    linear = dcbmr.get_regressor("linear").fit(words.fit_transform(mfcc_train), target)
    cnn = dcbmr.get_regressor("cnn", **CNN).fit(mel_train, target)
    found = {}
    for name, predicted in (
        ("linear", linear.predict(words.transform(mfcc_test))),
        ("cnn", cnn.predict(mel_test)),
    ):
        report = evaluate_ranking(user_factors, predicted, heldout)
        found[name] = (report.map_at_k, report.auc)
    return random_row(report).expected_map_at_k, found


def lift(luck, found):
    return (found["cnn"][0] - luck) / (found["linear"][0] - luck)


def shuffled(frames, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.permutation(one) for one in frames]


def test_the_cnn_hears_what_is_in_time_and_linear_regression_does_not(heard):
    luck, found = judge(0.5, heard.mel, heard.mfcc)
    assert found["linear"][1] > 0.5 + 0.03
    assert lift(luck, found) > 1.3


def test_without_the_order_of_frames_the_margin_is_gone(heard):
    luck, found = judge(0.5, shuffled(heard.mel), heard.mfcc)
    assert lift(luck, found) < 1.15


def test_without_taste_for_time_there_is_no_margin(heard):
    luck, found = judge(0.0, heard.mel, heard.mfcc)
    assert lift(luck, found) < 1.15


def test_songs_permuted_against_their_audio_fall_to_the_random_row(heard):
    order = np.random.default_rng(0).permutation(SETTINGS.n_songs)
    luck, found = judge(0.5, [heard.mel[i] for i in order], [heard.mfcc[i] for i in order])
    for (
        map_at_k,
        auc,
    ) in found.values():  # factors of songs all in one order: more spread than independent scores
        assert abs(auc - 0.5) < 0.03
        assert map_at_k < 1.3 * luck
