from dcbmr.base.documented import meanings


class Settings:
    """Some settings.

    Parameters
    ----------
    first, second : float
        What both are,
        in two lines.
    third : {"a", "b"}
        Another: one.

    Attributes
    ----------
    found_ : int
    """


def test_the_meaning_of_each_parameter_is_one_line():
    both = "What both are, in two lines."
    assert meanings(Settings) == {"first": both, "second": both, "third": "Another: one.", "found_": ""}


def test_what_has_no_docstring_has_no_meanings():
    assert meanings(type("Bare", (), {})) == {}
