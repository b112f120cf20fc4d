"""Checks the claims a finished run makes, from its files alone, and prints what it found.

    python scripts/bench/check_run.py runs/demo

Every ONNX file is loaded in plain ONNX Runtime and compared with the network extracted from the run's supernet; its
accuracy on the test split is computed anew; the front is checked for domination and against the budget.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from hwnas.pipeline.request import load_for, reopen
from hwnas.runs.front import read_front
from hwnas.supernet.network import Supernet
from hwnas.train.loop import SubnetJudge, load_supernet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run, config, space = reopen(parser.parse_args().run, {})
    rows = read_front(run.front)
    data = load_for(space, config, run)
    supernet = Supernet(space)
    load_supernet(supernet, run.supernet)
    judge = SubnetJudge(supernet, data)
    x = data.inputs(data.test.raw)
    differences = list[float]()
    for row in rows:
        session = ort.InferenceSession((run.path / row.onnx).read_bytes(), providers=["CPUExecutionProvider"])
        filled = np.resize(x.numpy(), (-(-len(x) // config.batch), config.batch, *x.shape[1:]))
        logits = np.concatenate([session.run(None, {"input": batch})[0] for batch in filled])[: len(x)]
        with torch.inference_mode():
            expected = judge.extract(space.arch(json.loads(row.arch)))(x).numpy()
        differences.append(float(np.abs(logits - expected).max()))
        accuracy = float((logits.argmax(-1) == data.test.labels).mean())
        assert abs(accuracy - row.accuracy_test) < 1e-6, (row.arch_id, accuracy, row.accuracy_test)
    timed = all(row.measured_ms is not None for row in rows)
    points = np.array([(row.loss_val, row.predicted_ms, row.latency_ms) for row in rows])
    for latency in (1, 2):
        for point in points:
            beaten = (points[:, [0, latency]] <= point[[0, latency]]).all(1) & (points != point).any(1)
            assert not beaten.any(), f"{point} is dominated"
    budget_ms = run.read()["latency_budget_ms"]
    column = {"p10": "measured_ms", "median": "measured_median_ms", "p90": "measured_p90_ms"}[config.budget_on]
    assert all(row.within_budget for row in rows)
    assert not timed or all(getattr(row, column) <= budget_ms for row in rows)
    assert max(differences) <= 1e-4
    print(f"{len(rows)} models, none dominated, all within {budget_ms:.4f} ms ({config.budget_on})")
    print(f"ONNX against torch: largest difference {max(differences):.1e}; test accuracies equal the table's")
    if not timed:
        print("not timed: this is a run for another device")
        return
    errors = np.abs([row.error for row in rows])
    inside = sum(row.in_interval for row in rows)
    print(f"predicted against measured: median {100 * np.median(errors):.2f} %, worst {100 * errors.max():.2f} %")
    print(f"measured inside the predicted 90 % interval: {inside} of {len(rows)}")


if __name__ == "__main__":
    main()
