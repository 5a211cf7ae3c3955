import numpy as np
import pytest
import torch

import dcbmr
import dcbmr.testing


@pytest.mark.parametrize("check", dcbmr.testing.loss_checks("gaussian"), ids=str)
def test_gaussian(check):
    check()


def test_it_is_the_likelihood_of_torch():
    _, target = dcbmr.testing.planted_world("bow_pca")
    loss = dcbmr.get_loss("gaussian", target, floor=0.5)
    predicted, songs = torch.randn(6, 4), torch.tensor([3, 1, 4, 1, 5, 9])
    noise = torch.tensor(target.song_factors).var(0, correction=0) * 1.5
    wanted = torch.distributions.Normal(predicted, noise.sqrt()).log_prob(
        torch.tensor(target.song_factors)[songs]
    )
    constant = 4 * np.log(2 * np.pi) / 2
    found = float(loss(predicted, songs).detach())
    assert found == pytest.approx(float(-wanted.sum(1).mean()) - constant, rel=1e-5)


def test_a_network_learns_which_factors_can_be_learned(tmp_path):
    """Two of four factors follow from the vectors; the others are noise."""
    features, planted = dcbmr.testing.planted_world("bow_pca")
    songs = planted.song_factors.copy()
    songs[:, 2:] = 0.3 * np.random.default_rng(0).standard_normal((len(songs), 2))
    target = dcbmr.FactorTarget(
        songs, planted.user_factors, planted.surplus, planted.groups, planted.validation
    )
    settings = {
        "hidden": 16,
        "dropout": 0.0,
        "epochs": 60,
        "batch_size": 8,
        "learning_rate": 3e-2,
        "patience": 0,
    }
    model = dcbmr.get_regressor("mlp", loss="gaussian", choose_by="loss", **settings)
    model.fit(features, target)
    share = model.loss_state["log_share"].exp()
    assert share[:2].max() < 0.5 * share[2:].min(), share
    model.save(tmp_path)
    assert torch.equal(type(model).load(tmp_path).loss_state["log_share"], model.loss_state["log_share"])


def test_a_floor_out_of_range_is_refused():
    _, target = dcbmr.testing.planted_world("bow_pca")
    with pytest.raises(dcbmr.InputError, match="floor must be positive; got 0"):
        dcbmr.get_loss("gaussian", target, floor=0.0)
