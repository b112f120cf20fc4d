"""The one message about output shapes that do not fit a task."""

from hwnas.core.operator import Shape
from hwnas.errors import SpaceError


def require_shape(task: str, fits: bool, output_shape: Shape, wanted: str) -> None:
    """Raises SpaceError unless `fits`; `wanted` is the shape that the task and the data ask for, in words."""
    if not fits:
        raise SpaceError(
            f"the task {task} with this data needs networks with outputs {wanted}, and the space's outputs have shape "
            f"{tuple(output_shape)}; give a --space with such outputs, other --data, or another --task"
        )
