"""Patience with a store: a call that takes long is told of, one that a lock refuses is made again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

from mlflow.tracking import MlflowClient

from lever_ray.errors import StorageError, is_locked, is_unanswered, storage_error

T = TypeVar("T")
Tell = Callable[[str], None]
"""Shows a line to a person."""

FIRST_TOLD, TOLD_AGAIN = 5.0, 10.0
"""Seconds without an answer after which that is told, and between that and every further time."""
GIVEN_UP = 90.0
"""Seconds after which a locked store is not asked again; the attempt under way is waited for."""
_PAUSE = 0.2
"""Seconds between attempts, where a store refuses without waiting itself."""


class Patience:
    """Makes calls of one store.

    Args:
        place: of the store, for messages.
        tell: shows a line.
    """

    def __init__(self, place: str, tell: Tell | None = None) -> None:
        self._place, self._tell = place, tell
        self.spent = False
        """Whether the store was given up: it is not worth asking anything that can be left out."""

    def call(self, attempt: Callable[[], T]) -> T:
        """What an attempt returns, once the store takes it.

        After a call that was given up, further ones are attempted once.

        Raises:
            StorageError: the store stays locked, a disk is full, or a server does not answer.
        """
        begun = time.monotonic()
        with self._telling(begun):
            while True:
                try:
                    return attempt()
                except KeyboardInterrupt:
                    self.spent = True
                    raise
                except Exception as error:
                    if is_locked(error) and not self.spent and time.monotonic() - begun < GIVEN_UP:
                        time.sleep(_PAUSE)
                        continue
                    found = storage_error(error, f"the tracking store {self._place}")
                    if found is None:
                        raise
                    self.spent = self.spent or is_unanswered(error)
                    if is_locked(error):
                        waited = f"{found.why}, after {time.monotonic() - begun:.0f} s of waiting"
                        found = StorageError(waited, found.remedy)
                    raise found from error

    @contextmanager
    def _telling(self, begun: float) -> Iterator[None]:
        if self._tell is None:
            yield
            return
        answered = threading.Event()
        threading.Thread(target=self._tell_until, args=(answered, begun, self._tell), daemon=True).start()
        try:
            yield
        finally:
            answered.set()

    def _tell_until(self, answered: threading.Event, begun: float, tell: Tell) -> None:
        pause = FIRST_TOLD
        while not answered.wait(pause):
            tell(f"Waiting for the tracking store {self._place}: no answer for {time.monotonic() - begun:.0f} s")
            pause = TOLD_AGAIN


class _Patient:
    """A client whose calls are made with patience."""

    def __init__(self, client: MlflowClient, patience: Patience) -> None:
        self._client, self._patience = client, patience

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return self._patience.call(partial(method, *arguments, **options))

        return call


def patient(client: MlflowClient, patience: Patience) -> MlflowClient:
    """The client, with patience in every call."""
    return cast("MlflowClient", _Patient(client, patience))
