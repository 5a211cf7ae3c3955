"""The hook: light, so that ``dcbmr plugins`` stays fast; torch is imported on first use."""

from dcbmr import FeatureSpec, hookimpl

DCBMR_CONTRACT = 2  # the version of dcbmr.CONTRACT_VERSION that this plugin was made for


@hookimpl
def dcbmr_features():
    """Offer the kind ``clap``."""
    return [
        FeatureSpec(
            name="clap",
            factory="dcbmr_clap_extractor:Clap",
            summary="embeddings of a CLAP audio encoder, a mean over windows; --set clap.weights=PATH",
            licence="that of the weights you bring (laion/larger_clap_general: Apache-2.0)",
            has_check=True,
            is_embedding=True,
        )
    ]
