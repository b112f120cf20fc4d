"""The importance of choices as a table on the terminal, by rich."""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from hwnas.report.importance import Effect, Importance


def importance_table(importance: "Importance") -> Table:
    """Returns a table of every option's effects, choices with the widest range of effects on the metric first."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("choice", no_wrap=True)
    latencies = [*(importance.effects[0].latencies_ms if importance.effects else ())]
    for header in ("option", importance.metric, "±", "", *(f"{name} ms" for name in latencies)):
        table.add_column(header, justify="right", no_wrap=True)
    for choice, effects in importance.by_choice.items():
        for number, effect in enumerate(effects):
            times = [f"{value:+.4g}" for value in effect.latencies_ms.values()]
            table.add_row("" if number else choice, *_cells(effect), *times, end_section=number + 1 == len(effects))
    return table


def _cells(effect: "Effect") -> tuple[str, str, str, str]:
    unsure = "?" if abs(effect.metric) < 2 * effect.deviation else ""
    return str(effect.option), f"{effect.metric:+.4g}", f"{effect.deviation:.2g}", unsure
