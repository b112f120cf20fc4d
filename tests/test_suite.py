"""Laws of the test suite itself: whoever marks a test slow says why, and slow tests begin first."""

import shutil
import subprocess
import sys
from pathlib import Path

QUICK = "def test_quick() -> None:\n    assert True\n"
SLOW = "import pytest\n\n@pytest.mark.slow{reason}\ndef test_slow() -> None:\n    assert True\n"


def collect(folder: Path, reason: str) -> subprocess.CompletedProcess[str]:
    """Collects two files, one of them with a slow test, under this suite's configuration."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_first.py").write_text(QUICK)
    (folder / "test_second.py").write_text(SLOW.format(reason=reason))
    options = ["-p", "no:cacheprovider", "-q", "--collect-only", "-n", "0"]
    command = [sys.executable, "-m", "pytest", "-c", str(Path(__file__).parents[1] / "pyproject.toml"), *options, "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_slow_test_without_a_reason_is_an_error(tmp_path: Path) -> None:
    collected = collect(tmp_path, "")
    assert collected.returncode != 0
    assert 'test_second.py::test_slow: say why it is slow: @pytest.mark.slow(reason="...")' in collected.stderr


def test_slow_tests_begin_first(tmp_path: Path) -> None:
    collected = collect(tmp_path, '(reason="trains")')
    names = [line.rpartition("::")[2] for line in collected.stdout.splitlines() if "::" in line]
    assert (collected.returncode, names) == (0, ["test_slow", "test_quick"])
