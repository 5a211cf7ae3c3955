"""The hook: light, so that ``dcbmr plugins`` stays fast; librosa is imported on first use."""

from dcbmr import FeatureSpec, hookimpl

DCBMR_CONTRACT = 2  # the version of dcbmr.CONTRACT_VERSION that this plugin was made for


@hookimpl
def dcbmr_features():
    """Offer the kind ``harmony``."""
    return [
        FeatureSpec(
            name="harmony",
            factory="dcbmr_librosa_extractor:Harmony",
            summary="tempo, and means and deviations of chroma and spectral contrast, by librosa",
            has_check=True,
        )
    ]
