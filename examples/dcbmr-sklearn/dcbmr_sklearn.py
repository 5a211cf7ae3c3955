"""The hooks: light, so that ``dcbmr plugins`` stays fast; scikit-learn is imported on first use."""

from dcbmr import RegressorSpec, hookimpl

DCBMR_CONTRACT = 2  # the version of dcbmr.CONTRACT_VERSION that this plugin was made for


@hookimpl
def dcbmr_regressors():
    """Offer the regressor ``sklearn``."""
    return [
        RegressorSpec(
            name="sklearn",
            factory="dcbmr_sklearn_model:SklearnRegressor",
            summary="kernel ridge, random forest or nearest neighbours of scikit-learn",
            has_check=True,
        )
    ]
