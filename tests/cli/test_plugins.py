"""``dcbmr plugins``: what is offered, what it takes and how its parameters are set."""

import json

import pytest

import dcbmr
from dcbmr.cli import main


def said(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["plugins", *words])
    assert not ended.value.code
    return capsys.readouterr().out


def test_the_list_says_kinds_capabilities_and_contracts(capsys):
    rows = {(row["offers"], row["name"]): row for row in json.loads(said(capsys, "--json"))}
    assert rows["regressor", "cnn"]["features"] == "mel, mfcc"
    assert rows["regressor", "cnn"]["can"] == "explain, warm start, many workers"
    assert rows["regressor", "linear"]["features"] == "bow_pca, patterns, stats, bow"
    assert rows["regressor", "mlr"]["can"] == "users of its own"
    assert rows["loss", "softmax"]["features"] == ""
    assert {row["contract"] for row in rows.values()} == {2}
    assert f"dcbmr {dcbmr.__version__}, contract 2" in said(capsys)


def test_a_regressor_says_what_it_takes(capsys):
    told = said(capsys, "mlp")
    for line in (
        "features of shape 'vectors': bow_pca, or patterns, stats, bow",
        "losses: mse, softmax, wpe",
        "devices: auto, cpu, cuda",
        f"from dcbmr {dcbmr.__version__}, contract 2",
    ):
        assert line in told
    rows = {row["parameter"]: row for row in json.loads(said(capsys, "mlp", "--json"))}
    assert rows["loss_params"]["set by"] == "--set loss.NAME=..."
    assert rows["random_state"]["set by"] == "--seed"
    assert rows["hidden"] == {
        "parameter": "hidden",
        "type": "a whole number",
        "default": "1000",
        "set by": "--set hidden=...",
    }


def test_a_loss_says_its_parameters_and_who_takes_it(capsys):
    assert "regressors: cnn, mlp" in said(capsys, "softmax")
    rows = {row["parameter"]: row for row in json.loads(said(capsys, "softmax", "--json"))}
    assert rows["temperature"]["set by"] == "--set loss.temperature=..."
    assert rows["random_state"]["set by"] == "--set loss.random_state=..."


BROKEN = "raise OSError('libfoo.so is missing')"
LICENSED = """
    from dcbmr import FeatureSpec, hookimpl

    DCBMR_CONTRACT = 2

    @hookimpl
    def dcbmr_features():
        return [FeatureSpec("loudness", "far:Away", "mean power", licence="CC BY-NC 4.0")]
"""


def test_what_cannot_be_used_is_listed_with_why(install, capsys, recwarn):
    install("broken-plugin", BROKEN)
    install("old-plugin", "DCBMR_CONTRACT = 1")
    install("loud-plugin", LICENSED)
    told = said(capsys)
    assert "not used: plugin 'broken_plugin' of broken-plugin 1.0 cannot be imported: OSError: libfoo" in told
    assert "not used: plugin 'old_plugin' of old-plugin 1.0 was made for version 1 of the contract" in told
    assert "CC BY-NC 4.0" in told
    rows = {row["name"]: row for row in json.loads(said(capsys, "--json"))}
    assert (rows["broken_plugin"]["offers"], rows["broken_plugin"]["contract"]) == ("", None)
    assert (rows["old_plugin"]["offers"], rows["old_plugin"]["contract"]) == ("", 1)
    assert rows["loudness"]["licence"] == "CC BY-NC 4.0"
    assert len(recwarn) == 0


@pytest.mark.filterwarnings("default")
def test_debug_shows_where_an_import_failed(install, capsys):
    install("broken-plugin", BROKEN)
    with pytest.raises(SystemExit):
        main(["--debug", "plugins"])
    told = capsys.readouterr().err
    assert "broken_plugin.py" in told
    assert told.rstrip().endswith("turn it off (DCBMR_DISABLE_PLUGINS=broken_plugin)")


def test_a_name_that_nobody_offers(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["plugins", "forest"])
    assert ended.value.code == 2
    assert "unknown offer 'forest'; installed: cnn, " in capsys.readouterr().err
