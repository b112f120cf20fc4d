"""The documentation is built as a site without a warning, and its pages load nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.cli import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.mark.slow(reason="builds the site")
def test_the_site_is_built_without_a_warning_and_loads_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    pages = {path.stem: path.read_text() for path in tmp_path.glob("*.html")}
    assert set(pages) >= documents | {"index", "architecture", "contributing", "security", "changelog"}
    assert all(f"hwnas {name}" in pages["command-line"] for name in COMMANDS)
    assert "hwnas device add" in pages["command-line"]
    assert "Returns the predicted p10 latency" in pages["interface"] and "hwnas.LatencyPredictor" in pages["interface"]
    assert not any("mermaid" in page for page in pages.values())
    for name, page in pages.items():
        loaded = re.findall(r'<(?:script|img)[^>]* src="(http[^"]+)', page)
        loaded += re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="(http[^"]+)', page)
        assert not loaded, f"{name} loads {loaded}"
