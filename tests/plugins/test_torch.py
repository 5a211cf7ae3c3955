"""The networks, their losses and the training loop, on songs whose right answer is known."""

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import reference
import torch
from dcbmr_torch.cnn import CNN
from dcbmr_torch.examples import Slot, WindowExamples, read_ahead
from dcbmr_torch.losses import MSE, WPE
from dcbmr_torch.mlp import MLP
from dcbmr_torch.ranking import Softmax
from planted import SMALL_CNN, SMALL_MLP, Songs, make_target, planted_order
from safetensors.torch import load_file
from scipy.sparse import csr_array

import dcbmr
from dcbmr import DcbmrError, FactorTarget, FitRun, InputError
from dcbmr.contract import registry


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices gain nothing from a second thread, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def planted_vectors():
    """A trait that is not linear in the vectors, one that is, and nothing."""
    vectors = np.random.default_rng(1).normal(size=(240, 5)).astype(np.float32)
    likes = np.c_[np.abs(vectors[:, 0]) > 0.7, vectors[:, 1] > 0, vectors[:, 2] > 9]
    return Songs("bow_pca", list(vectors)), make_target(likes.astype(np.float32), likes)


@pytest.fixture(name="planted_order")
def _planted_order():
    return planted_order()


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


@pytest.mark.parametrize("loss", ["mse", "softmax", "wpe"])
def test_mlp_learns_what_is_not_linear(planted_vectors, loss):
    songs, target = planted_vectors
    model = MLP(loss=loss, **{**SMALL_MLP, "epochs": 40, "hidden": 100, "dropout": 0.0}).fit(songs, target)
    predicted, unseen = model.predict(songs), target.validation
    assert predicted.shape == target.song_factors.shape
    assert predicted.dtype == np.float32
    for trait in (0, 1):
        assert correlation(predicted[unseen, trait], target.song_factors[unseen, trait]) > 0.5
    if loss == "mse":  # back in the units of song_factors, though each was standardized
        np.testing.assert_allclose(predicted[unseen].mean(0), target.song_factors[unseen].mean(0), atol=0.1)


@pytest.mark.parametrize("architecture", ["nips2013", "spotify2014"])
def test_cnn_hears_the_order_of_frames(planted_order, architecture):
    songs, target = planted_order
    model = CNN(architecture=architecture, **SMALL_CNN).fit(songs, target)
    unseen = target.validation
    assert correlation(model.predict(songs)[unseen, 0], target.song_factors[unseen, 0]) > 0.85
    rng = np.random.default_rng(3)
    shuffled = Songs("mel", [rng.permutation(songs.frames(i)) for i in range(len(songs.song_ids))])
    assert abs(correlation(model.predict(shuffled)[unseen, 0], target.song_factors[unseen, 0])) < 0.6


@pytest.mark.parametrize(
    ("model", "fixture"), [(MLP(**SMALL_MLP), "planted_vectors"), (CNN(**SMALL_CNN), "planted_order")]
)
def test_saved_is_loaded(model, fixture, request, tmp_path):
    songs, target = request.getfixturevalue(fixture)
    model.fit(songs, target)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(songs), model.predict(songs))
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert model.history == loaded.history
    assert len(model.history) == 12
    settings = json.loads((tmp_path / "network.json").read_text())
    settings["parameters"]["hiden"] = 3
    (tmp_path / "network.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="no parameter hiden"):
        type(model).load(tmp_path)


def test_damaged_model_is_input_error(planted_vectors, tmp_path):
    songs, target = planted_vectors
    with pytest.raises(InputError, match=r"network\.json is missing or damaged"):
        MLP.load(tmp_path)
    MLP(**SMALL_MLP).fit(songs, target).save(tmp_path)
    header = (tmp_path / "network.json").read_text()
    (tmp_path / "network.json").write_text(header.replace('"n_dims": 5', '"n_dims": 6'))
    with pytest.raises(InputError, match="holds no MLP that can be read.*input_mean"):
        MLP.load(tmp_path)
    (tmp_path / "network.json").write_text(header.replace('"n_dims"', '"dims"'))
    with pytest.raises(InputError, match="network.json is damaged: it has no 'n_dims'"):
        MLP.load(tmp_path)
    (tmp_path / "network.json").write_text(header)
    whole = (tmp_path / "network.safetensors").read_bytes()
    (tmp_path / "network.safetensors").write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"network\.safetensors is missing or damaged"):
        MLP.load(tmp_path)


def test_same_seed_same_bits(planted_order):
    songs, target = planted_order
    make = lambda seed: CNN(random_state=seed, dropout=0.2, **SMALL_CNN)  # noqa: E731
    state = torch.get_rng_state()
    first, second, other = (make(seed).fit(songs, target) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.predict(songs), second.predict(songs))
    assert np.abs(first.predict(songs) - other.predict(songs)).max() > 1e-3
    assert torch.equal(state, torch.get_rng_state()), "a fit leaves torch's own generator alone"


@pytest.mark.parametrize("loss", ["mse", "softmax", "wpe"])
@pytest.mark.parametrize("architecture", ["nips2013", "spotify2014"])
def test_two_threads_give_the_same_bits_every_time(architecture, loss):
    """On windows and layers large enough that torch divides their work."""
    rng = np.random.default_rng(5)
    songs = Songs("mel", [rng.normal(size=(140, 64)).astype(np.float32) for _ in range(96)])
    likes = rng.random((96, 6)) < 0.3
    target = make_target(rng.normal(size=(96, 6)).astype(np.float32), likes)
    channels = (48, 48) if architecture == "nips2013" else (32, 32, 48, 48)
    model = lambda: CNN(  # noqa: E731
        architecture=architecture,
        loss=loss,
        channels=channels,
        hidden=(64,),
        dropout=0.2,
        epochs=3,
        batch_size=24,
    )
    bits = set()
    for _ in range(3):
        fitted = model().fit(songs, target, run=FitRun(n_threads=2))
        weights = fitted._network.state_dict().values()
        bits.add(b"".join(value.numpy().tobytes() for value in weights))
    assert len(bits) == 1


class Killed(Exception):
    pass


def killed_at(step):
    def report(stage, done, n_steps, figures):
        if done >= step:
            raise Killed

    return report


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov"])
def test_resume_goes_on_to_the_same_losses(planted_order, tmp_path, optimizer):
    songs, target = planted_order
    make = lambda: CNN(optimizer=optimizer, dropout=0.2, loss="wpe", **SMALL_CNN)  # noqa: E731
    unbroken = make().fit(songs, target)
    with pytest.raises(Killed):
        make().fit(songs, target, run=FitRun(checkpoint=tmp_path, report=killed_at(40)))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 5
    told = []

    def note(stage, step, n_steps, figures):
        if "validation_map" in figures:
            told.append((figures["loss"], figures["validation_map"]))

    resumed = make().fit(songs, target, run=FitRun(checkpoint=tmp_path, resume=True, report=note))
    losses = lambda model: [(row["loss"], row["validation_map"]) for row in model.history]  # noqa: E731
    assert told == losses(resumed) == losses(unbroken)
    np.testing.assert_array_equal(resumed.predict(songs), unbroken.predict(songs))
    log = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in log] == resumed.history
    again = make().fit(songs, target, run=FitRun(checkpoint=tmp_path, resume=True))  # nothing left to do
    assert again.history == resumed.history
    np.testing.assert_array_equal(again.predict(songs), unbroken.predict(songs))
    with pytest.raises(InputError, match=r"learning_rate was 0\.003 there and is 0\.1 now"):
        replace(make(), learning_rate=0.1).fit(songs, target, run=FitRun(checkpoint=tmp_path, resume=True))
    (tmp_path / "checkpoint.safetensors").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"checkpoint.safetensors is no checkpoint"):
        make().fit(songs, target, run=FitRun(checkpoint=tmp_path, resume=True))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_nan_stops_with_step_and_songs(planted_vectors, tmp_path):
    songs, target = planted_vectors
    bad = int(np.flatnonzero(~target.validation)[7])
    vectors = songs.vectors()
    broken = Songs("bow_pca", list(vectors))
    fitted_on = FitRun(checkpoint=tmp_path)
    take = broken.vectors

    calls = []

    def report(stage, done, n_steps, figures):
        calls.append(done)
        if "validation_map" in figures:
            vectors_now[bad] = np.nan

    vectors_now = take()
    broken.vectors = lambda: vectors_now
    with pytest.raises(
        DcbmrError,
        match=rf"loss 'mse' of dcbmr .* became nan at step \d+ \(songs .*song {bad}\b.*checkpoint:",
    ):
        MLP(**{**SMALL_MLP, "batch_size": 8}).fit(broken, target, run=replace(fitted_on, report=report))
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert all(bool(value.isfinite().all()) for value in kept.values())


def test_validation_songs_that_are_not_finite_stop_the_fit(planted_vectors):
    songs, target = planted_vectors
    vectors = songs.vectors()
    vectors[np.flatnonzero(target.validation)[3]] = np.nan
    with pytest.raises(DcbmrError, match="predictions of the validation songs"):
        MLP(**SMALL_MLP).fit(Songs("bow_pca", list(vectors)), target)


def test_unit_norm_is_for_mse_alone(planted_vectors):
    songs, target = planted_vectors
    target = replace(target, song_factors=target.song_factors + np.float32(0.5))
    loss = MSE(target, unit_norm=True)
    lengths = np.linalg.norm(target.song_factors, axis=1)
    scaled = target.song_factors / lengths[:, None] * np.sqrt((lengths**2).mean())
    rows = torch.arange(len(lengths))
    assert loss(torch.from_numpy(scaled), rows).item() == pytest.approx(0, abs=1e-8)
    assert loss(torch.from_numpy(scaled * 2), rows).item() == pytest.approx((lengths**2).mean(), rel=1e-5)
    predicted = MLP(loss_params={"unit_norm": True}, **SMALL_MLP).fit(songs, target).predict(songs)
    assert np.linalg.norm(predicted, axis=1).mean() == pytest.approx(np.sqrt((lengths**2).mean()), rel=0.2)
    with pytest.raises(InputError, match="loss 'wpe' has no parameter 'unit_norm'; it has none"):
        MLP(loss_params={"unit_norm": True}, loss="wpe").fit(songs, target)


def test_losses_are_what_they_say(planted_vectors):
    _, target = planted_vectors
    rng = np.random.default_rng(4)
    songs = rng.integers(0, len(target.song_factors), 12)  # a song may come twice
    predicted = rng.normal(size=(12, 3)).astype(np.float32)
    arguments = torch.from_numpy(predicted), torch.from_numpy(songs)
    mse = np.square(predicted - target.song_factors[songs]).sum(1).mean()
    assert dcbmr.get_loss("mse", target)(*arguments).item() == pytest.approx(mse, rel=1e-6)
    wpe = reference.wpe(predicted, target.user_factors, target.surplus.toarray()[songs]) / 12
    assert dcbmr.get_loss("wpe", target)(*arguments).item() == pytest.approx(wpe, rel=1e-5)


def test_softmax_is_the_likelihood_of_all_plays(planted_vectors):
    """Against the likelihood itself: the song is put among the others, and every play looked at."""
    _, target = planted_vectors
    played = target.surplus.toarray() > 0  # (n_songs, n_users)
    song, predicted = 5, np.array([0.3, -0.2, 0.5], np.float32)

    def log_likelihood(factors, plays):
        logits = target.user_factors @ factors.T / 0.5  # (n_users, n_songs)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return (log_p.T * plays).sum()

    with_it = log_likelihood(
        np.vstack([target.song_factors, predicted]), np.vstack([played, played[song : song + 1]])
    )
    without = log_likelihood(target.song_factors, played)
    loss = dcbmr.get_loss("softmax", target, temperature=0.5)
    found = loss(torch.from_numpy(predicted[None]), torch.tensor([song])).item()
    assert found == pytest.approx(without - with_it, rel=1e-5)
    sampled = Softmax(target, temperature=0.5, n_songs=100, n_users=30)
    assert sampled(torch.from_numpy(predicted[None]), torch.tensor([song])).item() == pytest.approx(
        found, rel=0.3
    )
    with pytest.raises(InputError, match="temperature must be positive"):
        Softmax(target, temperature=0)


@pytest.mark.parametrize("loss", [MSE, WPE, Softmax])
def test_gradients(planted_vectors, loss):
    _, target = planted_vectors
    criterion = loss(target)
    songs = torch.tensor([3, 0, 3, 7])
    predicted = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda p: criterion(p, songs), predicted.requires_grad_())


def test_wpe_of_songs_nobody_played():
    users = np.eye(3, dtype=np.float32)
    surplus = csr_array(np.array([[0, 2.0, 0], [0, 0, 0]], np.float32))
    target = FactorTarget(np.zeros((2, 3), np.float32), users, surplus, None, np.zeros(2, bool))
    y = torch.ones(1, 3)
    assert WPE(target)(y, torch.tensor([1])).item() == pytest.approx(3)  # nobody: sum of scores squared
    assert WPE(target)(y, torch.tensor([0])).item() == pytest.approx(2)
    assert WPE(target)(0 * y, torch.tensor([0])).item() == pytest.approx(3)  # 1 + s


def test_windows_cover_each_song():
    lengths = [5, 16, 17, 31, 32, 33, 200]
    songs = Songs("mel", [np.arange(n, dtype=np.float32)[:, None] for n in lengths])
    examples = WindowExamples(songs, 16, torch.device("cpu"))
    rows, starts = examples.covering(np.arange(len(lengths)))
    for song, n_frames in enumerate(lengths):
        mine = starts[rows == song]
        assert len(mine) == -(-n_frames // 16), "the fewest that cover it"
        heard = np.unique((mine[:, None] + np.arange(16)) % n_frames)
        assert len(heard) == n_frames
        assert mine.max() <= max(n_frames - 16, 0)
        if n_frames % 16 == 0:
            np.testing.assert_array_equal(mine, np.arange(0, n_frames, 16))


def test_random_windows_reach_every_place():
    songs = Songs("mel", [np.arange(n, dtype=np.float32)[:, None] for n in (5, 16, 20)])
    examples = WindowExamples(songs, 16, torch.device("cpu"))
    rows = np.tile([[0, 1, 2]], (100, 1))
    batches = [
        (songs.copy(), inputs.clone()) for songs, inputs in examples.sample(rows, np.random.default_rng(0))
    ]
    assert all(inputs.shape == (3, 16, 1) for _, inputs in batches)
    assert {int(inputs[2, 0, 0]) for _, inputs in batches} == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(batches[0][1][0, :, 0], np.arange(16) % 5)  # a short song wraps round


@pytest.mark.parametrize(("kind", "dtype"), [("mel", torch.float16), ("mfcc", torch.float32)])
def test_windows_come_as_they_are_stored(kind, dtype):
    songs = Songs(kind, [np.linspace(-300, 300, 80, dtype=np.float32).reshape(20, 4)])
    examples = WindowExamples(songs, 16, torch.device("cpu"))
    for batches in (
        examples.cover(np.array([0]), 2),
        examples.sample(np.array([[0, 0]]), np.random.default_rng(0)),
    ):
        ((rows, inputs),) = batches
        assert (rows.tolist(), inputs.dtype) == ([0, 0], dtype)


@pytest.mark.parametrize("n_readers", [1, 3])
def test_reading_ahead_keeps_the_order_and_ends_with_its_reader(n_readers):
    slots = [Slot((4, 2), torch.float32, torch.device("cpu")) for _ in range(n_readers + 2)]
    pieces = [(np.full(n, i), np.arange(n)) for i, n in enumerate([4, 4, 1, 4, 3, 4, 4, 2])]

    def read(piece, slot):
        def write(out):
            time.sleep(0.002 * (piece[0][0] % 3))  # later ones may be read sooner
            out[...] = piece[0][:, None]

        return piece[0], slot.fill(len(piece[0]), write)

    found = [
        (rows.tolist(), inputs.tolist()) for rows, inputs in read_ahead(iter(pieces), read, slots, n_readers)
    ]
    assert found == [(rows.tolist(), [[i, i] for i in rows.tolist()]) for rows, _ in pieces]

    before = threading.active_count()
    endless = iter(lambda: pieces[0], None)
    batches = read_ahead(endless, read, slots, n_readers)
    next(batches)
    batches.close()
    assert threading.active_count() == before

    def fail(piece, slot):
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        next(read_ahead(endless, fail, slots, n_readers))
    assert threading.active_count() == before


def test_slow_reading_goes_on_in_a_thread(planted_order):
    songs, _ = planted_order
    readers = []

    class Slow(Songs):
        def windows(self, *args, **kwargs):
            readers.append(threading.current_thread())
            time.sleep(0.005)
            return super().windows(*args, **kwargs)

    rows = np.arange(len(songs.song_ids))
    slow = WindowExamples(Slow("mel", songs._arrays), 16, torch.device("cpu"))
    quick = WindowExamples(songs, 16, torch.device("cpu"))
    batches, expected = (
        [(rows.tolist(), inputs.clone()) for rows, inputs in examples.cover(rows, 50)]
        for examples in (slow, quick)
    )
    for (found_rows, found), (wanted_rows, wanted) in zip(batches, expected, strict=True):
        assert found_rows == wanted_rows
        assert torch.equal(found, wanted)
    assert readers[0] is threading.main_thread()
    assert threading.main_thread() not in readers[1:]


def test_validation_chooses_the_epoch(planted_vectors):
    songs, target = planted_vectors
    for choose_by, best in (("map", np.argmax), ("loss", np.argmin)):
        model = MLP(**{**SMALL_MLP, "choose_by": choose_by, "learning_rate": 0.1, "dropout": 0.0})
        model.fit(songs, target)
        key = f"validation_{choose_by}"
        chosen = best([row[key] for row in model.history])
        rows = np.flatnonzero(target.validation)
        plays = target.surplus[rows].T.tocsr()
        report = dcbmr.evaluate_ranking(target.user_factors, model.predict(songs)[rows], plays)
        assert report.map_at_k == pytest.approx(model.history[chosen]["validation_map"])
    stopped = MLP(**{**SMALL_MLP, "epochs": 200, "patience": 3, "choose_by": "map"}).fit(songs, target)
    figures = [row["validation_map"] for row in stopped.history]
    assert len(figures) < 200
    assert len(figures) - 1 - np.argmax(figures) == 3


def test_without_validation_the_last_epoch_is_kept(planted_vectors):
    songs, target = planted_vectors
    target = replace(target, validation=np.zeros(240, bool))
    model = MLP(**SMALL_MLP).fit(songs, target)
    assert len(model.history) == 12
    assert "validation_map" not in model.history[0]
    assert correlation(model.predict(songs)[:, 1], target.song_factors[:, 1]) > 0.7


def hungry(regressor, most):
    """Return a regressor for whose network batches of more than ``most`` are too large."""

    class Hungry(regressor):
        def network(self, n_dims, n_factors):
            def refuse(module, args):
                if len(args[0]) > most:
                    raise torch.OutOfMemoryError("Tried to allocate much. More words.")

            body = super().network(n_dims, n_factors)
            body.register_forward_pre_hook(refuse)
            return body

    return Hungry


def test_out_of_memory_names_what_fits(planted_vectors):
    songs, target = planted_vectors
    with pytest.raises(InputError, match="out of memory on cpu with batch_size 64; batch_size 16 fits"):
        hungry(MLP, 20)(**{**SMALL_MLP, "batch_size": 64}).fit(songs, target)
    with pytest.raises(InputError, match="even with batch_size 1; take a smaller network"):
        hungry(MLP, 0)(**SMALL_MLP).fit(songs, target)


def test_out_of_memory_while_predicting_makes_batches_smaller(planted_order, tmp_path):
    songs, target = planted_order
    model = CNN(**SMALL_CNN).fit(songs, target)
    model.save(tmp_path)
    small, every = hungry(CNN, 3).load(tmp_path), np.arange(len(songs.song_ids))
    np.testing.assert_allclose(small.predict(songs), model.predict(songs), atol=1e-5)
    for layer in (None, 1):
        found, wanted = (m.activations(songs, every, layer=layer)[3] for m in (small, model))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(InputError, match="out of memory on cpu even for one input"):
        hungry(CNN, 0).load(tmp_path).predict(songs)


def test_out_of_memory_elsewhere_is_advice_too(planted_order):
    songs, target = planted_order

    def windows(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79 GiB.")

    songs.windows = windows
    with pytest.raises(InputError, match=r"with batch_size 16; take a smaller one.*allocate 2.00 GiB\)"):
        CNN(**SMALL_CNN).fit(songs, target)


def test_bfloat16_is_near(planted_order):
    songs, target = planted_order
    exact, rough = (CNN(precision=p, **SMALL_CNN).fit(songs, target) for p in ("float32", "bfloat16"))
    difference = np.abs(exact.predict(songs) - rough.predict(songs))
    assert 0 < difference.mean() < 0.1
    assert rough.predict(songs).dtype == np.float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch's compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for CPU with g++")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_is_near(planted_order, precision):
    songs, target = planted_order
    few = {**SMALL_CNN, "epochs": 2, "precision": precision}
    plain, compiled = (CNN(compile=c, **few).fit(songs, target).predict(songs) for c in (False, True))
    np.testing.assert_allclose(compiled, plain, atol=1e-3 if precision == "float32" else 0.1)


def test_threads_are_honoured_and_given_back(planted_vectors):
    songs, target = planted_vectors
    before, seen = torch.get_num_threads(), []
    run = FitRun(n_threads=2, report=lambda *_: seen.append(torch.get_num_threads()))
    MLP(**{**SMALL_MLP, "epochs": 1}).fit(songs, target, run=run)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_progress_is_reported(planted_order):
    songs, target = planted_order
    seen = []
    CNN(**SMALL_CNN).fit(songs, target, run=FitRun(report=lambda *args: seen.append(args)))
    assert seen[-1][:3] == ("fit", 12 * 8, 12 * 8)
    assert {"loss", "validation_map", "validation_loss", "windows_per_s"} <= set(seen[-1][3])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, nesterov; got 'sgd'"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda; got 'tpu'"),
        ({"architecture": "vgg"}, "architecture must be one of nips2013, spotify2014; got 'vgg'"),
        ({"channels": (4,), "pools": (2, 2)}, "must be as many"),
        ({"window": 6}, "a window of 6 frames is too short"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_parameters_are_named(planted_order, params, message):
    songs, target = planted_order
    with pytest.raises(InputError, match=message):
        CNN(**{**SMALL_CNN, **params}).fit(songs, target)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("cnn", {"epochs": 0}, "epochs must be at least 1; got 0"),
        ("cnn", {"architecture": "vgg"}, "architecture must be one of nips2013, spotify2014; got 'vgg'"),
        ("cnn", {"window": 6}, "a window of 6 frames is too short"),
        ("cnn", {"device": "tpu"}, "'cnn' computes on auto, cpu, cuda; got device 'tpu'"),
        ("mlp", {"hidden": 0}, "hidden must be at least 1"),
        ("mlp", {"loss": "hinge"}, "'mlp' has no loss 'hinge': it takes .*mse, .*softmax, .*wpe"),
    ],
)
def test_what_can_be_known_is_said_before_there_are_songs(name, params, message):
    with pytest.raises(InputError, match=message):
        dcbmr.get_regressor(name, **params)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_device_that_is_not_there_is_refused_before_there_are_songs(name):
    with pytest.raises(InputError, match="this torch sees no CUDA device; take --device auto or cpu"):
        dcbmr.get_regressor(name, device="cuda")


def test_unfitted_and_mismatched(planted_vectors, tmp_path):
    songs, target = planted_vectors
    with pytest.raises(InputError, match="this MLP is not fitted"):
        MLP().predict(songs)
    model = MLP(**SMALL_MLP).fit(songs, target)
    with pytest.raises(InputError, match="takes 5 dimensions; the 'bow_pca' features came with 4"):
        model.predict(Songs("bow_pca", list(songs.vectors()[:, :4])))
    with pytest.raises(InputError, match="song 'song 0' has no frames"):
        CNN(**SMALL_CNN).fit(Songs("mel", [np.zeros((0, 4), np.float32)] * 8), target)


def test_constructors_hold_keyword_parameters_that_the_host_can_read():
    for name in ("mlp", "cnn"):
        parameters = registry.parameters(registry.resolve(registry.find_regressor(name)))
        assert {"loss", "device", "random_state", "epochs", "hidden"} <= set(parameters)
        assert all(p.annotation is not p.empty for p in parameters.values())
    assert parameters["channels"].annotation == tuple[int, ...]


def test_a_network_of_ones_own(planted_order, tmp_path, monkeypatch):
    """The example, which needs nothing but its network."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples" / "dcbmr-gru")
    from dcbmr_gru_model import GRU

    songs, target = planted_order
    model = GRU(window=16, units=16, epochs=20, batch_size=16, learning_rate=1e-2, patience=0)
    predicted = model.fit(songs, target).predict(songs)
    assert correlation(predicted[target.validation, 0], target.song_factors[target.validation, 0]) > 0.8
    model.save(tmp_path)
    np.testing.assert_array_equal(GRU.load(tmp_path).predict(songs), predicted)
    parameters = registry.parameters(GRU)  # their types are known, whichever module declared them
    assert parameters["units"].annotation is int
    assert parameters["optimizer"].annotation == Literal["adamw", "nesterov"]


@pytest.mark.parametrize("name", ["wpe", "softmax"])
def test_two_threads_give_the_gradient_the_same_bits_every_time(name):
    rng = np.random.default_rng(3)
    n_songs, n_users, n_factors = 8, 5000, 12
    target = FactorTarget(
        song_factors=rng.standard_normal((n_songs, n_factors)).astype(np.float32),
        user_factors=rng.standard_normal((n_users, n_factors)).astype(np.float32),
        surplus=csr_array((rng.random((n_songs, n_users)) < 0.5).astype(np.float32)),
        groups=None,
        validation=np.zeros(n_songs, bool),
    )
    loss, songs = dcbmr.get_loss(name, target), torch.arange(n_songs)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = set()
        for _ in range(100):
            predicted = torch.from_numpy(target.song_factors.copy()).requires_grad_()
            loss(predicted, songs).backward()
            gradients.add(predicted.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1


def test_a_full_disk_names_the_checkpoint(planted_vectors, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    songs, target = planted_vectors
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        DcbmrError, match=r"the checkpoint in .* could not be written: No space left on device"
    ):
        MLP(**SMALL_MLP).fit(songs, target, run=FitRun(checkpoint=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
