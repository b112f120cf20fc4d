"""Trackers: TensorBoard, MLflow, or a user's own record the numbers of a run while it goes on."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, final

from hwnas.core.files import replace_file
from hwnas.core.references import resolve
from hwnas.core.reporter import Reporter
from hwnas.errors import HwnasError
from hwnas.pipeline.request import SearchRequest
from hwnas.runs.folder import RunFolder

Item = TypeVar("Item")
# Characters that MLflow refuses in a metric's name.
_FORBIDDEN: Final = re.compile(r"[^\w\-. :/]")


class Tracker(Protocol):
    """A place that keeps the numbers of one run. A resumed run opens it again under the same folder."""

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the numbers of one step by name, such as `training/loss`."""

    def close(self) -> None:
        """Writes what is not written yet."""


# A tracker is made from the run's folder, its title and its options by name.
MakeTracker = Callable[[Path, str, Mapping[str, Any]], Tracker]


@final
class TensorBoard:
    """Event files in `tensorboard/` of the run: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path, title: str, options: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text(title, f"```json\n{json.dumps(options, indent=1, default=str)}\n```")

    def record(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


@final
class Mlflow:
    """A run of MLflow's experiment `hwnas`, at the server or folder that MLFLOW_TRACKING_URI names. MLFLOW_EXPERIMENT_NAME
    names another experiment. `mlflow.json` of the run keeps MLflow's id, by which a resumed run goes on.
    """

    def __init__(self, folder: Path, title: str, options: Mapping[str, Any]) -> None:
        import mlflow

        self._client, file = mlflow.MlflowClient(), folder / "mlflow.json"
        if file.exists():
            self._id = json.loads(file.read_text())["run_id"]
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(_experiment(self._client), run_name=title).info.run_id
        replace_file(file, json.dumps({"run_id": self._id}).encode())
        for name, value in options.items():
            if value not in (None, (), [], {}):
                self._client.log_param(self._id, name, value)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, _FORBIDDEN.sub(" ", name), value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._id, "FAILED" if sys.exc_info()[0] else "FINISHED")


def _experiment(client: Any) -> str:
    """Returns the id of the experiment that the environment names, or of `hwnas`; makes it where it is not there."""
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME

    name = MLFLOW_EXPERIMENT_NAME.get() or "hwnas"
    known = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if known is None else known.experiment_id)


TRACKERS: Final[Mapping[str, MakeTracker]] = {"tensorboard": TensorBoard, "mlflow": Mlflow}


@final
class TrackedReporter:
    """A reporter that hands numbers to trackers as well.

    A tracker that fails, such as one whose server cannot be reached, is left out from then on, with a note.
    """

    def __init__(self, reporter: Reporter, makers: Mapping[str, Callable[[], Tracker]]) -> None:
        self._reporter, self._trackers = reporter, dict[str, Tracker]()
        for name, make in makers.items():
            with self._left_out(name):
                self._trackers[name] = make()

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        return self._reporter.track(items, what)

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        for name, tracker in list(self._trackers.items()):
            with self._left_out(name):
                tracker.record(step, values)

    def close(self) -> None:
        for name, tracker in list(self._trackers.items()):
            with self._left_out(name):
                tracker.close()

    @contextmanager
    def _left_out(self, name: str) -> Iterator[None]:
        """Leaves a tracker out where the code in the context fails, whatever the tracker's library raises."""
        try:
            yield
        except Exception as error:
            self._trackers.pop(name, None)
            self.note(f"--track {name} failed, and the run goes on without it: {error}")


def check_trackers(request: SearchRequest) -> None:
    """Raises HwnasError, UnknownNameError for a tracker that is not there, or whose library is not installed."""
    for name in request.tracking.track:
        resolve("tracker", name, TRACKERS, HwnasError)
        if name in TRACKERS and find_spec(name) is None:
            raise HwnasError(f"--track {name} needs the package {name}; install it: pip install 'hwnas[{name}]'")


@contextmanager
def tracked(request: SearchRequest, run: RunFolder, reporter: Reporter) -> Iterator[Reporter]:
    """Yields the reporter, which hands numbers to the request's trackers while the context lasts."""
    names = request.tracking.track
    if not names:
        yield reporter
        return
    known = (run.path, request.title, request.options())
    makers = {name: partial(resolve("tracker", name, TRACKERS, HwnasError), *known) for name in names}
    tracking = TrackedReporter(reporter, makers)
    try:
        yield tracking
    finally:
        tracking.close()
