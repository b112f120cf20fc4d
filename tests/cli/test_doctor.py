"""The examination of an installation."""

import json

import onnxruntime
import pytest
from click.testing import CliRunner

from hwnas.cli import cli
from hwnas.pipeline import doctor
from hwnas.predict.shipped import FOLDERS
from hwnas.profiler.cores import usable_cores


def test_versions_devices_cores_and_steadiness_are_told_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDERS, "nowhere")
    outcome = CliRunner().invoke(cli, ["doctor", "--json", "--seconds", "0"], catch_exceptions=False)
    found = {name: {row["what"]: row for row in rows} for name, rows in json.loads(outcome.stdout).items()}
    assert found["installed"]["onnxruntime"]["found"] == onnxruntime.__version__
    assert found["devices"]["cpu by onnxruntime"]["found"].startswith("fp32, int8; ")
    assert f"at most {usable_cores()}" in found["machine"]["cores"]["found"]
    assert found["machine"]["HWNAS_DEVICES"]["advice"] == "correct it, or leave it out"
    assert "3 sessions are up to" in found["machine"]["steadiness"]["found"]
    for rows in found.values():
        assert all(row["fine"] or row["advice"] for row in rows.values())


def test_what_is_missing_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED", ("no-such-package",))
    monkeypatch.setattr(doctor, "usable_cores", lambda: 0)
    missing = next(finding for finding in doctor._installed() if not finding.fine)
    assert (missing.found, missing.advice) == ("not installed", "pip install -c constraints.txt no-such-package")
    assert "taskset" in doctor._allowed_cores().advice
