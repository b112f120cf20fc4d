"""The result of a search: its front, and what is made of it in Python; the same again from the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hwnas.core.arch import Arch
from hwnas.core.html import html_table
from hwnas.core.wording import python_words
from hwnas.errors import HwnasError
from hwnas.report.front_table import front_table
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, named, read_front
from hwnas.runs.objectives import RunGoal, read_goal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hwnas.pipeline.trained import TrainedNetwork


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchResult:
    """The run folder, the front (fastest first), and the largest budget of the first device; None where there was none.

    `warnings` say in words why the front may be worth nothing.
    """

    run: RunFolder
    front: tuple[FrontRow, ...]
    latency_budget_ms: float | None
    warnings: tuple[str, ...] = ()

    @property
    def goal(self) -> RunGoal:
        """The objectives and metrics of the run."""
        return read_goal(self.run)

    @property
    def fastest(self) -> FrontRow:
        """The network of the front with the lowest latency."""
        return self._named("fastest")

    @property
    def knee(self) -> FrontRow:
        """The network of the front that is farthest from the line between its ends."""
        return self._named("knee")

    def _named(self, name: str) -> FrontRow:
        return named(self.front, self.goal.objectives)[name]

    def best(self, *, latency_ms: float | None = None, **limits: Any) -> FrontRow:
        """Returns the best evaluated network by the first objective, within a latency budget on the run's first device.

        `limits` are those of a search: `max_params=100_000`, `limit="flops<=2e6"`, `budget_on="p90"`. Without a budget it is
        the best of the front. Networks that are not on the front have the weights of the search. Raises BudgetError, with the
        least there is, where no evaluated network is within the limits.
        """
        from hwnas.pipeline.best import best_of_run

        if latency_ms is None and not limits:
            return self._named("best")
        with python_words():
            budget = {"latency_budget": None if latency_ms is None else f"{latency_ms}ms"}
            (found,), _ = best_of_run(self.run.path, {**limits, **budget})
        return found.row

    def frame(self) -> Any:
        """Returns the front as a pandas DataFrame: a row per network, with all columns of front.csv.

        Raises HwnasError where pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise HwnasError("a frame needs pandas; `pip install pandas`, or read front.csv of the run") from None
        return pd.DataFrame([row.cells for row in self.front])

    def plot(
        self,
        axes: tuple[str, str] | None = None,
        *,
        beside: "SearchResult | Sequence[SearchResult]" = (),
        networks: str | Sequence[str] = (),
    ) -> "Figure":
        """Returns a matplotlib figure of the front; `axes` name the metrics or costs of x and y, else all pairs of objectives.

        With results `beside` it, all fronts are in one picture. With `networks`, each `fastest`, `knee`, `best` or an id, the
        figure shows these as blocks with their predicted milliseconds. Raises UnknownNameError for unknown names, HwnasError for
        both at once.
        """
        from hwnas.report.front_figure import draw_front
        from hwnas.report.fronts_figure import draw_fronts
        from hwnas.report.network_figure import draw_networks
        from hwnas.report.plots import front_plot, fronts_plot, networks_plot

        others = (beside,) if isinstance(beside, SearchResult) else tuple(beside)
        if networks:
            if axes is not None or others:
                raise HwnasError("networks are drawn alone; leave out axes and beside")
            return draw_networks(networks_plot(self.run, [networks] if isinstance(networks, str) else networks))
        if others:
            return draw_fronts(fronts_plot([self.run, *(other.run for other in others)], axes))
        return draw_front(front_plot(self.run, axes))

    def model(self, arch: "str | FrontRow | Arch | Mapping[str, Any]" = "knee") -> "TrainedNetwork":
        """Returns an evaluated network as a torch module, with its final weights, in eval mode on the CPU.

        `arch` is `fastest`, `knee`, `best`, an id, a row of the front, or an architecture. Batch-norm statistics are
        recalibrated over training examples, as in the network's ONNX file, so the run's data must still be there. Raises RunError
        for a network that the run did not evaluate.
        """
        from hwnas.pipeline.trained import trained_network

        with python_words():
            return trained_network(self.run, self._id_of(arch))

    def _id_of(self, arch: "str | FrontRow | Arch | Mapping[str, Any]") -> str:
        if isinstance(arch, FrontRow):
            return arch.arch_id
        if isinstance(arch, Mapping):
            return Arch(arch).id
        row = named(self.front, self.goal.objectives).get(arch)
        return arch if row is None else row.arch_id

    def __repr__(self) -> str:
        budget = "" if self.latency_budget_ms is None else f", budget {self.latency_budget_ms:.4g} ms"
        return f"<SearchResult {self.run.path}: {len(self.front)} networks{budget}>"

    def _repr_html_(self) -> str:
        """Returns the front as a table, for notebooks."""
        table = front_table(self.front, self.goal)
        heads = [str(column.header) for column in table.columns]
        rows = zip(*(column.cells for column in table.columns), strict=True)
        notes = "".join(f"<p><b>{escape(warning)}</b></p>" for warning in self.warnings)
        return html_table(repr(self), heads, rows) + notes


def load(run: str | Path) -> SearchResult:
    """Returns the result of a finished search from its folder. Raises RunError where there is none, or no front yet."""
    folder = RunFolder(Path(run))
    with python_words():
        facts = folder.read()
        return SearchResult(
            run=folder,
            front=tuple(read_front(folder.front)),
            latency_budget_ms=facts.get("latency_budget_ms"),
            warnings=tuple(facts.get("warnings", ())),
        )
