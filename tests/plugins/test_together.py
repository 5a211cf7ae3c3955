"""Two processes that train a network together follow one that has the whole batch. On Ray: tests/engine."""

import numpy as np
import pytest
import torch
from dcbmr_torch.batch_norm import WholeBatchNorm
from planted import SMALL_CNN, SMALL_MLP
from two_processes import IN_BATCH, Other, data, fit

from dcbmr import FitRun

SHORT = {"batch_size": 64, "epochs": 4}
FITS = [
    ("cnn", {**SMALL_CNN, **SHORT}),
    ("cnn", {**SMALL_CNN, **SHORT, "batch_size": 33, "loss": "in_batch"}),
    ("mlp", {**SMALL_MLP, **SHORT, "dropout": 0.0, "loss": "softmax", "optimizer": "nesterov"}),
]


def test_two_processes_follow_one(install, tmp_path):
    install("of-batches", IN_BATCH)
    with Other() as other:
        for regressor, settings in FITS:
            alone = fit(regressor, settings, FitRun())
            together, history = other.fit(regressor, settings)
            assert together.history == history, "both agree on what they judge by"
            check_follows(together, alone, regressor)
            assert together.loss_state.keys() == alone.loss_state.keys()
            for name, value in alone.loss_state.items():
                torch.testing.assert_close(together.loss_state[name], value)
        # From one to two and back: here, what one process left after two epochs.
        regressor, settings = FITS[0]
        alone = fit(regressor, settings, FitRun())
        with pytest.raises(KeyboardInterrupt):
            fit(regressor, settings, FitRun(checkpoint=tmp_path / "state", report=stop_after(2)))
        together, _ = other.fit(regressor, settings, checkpoint=tmp_path / "state", resume=True)
        check_follows(together, alone, regressor)
        back = fit(regressor, settings, FitRun(checkpoint=tmp_path / "state", resume=True))
        assert back.history == together.history
        songs, _ = data(regressor)
        np.testing.assert_array_equal(back.predict(songs), together.predict(songs))


def check_follows(together, alone, regressor):
    for row, wanted in zip(together.history, alone.history, strict=True):
        for name in ("loss", "validation_loss", "validation_map"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-5)
    songs, _ = data(regressor)
    np.testing.assert_allclose(together.predict(songs), alone.predict(songs), atol=1e-5)


def stop_after(epochs):
    n_over = []

    def report(stage, step, n_steps, figures):
        if "validation_map" in figures:
            n_over.append(step)
            if len(n_over) == epochs:
                raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 1, 5)])
def test_a_batch_norm_of_all_is_that_of_torch(shape, momentum):
    torch.manual_seed(0)
    kind = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[len(shape)]
    wanted = kind(3, momentum=momentum)
    torch.nn.init.normal_(wanted.weight)
    # As many values again, which another process has: the same ones.
    found = WholeBatchNorm(wanted, lambda values: 2 * values)
    inputs = torch.randn(shape) + 5
    if len(shape) == 4:
        inputs = inputs.to(memory_format=torch.channels_last)
    weights = torch.randn(shape)
    results = []
    for norm, copies in ((wanted, 2), (found, 1)):
        given = inputs.clone().requires_grad_()
        output = norm(torch.cat([given] * copies))
        (output * torch.cat([weights] * copies)).sum().backward()
        results.append((output[:8], given.grad / copies, norm.weight.grad / copies, norm.bias.grad / copies))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value)
    torch.testing.assert_close(found.eval()(inputs), wanted.eval()(inputs))
