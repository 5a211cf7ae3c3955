"""The hooks: light, so that ``dcbmr plugins`` stays fast; torch is imported on first use."""

from dcbmr import LossSpec, hookimpl

DCBMR_CONTRACT = 2  # the version of dcbmr.CONTRACT_VERSION that this plugin was made for


@hookimpl
def dcbmr_losses():
    """Offer the loss ``gaussian``."""
    return [
        LossSpec(
            name="gaussian",
            factory="dcbmr_gaussian_loss:Gaussian",
            summary="likelihood of the song factors, each with a noise of its own that is learned",
        )
    ]
