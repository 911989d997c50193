"""The thread that guest code runs in: one for each virtual machine, started when first needed, joined at the end.

Why not trio's own worker threads: those outlive the machine by some seconds in trio's cache, and "nothing left behind"
is a promise.  A job is a synchronous function that holds the machine for as long as it runs.  Cancelling the task that
waits for a job does not abandon it: the job is asked to stop, which takes microseconds, and its result still arrives.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar, final

import outcome
import trio
from attrs import frozen

T = TypeVar("T")


@frozen
class _Job(Generic[T]):
    call: Callable[[], T]
    task: trio.lowlevel.Task
    token: trio.lowlevel.TrioToken


@final
class EngineThread:
    """Runs jobs, one at a time.  stop: what asks the job in progress to end soon; called from the trio thread."""

    def __init__(self, stop: Callable[[], None], name: str) -> None:
        self._stop = stop
        self._name = name
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.busy = False
        """Whether a job is under way, seen from the trio thread."""

    async def call(self, call: Callable[[], T]) -> T:
        """Run `call` in the thread and return what it returns, or raise what it raises.

        Always lets the job end; a cancellation that came meanwhile is delivered at the caller's next checkpoint.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._start()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._stop()
            return trio.lowlevel.Abort.FAILED

        self.busy = True
        try:
            self._jobs.put(_Job(call, trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()))
            result: T = await trio.lowlevel.wait_task_rescheduled(abort)
            return result
        finally:
            self.busy = False

    @property
    def native_id(self) -> int:
        """The host's number of the thread; it is started if it was not."""
        number = self._start().native_id
        assert number is not None
        return number

    def _start(self) -> threading.Thread:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        return self._thread

    def join(self) -> None:
        """End the thread; no job may be under way.  Takes microseconds."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            result = outcome.capture(job.call)
            try:
                job.token.run_sync_soon(trio.lowlevel.reschedule, job.task, result)
            except trio.RunFinishedError:
                return
            # Not to keep the machine alive while waiting for the next job.
            del job, result
