"""A request whose space has as many outputs as its data, unless it says otherwise."""

from dataclasses import replace

from hwnas.data.outputs import outputs_of
from hwnas.pipeline.request import CLASSES, SearchRequest
from hwnas.spaces.loading import options_of_space


def fitted_to_data(request: SearchRequest) -> SearchRequest:
    """Returns the request with the space option `classes` of its data, where the space has such an option that is not given.

    Raises DataError, UnknownNameError, SpaceError.
    """
    space = request.space
    if space.model is not None or CLASSES in space.space_options:
        return request
    options = options_of_space(space.space)
    count = outputs_of(request.data.data) if CLASSES in options else None
    if count is None or count == options[CLASSES]:
        return request
    return replace(request, space=replace(space, space_options={**space.space_options, CLASSES: count}))
