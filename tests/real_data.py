"""Where the real data lies, and the mark of a test that needs it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
LASTFM = SHARED / "hetrec2011-lastfm-2k"
TASTE_PROFILE = SHARED / "tasteprofile-sample"
RECORDINGS = SHARED / "audio"

needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the real data of {SHARED}")
