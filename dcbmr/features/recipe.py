"""What a pass over audio makes: the extractors of the kinds wanted, and of what these are made of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from threading import Event
from typing import Any, Self

import numpy as np

from dcbmr.base.settings import check_settings
from dcbmr.contract import registry
from dcbmr.contract.contract import CONTRACT_VERSION
from dcbmr.contract.faults import calling, named
from dcbmr.contract.features import FeatureConfig, FeatureExtractor, FeatureSpec
from dcbmr.contract.params import share_out
from dcbmr.contract.provenance import how_to_get, warn_of_another_version
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features.codebook import Codebook
from dcbmr.features.song_streams import Maker, SongStreams, units_of
from dcbmr.features.words import WORDS, Words

TIMEOUT_S = 600.0  # that a plugin may take for a song: much more than any needs for a track of usual length


class Recipe:
    """The extractors of some kinds of feature, which make all of them of one decoding of a file.

    Kinds of the same rate share the resampling, and those of the same ``joint`` what they can.

    Parameters
    ----------
    kinds : iterable of str
        What is wanted.
    params : mapping, optional
        Parameters of the extractors: "NAME" of each that has it, "KIND.NAME" of one.
    codebook : Codebook, optional
        Whose codewords the kind "bow" counts. MFCCs, and what may share their spectrum, are then made as its
        frames were.

    Attributes
    ----------
    kinds : tuple of str
    configs : tuple of FeatureConfig
        What is known of what comes out, in the order of ``kinds``.
    rates : tuple of float
        The sampling rates that are wanted, Hz.

    Raises
    ------
    InputError
        A kind or a parameter that nobody knows (those there are are listed), or one out of its range.
    DcbmrError
        An extractor is not what its plugin says.
    """

    def __init__(
        self,
        kinds: Iterable[str],
        *,
        params: Mapping[str, Any] | None = None,
        codebook: Codebook | None = None,
    ) -> None:
        wanted = tuple(dict.fromkeys(kinds))
        if not wanted:
            raise InputError("kinds: wanted at least one")
        if (WORDS.name in wanted) != (codebook is not None):
            raise InputError("kind 'bow' and a codebook go together: give both or neither")
        factories = factories_of(wanted)
        given = [(name, _plain(name, value)) for name, value in (params or {}).items()]
        shared: dict[str, dict[str, Any]] = share_out(given, factories)
        if codebook is not None:
            _learned_settings(codebook, shared, factories)
        self._prepare(wanted, shared, codebook)

    @classmethod
    def again(cls, configs: Iterable[FeatureConfig], *, codebook: Codebook | None = None) -> Self:
        """Return what makes features as those were made that a store or a model knows.

        Raises
        ------
        InputError
            A kind is offered by nobody here, and it is said what to install; or it is made otherwise by now.
        """
        wanted = {config.kind: config for config in configs}
        for config in wanted.values():
            _check_installed(config)
            if config.kind != WORDS.name:
                what = f"the kind of feature {config.kind!r}"
                warn_of_another_version(registry.find_extractor(config.kind), config.package, what)
        known = wanted | {
            name: source for config in wanted.values() for name, source in config.made_of.items()
        }
        recipe = cls.__new__(cls)
        recipe._prepare(tuple(wanted), {kind: _params_of(config) for kind, config in known.items()}, codebook)
        for config in recipe.configs:
            check_settings(
                known[config.kind].made_alike(),
                config.made_alike(),
                f"features of kind {config.kind!r} would be made here",
                remedy="wanted are those of the model: give its extractor what it had then",
            )
        return recipe

    def _prepare(
        self, kinds: tuple[str, ...], params: Mapping[str, Mapping[str, Any]], codebook: Codebook | None
    ) -> None:
        makers: dict[str, Maker] = {}
        for kind in with_sources(kinds):
            sources = {source: makers[source].config for source in registry.find_kind(kind).made_of}
            if kind == WORDS.name and codebook is not None:
                made = _maker(WORDS, Words(codebook, sources=sources), None, sources)
            else:
                made = maker_of(kind, sources, **params.get(kind, {}))
            makers[kind] = made
        self.kinds = kinds
        self.configs = tuple(makers[kind].config for kind in kinds)
        self._units = units_of(makers.values())
        self._made = {kind: maker.config for kind, maker in makers.items()}
        self.rates = tuple(dict.fromkeys(unit.sr for unit in self._units if unit.sr is not None))

    def begin(
        self, path: str, *, cancelled: Event | None = None, timeout_s: float = TIMEOUT_S
    ) -> SongStreams:
        """Return what takes the samples of one song, and gives the rows of each kind.

        Parameters
        ----------
        path : str
            The song's file, for the messages.
        cancelled : Event, optional
            Ends the waiting for a plugin.
        timeout_s : float
            What a plugin may take for a kind of the song.
        """
        streams = [unit.begin(path, cancelled or Event(), timeout_s) for unit in self._units]
        return SongStreams(self.kinds, list(zip(self._units, streams, strict=True)), self._made)


def with_sources(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return kinds and all that they are made of, which stand before them.

    Raises
    ------
    InputError
        A kind is one that nobody makes of audio; those that are installed are listed.
    """
    makes = (*registry.extractors(), WORDS.name)
    found: dict[str, None] = {}
    for kind in kinds:
        if kind not in makes:
            raise InputError(f"unknown kind of feature {kind!r}; installed: {', '.join(makes)}")
        found |= dict.fromkeys(registry.find_kind(kind).made_of)
        found[kind] = None
    return tuple(found)


def factories_of(kinds: Iterable[str]) -> dict[str, Any]:
    """Return the factories of the extractors of kinds, and of what these are made of."""
    specs = registry.extractors()
    return {kind: registry.resolve(specs[kind]) for kind in with_sources(kinds) if kind in specs}


def maker_of(kind: str, sources: Mapping[str, FeatureConfig], **params: Any) -> Maker:
    """Return what makes a kind that a plugin offers, of ``sources`` where it is made of others.

    Raises
    ------
    InputError
        A kind or a parameter that nobody knows, or one out of its range.
    DcbmrError
        The extractor is not what its plugin says.
    """
    extractor = registry.get_extractor(kind, sources=sources, **params)
    return _maker(registry.find_extractor(kind), extractor, params, sources)


def _maker(
    spec: FeatureSpec,
    extractor: FeatureExtractor,
    params: Mapping[str, Any] | None,
    sources: Mapping[str, FeatureConfig],
) -> Maker:
    """Check what an extractor says of itself, and write it down."""
    with calling(spec, "n_dims, config or sr"):
        n_dims, settings = extractor.n_dims, extractor.config
        sr = 0.0 if spec.made_of else extractor.sr
    fault = None
    if isinstance(n_dims, bool) or not isinstance(n_dims, int) or n_dims < 1:
        fault = f"n_dims is {n_dims!r}; wanted a whole number from 1 on"
    if not spec.made_of and not (isinstance(sr, int | float) and 0 < sr < np.inf):
        fault = f"sr is {sr!r}; wanted a positive number of Hz"
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        fault = f"config is not for JSON: {error}"
    if fault:
        raise DcbmrError(f"{named(spec)} breaks a rule: {fault}; tell its makers")
    config = FeatureConfig(
        kind=spec.name,
        shape=spec.shape,
        dtype=spec.dtype,
        n_dims=n_dims,
        settings=dict(settings),
        params=None if params is None else {**_defaults(spec), **params},
        made_of=sources,
        package=spec.package,
        licence=spec.licence,
        is_embedding=spec.is_embedding,
        contract=CONTRACT_VERSION if spec.package else None,
    )
    return Maker(spec, extractor, config)


def _defaults(spec: FeatureSpec) -> dict[str, Any]:
    """Return the parameters that an extractor has unless others are given."""
    declared = registry.parameters(registry.resolve(spec)).items()
    return {name: p.default for name, p in declared if p.default is not p.empty and name != registry.SOURCES}


def _plain(name: str, value: Any) -> Any:
    """Return a parameter as JSON can keep it."""
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise InputError(f"parameter {name}: wanted a number, a text, true or false; got {value!r}") from None
    return value


def _params_of(config: FeatureConfig) -> dict[str, Any]:
    """Return the parameters that make an extractor again; of one made before they were kept, its settings."""
    if config.kind == WORDS.name:
        return {}
    declared = registry.parameters(registry.resolve(registry.find_extractor(config.kind)))
    known = config.settings if config.params is None else config.params
    values = {name: known[name] for name in declared if name in known}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _learned_settings(
    codebook: Codebook, shared: dict[str, dict[str, Any]], factories: Mapping[str, Any]
) -> None:
    """Put a codebook's settings into the parameters of its frames' extractor, and of what shares its work.

    Raises
    ------
    InputError
        Others were given.
    """
    specs = registry.extractors()
    learned = codebook.frame_config_
    for kind, params in shared.items():
        if specs[kind].joint == specs[WORDS.made_of[0]].joint:
            declared = registry.parameters(factories[kind])
            wanted = {name: value for name, value in params.items() if name in learned}
            check_settings(
                wanted,
                {name: learned[name] for name in wanted},
                "the codebook was learned from frames",
                remedy="leave these settings out, or learn another codebook",
            )
            params |= {name: value for name, value in learned.items() if name in declared}


def _check_installed(config: FeatureConfig) -> None:
    """Raise InputError where nobody here makes a kind of audio, with what to do."""
    if config.kind == WORDS.name or config.kind in registry.extractors():
        return
    if not config.package:
        raise InputError(
            f"features of kind {config.kind!r} were brought, not made of audio: bring those of the new songs"
        )
    raise InputError(
        f"features of kind {config.kind!r} were made by {config.package}, {how_to_get(config.package)}; "
        f"installed: {', '.join(registry.extractors())}"
    )
