"""The actor between workers and driver. Imports next to nothing: its process starts while the workers' do."""

from __future__ import annotations

from typing import Any


class ProgressActor:
    """Keeps messages until they are fetched; once a worker has said its end, no other start does better."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, Any]] = []
        self._ended = False

    def put(self, kind: str, content: Any) -> None:
        self._messages.append((kind, content))

    def end(self, kind: str, message: str) -> None:
        self._ended = True
        self.put(kind, message)

    def fetch(self) -> list[tuple[str, Any]]:
        messages, self._messages = self._messages, []
        return messages

    def ended(self) -> bool:
        return self._ended
