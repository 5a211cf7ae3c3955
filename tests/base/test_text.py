"""Text of others, made harmless for terminals and tables."""

import json

import pytest

from dcbmr.base.text import escaped, harmless, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Sigur Rós - Ágætis byrjun", None),
        ("東京は夜の七時", None),
        ("شارع الحمرا", None),
        ("👩‍👩‍👧 \N{LEFT-TO-RIGHT MARK}", None),
        ("two\nlines\tand a tab", None),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("over\rwritten\b\x7f", "over␍written␈␡"),
        ("\x9b2J", "\ufffd2J"),
        ("\u202egnp.exe\u2066 \u2028", "\ufffdgnp.exe\ufffd \ufffd"),
        ("\0", "␀"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    assert harmless(text) == (text if shown is None else shown)
    assert harmless(harmless(text)) == harmless(text)


def test_json_stays_what_it_means():
    value = {"title": "\x1b[2J \x9b2J \u202e \x7f ö \u2028 'quoted\" \\"}
    text = escaped(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not set(text) & set("\x1b\x9b\u202e\x7f\u2028")
    assert "ö" in text


def test_a_cell_has_one_line():
    assert one_line("a\tb\r\nc\0d") == "a b  c d"
