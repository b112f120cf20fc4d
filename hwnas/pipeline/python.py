"""The search as Python calls it: its messages name arguments, not flags."""

from functools import wraps
from typing import Any

from hwnas.core.wording import python_words
from hwnas.pipeline.result import SearchResult
from hwnas.pipeline.search import search as flagged_search


@wraps(flagged_search)
def search(*arguments: Any, **options: Any) -> SearchResult:
    with python_words():
        return flagged_search(*arguments, **options)
