"""A vector a song: the mean embedding of its windows, by an audio encoder whose weights the user brings."""

import hashlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor

from dcbmr import InputError

_BESIDE = ("config.json", "preprocessor_config.json")
_WINDOWS_AT_ONCE = 8


class Clap:
    """The audio half of CLAP (Wu and others, ICASSP 2023), as the library transformers has it.

    Parameters
    ----------
    weights : str
        ``model.safetensors`` of a CLAP model as it is published, with its ``config.json`` and its
        ``preprocessor_config.json`` beside it. Other formats, which can hold code, are refused.
    """

    def __init__(self, *, weights: str) -> None:
        self.weights = weights

    def check(self) -> None:
        """Refuse weights that are not there, or not safetensors; load them, once for all songs."""
        path = Path(self.weights)
        if path.name != "model.safetensors":
            raise InputError(f"weights: wanted the path of a model.safetensors, got {self.weights!r}")
        for file in (path, *(path.parent / name for name in _BESIDE)):
            if not file.is_file():
                raise InputError(f"weights: {file} is not there; wanted a CLAP model as it is published")
        self._front = ClapFeatureExtractor.from_pretrained(path.parent, local_files_only=True)
        model, loaded = ClapAudioModelWithProjection.from_pretrained(
            path.parent,
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
        if missing := sorted(loaded["missing_keys"]):
            raise InputError(f"weights: {path} has no {missing[0]!r}; wanted those of a CLAP model")
        self._model = model.eval()

    @cached_property
    def sr(self) -> int:
        """The rate that the encoder was trained at, Hz."""
        return self._beside("preprocessor_config.json")["sampling_rate"]

    @cached_property
    def n_dims(self) -> int:
        """Length of an embedding."""
        return self._beside("config.json").get("projection_dim", 512)

    @cached_property
    def config(self) -> dict:
        """All that the numbers depend on; not where the weights lie."""
        with open(self.weights, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"weights_sha256": digest, "transformers": transformers.__version__}

    def extract(self, samples) -> np.ndarray:
        """Return the mean embedding of the windows of a song, (n_dims,) float32."""
        length = self._front.nb_max_samples
        windows = [samples[start : start + length] for start in range(0, len(samples), length)]
        if len(windows) > 1 and len(windows[-1]) < length // 2:
            windows.pop()  # what is short is repeated until it fills a window
        found = []
        for first in range(0, len(windows), _WINDOWS_AT_ONCE):
            batch = windows[first : first + _WINDOWS_AT_ONCE]
            spectra = self._front(batch, sampling_rate=self.sr, return_tensors="pt")
            with torch.inference_mode():
                found.append(self._model(input_features=spectra["input_features"]).audio_embeds.numpy())
        return np.concatenate(found).mean(axis=0)

    def _beside(self, name):
        return json.loads((Path(self.weights).parent / name).read_text("utf-8"))
