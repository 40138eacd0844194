"""Nothing between: the limit that the load generator and the sink have themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from contrib.bench.row import Place, Running


@contextmanager
def direct(place: Place) -> Iterator[Running]:
    """The sink itself."""
    yield Running(place.sink)
