"""Goes the way of a board to its end: a Python with numpy and onnxruntime alone measures a space, then the winners of a search.

    python -m venv board && board/bin/pip install numpy 'onnxruntime<1.31'    # another version than hwnas's own
    python scripts/bench/board.py --python board/bin/python --out board-run

These are the commands of docs/boards.md, on the space of scripts/examples/own_network.py and scikit-learn's digits. The device is
a process of that Python, which has neither torch nor hwnas, or the script stops. It prints the seconds of every step, then, of
each network what was predicted from the first trip and what the second one measured.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
SPACE: Final = ("--space", f"{ROOT / 'scripts/examples/own_network.py'}:build", "--space-option", "resolution=16")
QUICK: Final = ("--epochs", "1", "--evaluations", "20", "--final-epochs", "1", "--final-networks", "4")
VERSIONS: Final = """
import importlib.util, json, numpy, onnxruntime, sys
print(json.dumps({"python": sys.version.split()[0], "numpy": numpy.__version__, "onnxruntime": onnxruntime.__version__,
"others": [name for name in ("torch", "hwnas", "onnx", "scipy") if importlib.util.find_spec(name)]}))
"""


def run(folder: Path, *words: str, python: str = sys.executable) -> str:
    """Returns what a command prints on stdout; prints its seconds. Raises CalledProcessError where it fails."""
    began = time.monotonic()
    environment = {**os.environ, "HWNAS_DEVICES": str(folder / "devices"), "PYTHONPATH": str(ROOT)}
    if python != sys.executable:
        del environment["PYTHONPATH"]
    done = subprocess.run([python, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shown = "versions" if words[0] == "-c" else " ".join(words).removeprefix("-m ").replace(f"{ROOT}/", "")
    print(f"{time.monotonic() - began:7.1f} s  {shown}", flush=True)
    return done.stdout


def main() -> None:
    """Prints the seconds of every step, then a row per winner."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="the Python of the board")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args()
    folder, board = options.out.resolve(), str(options.python.absolute())
    (folder / "devices").mkdir(parents=True)
    versions: dict[str, Any] = json.loads(run(folder, "-c", VERSIONS, python=board))
    if versions.pop("others"):
        raise SystemExit(
            f"{options.python}: has torch, hwnas, onnx or scipy; make one with numpy and onnxruntime alone"
        )
    print(versions)
    hwnas = ("-m", "hwnas")
    run(folder, *hwnas, "bundle", *SPACE, "--networks", "20", "--out", "bundle.zip")
    run(folder, "bundle.zip", "--out", "board.jsonl", python=board)
    run(folder, *hwnas, "device", "add", "pi5", "board.jsonl", "--folder", "devices", "--allow-unconverged")
    run(
        folder,
        *hwnas,
        "search",
        "--device",
        "pi5",
        *SPACE,
        *QUICK,
        "--latency-budget",
        "70%",
        "--out",
        "runs/pi5",
        "--json",
    )
    run(folder, *hwnas, "bundle", "runs/pi5", "--out", "winners.zip")
    run(folder, "winners.zip", "--out", "winners.jsonl", python=board)
    verified = json.loads(run(folder, *hwnas, "verify", "runs/pi5", "--measured", "winners.jsonl", "--json"))[
        "verified"
    ]
    print("network|predicted ms|measured ms|error|within budget")
    for row in verified:
        print(
            f"{row['arch_id']}|{row['predicted_ms']:.4f}|{row['measured_ms']:.4f}|{row['error']:+.1%}|{row['within_budget']}"
        )


if __name__ == "__main__":
    main()
