"""The soak and the fault matrix run, in small."""

from __future__ import annotations

import pytest

from evaluate import soak


@pytest.mark.slow
def test_a_small_soak_is_sound(capsys):
    assert soak.main(["--seconds", "8", "--users", "40"]) == 0
    assert "sound" in capsys.readouterr().out
