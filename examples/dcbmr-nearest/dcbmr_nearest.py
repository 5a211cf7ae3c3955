"""The hooks: light, so that ``dcbmr plugins`` stays fast; the class is imported on first use."""

from dcbmr import RegressorSpec, hookimpl

DCBMR_CONTRACT = 2  # the version of dcbmr.CONTRACT_VERSION that this plugin was made for


@hookimpl
def dcbmr_regressors():
    """Offer the regressor ``nearest``."""
    return [
        RegressorSpec(
            name="nearest",
            factory="dcbmr_nearest_model:Nearest",
            summary="mean factors of the songs whose vectors are nearest",
        )
    ]
