"""Plugins that break one rule each: a whole one, with a piece of its text replaced."""

from unittest import SkipTest


def changed(source, changes):
    for old, new in changes:
        assert source.count(old) == 1, f"{source.count(old)} times: {old}"
        source = source.replace(old, new)
    return source


def failures(checks):
    """Run checks; return what each that failed said, its note too, and what each that was skipped said."""
    failed, skipped = {}, {}
    for check in checks:
        try:
            check()
        except SkipTest as reason:
            skipped[str(check)] = str(reason)
        except Exception as error:
            failed[str(check)] = "\n".join([f"{type(error).__name__}: {error}", *error.__notes__])
    return failed, skipped
