"""The hooks: light, so that ``dcbmr plugins`` stays fast; torch is imported on first use."""

from dcbmr import RegressorSpec, hookimpl

DCBMR_CONTRACT = 2  # the version of dcbmr.CONTRACT_VERSION that this plugin was made for


@hookimpl
def dcbmr_regressors():
    """Offer the regressor ``gru``."""
    return [
        RegressorSpec(
            name="gru",
            factory="dcbmr_gru_model:GRU",
            summary="a recurrent layer over mel frames",
            shape="frames",
            kind="mel",
            losses=None,  # any that is installed
            has_check=True,
            devices=("auto", "cpu", "cuda"),
        )
    ]
