import numpy as np
import pytest

import dcbmr
import dcbmr.testing


@pytest.mark.parametrize("check", dcbmr.testing.feature_checks("harmony"), ids=str)
def test_harmony(check):
    check()


def test_a_faster_click_has_a_faster_tempo():
    harmony = dcbmr.get_extractor("harmony")

    def clicks(per_minute):
        samples = np.zeros(8 * harmony.sr, np.float32)
        for start in np.arange(0, len(samples) - 200, harmony.sr * 60 / per_minute).astype(int):
            samples[start : start + 200] = np.random.default_rng(0).standard_normal(200)
        return samples

    slow, fast = (harmony.extract(clicks(tempo))[0] for tempo in (80, 150))
    assert 70 < slow < 90
    assert 135 < fast < 165


def test_a_rate_that_is_too_low():
    with pytest.raises(dcbmr.InputError, match="wanted at least 16000 Hz"):
        dcbmr.get_extractor("harmony", sr=8000)
