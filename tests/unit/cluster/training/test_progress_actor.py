"""The actor between workers and driver."""

from __future__ import annotations

import subprocess
import sys

from pipeline.cluster.training.progress_actor import ProgressActor


def test_letters_are_fetched_once_and_in_order() -> None:
    messages = ProgressActor()
    messages.put("tick", {"examples_seen": 1})
    messages.put("note", "two")
    assert messages.fetch() == [("tick", {"examples_seen": 1}), ("note", "two")]
    assert messages.fetch() == []
    assert not messages.ended()


def test_an_end_is_kept_for_good() -> None:
    messages = ProgressActor()
    messages.end("UserError", "no such file")
    assert messages.fetch() == [("UserError", "no such file")]
    assert messages.ended()


def test_its_process_starts_while_the_workers_do() -> None:
    """What takes seconds to import would be imported beside each of them."""
    asked = (
        "import sys, pipeline.cluster.training.progress_actor; print({'torch', 'ray', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
