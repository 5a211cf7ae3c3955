"""On a small encoder with random weights: it hears nothing, and everything else is as with real ones."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

import dcbmr
import dcbmr.testing

AUDIO = {
    "hidden_size": 32,
    "patch_embeds_hidden_size": 16,
    "depths": [1, 1],
    "num_attention_heads": [2, 2],
    "num_hidden_layers": 2,
    "spec_size": 64,
    "num_mel_bins": 16,
    "window_size": 4,
    "projection_dim": 24,
}
TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "vocab_size": 9,
}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap")
    torch.manual_seed(0)
    ClapModel(ClapConfig(audio_config=AUDIO, text_config=TEXT, projection_dim=24)).save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16000,
        max_length_s=2,
        frequency_max=7000,
        hop_length=480,
        truncation="rand_trunc",
        padding="repeatpad",
    ).save_pretrained(folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize("name", [str(c) for c in dcbmr.testing.feature_checks("clap")])
def test_clap(name, weights):
    checks = dcbmr.testing.feature_checks("clap", weights=str(weights))
    next(check for check in checks if str(check) == name)()


def test_the_digest_is_of_the_weights_and_not_of_their_place(weights, tmp_path):
    config = dcbmr.get_extractor("clap", weights=str(weights)).config
    for file in weights.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    moved = tmp_path / "model.safetensors"
    assert dcbmr.get_extractor("clap", weights=str(moved)).config == config
    content = bytearray(moved.read_bytes())
    content[-1] ^= 1
    moved.write_bytes(content)
    assert dcbmr.get_extractor("clap", weights=str(moved)).config != config


@pytest.mark.parametrize(
    ("name", "message"),
    [("pytorch_model.bin", "wanted the path of a model.safetensors"), ("model.safetensors", "is not there")],
)
def test_weights_that_cannot_be_used(tmp_path, name, message):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.get_extractor("clap", weights=str(tmp_path / name))


def test_weights_of_something_else(weights, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((weights.parent / name).read_bytes())
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(dcbmr.InputError, match="wanted those of a CLAP model"):
        dcbmr.get_extractor("clap", weights=str(tmp_path / "model.safetensors"))


def test_a_song_is_the_mean_of_its_windows(weights):
    clap = dcbmr.get_extractor("clap", weights=str(weights))
    windows = np.random.default_rng(0).standard_normal((3, 32000)).astype(np.float32)
    alone = np.mean([clap.extract(window) for window in windows], axis=0)
    np.testing.assert_allclose(clap.extract(windows.ravel()), alone, atol=1e-5)
    assert json.loads(json.dumps(clap.config)) == clap.config
