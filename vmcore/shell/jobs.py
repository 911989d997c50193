"""Jobs: operations that go on beside others and are managed while they do: `vm.jobs`.

A job is created, runs, and may pause where its work says that it can.  What is then left to do is one step: it waits
for the jobs that it belongs with (there are none here), is pending until it is finalized, and concluded.  One that
failed or was cancelled is aborting instead.  Each step is a JobStatusChange.  Concluded jobs are kept until they are
dismissed, so that a client can ask what became of them.

What of this a client does itself is up to the job: `auto_finalize` and `auto_dismiss` are for those that need nobody.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, final

import trio

from vmcore.model.errors import CommandError, DeviceModelError, VmcoreError
from vmcore.model.jobs import JobInfo, JobStatus, JobStatusChange, JobType

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["CANCELED", "Job", "Jobs"]

CANCELED: Final = "Operation canceled"
"""Error of a job that was cancelled."""

_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\Z")

_S = JobStatus
_AT_WORK: Final = frozenset({_S.CREATED, _S.RUNNING, _S.PAUSED, _S.READY, _S.STANDBY})
_RESTING: Final = frozenset({_S.PAUSED, _S.STANDBY})
_ALLOWED: Final = {
    "cancel": _AT_WORK | {_S.WAITING, _S.PENDING},
    "pause": _AT_WORK,
    "resume": _AT_WORK,
    "complete": frozenset({_S.READY, _S.STANDBY}),
    "finalize": frozenset({_S.PENDING}),
    "dismiss": frozenset({_S.CONCLUDED}),
}
"""In which states a job can be told what."""


@final
class Job:
    """A job.  Errors of those who manage it are CommandErrors with QEMU's words.

    progress, total: how much is done, and of how much, in a unit of the job's own; error: why it failed, None if it
    did not.
    """

    def __init__(
        self,
        id: str,
        type: JobType,
        say: Callable[[JobStatusChange], None],
        leave: Callable[[Job], None],
        *,
        auto_finalize: bool,
        auto_dismiss: bool,
    ) -> None:
        self.id: Final = id
        self.type: Final = type
        self.status = JobStatus.UNDEFINED
        self.progress = 0
        self.total = 0
        self.error: str | None = None
        self.cancelled = False
        """Whether somebody cancelled it."""
        self._say = say
        self._leave = leave
        self._auto_finalize, self._auto_dismiss = auto_finalize, auto_dismiss
        self._scope = trio.CancelScope()
        self._paused = self._waits = False
        self._resumed = trio.Event()
        self._completing = trio.Event()
        self._worked = trio.Event()
        self._heard = trio.Event()

    @property
    def info(self) -> JobInfo:
        """What there is to know about it."""
        return JobInfo(
            id=self.id,
            type=self.type,
            status=self.status,
            current_progress=self.progress,
            total_progress=self.total,
            error=self.error,
        )

    # --- for its work

    async def pause_point(self) -> None:
        """The work can rest here: it does while the job is paused."""
        await trio.lowlevel.checkpoint()
        while self._paused:
            if self.status not in _RESTING:
                self._rest()
            await self._resumed.wait()

    async def ready(self) -> None:
        """All is done but the end, which waits for `complete`; it can rest meanwhile."""
        self._to(_S.READY)
        self._waits = True
        await self.pause_point()
        await self._completing.wait()
        self._waits = False
        await self.pause_point()

    # --- for those who manage it

    def pause(self) -> None:
        """Let it rest as soon as it can."""
        self._check("pause")
        if self._paused:
            raise CommandError("GenericError", "Job is already paused")
        self._paused = True
        if self._waits:
            self._rest()

    def resume(self) -> None:
        """Let a paused job go on."""
        if not self._paused:
            raise CommandError("GenericError", "Can't resume a job that was not paused")
        self._check("resume")
        self._go_on()

    def cancel(self) -> None:
        """Give it up.  What it has done is undone where its work says so; it ends as one that failed."""
        self._check("cancel")
        self.cancelled = True
        self._go_on()
        self._scope.cancel()
        if self.status is _S.PENDING:
            self._conclude()

    def complete(self) -> None:
        """Let a job that is ready come to its end."""
        self._check("complete")
        self._completing.set()

    def finalize(self) -> None:
        """Let a pending job end."""
        self._check("finalize")
        self._conclude()

    def dismiss(self) -> None:
        """Forget a concluded job."""
        self._check("dismiss")
        self._to(_S.NULL)
        self._leave(self)

    async def worked(self) -> None:
        """Wait until its work is over.  The job comes to its end when the caller lets other tasks run."""
        try:
            await self._worked.wait()
        finally:
            self._heard.set()

    # --- its life

    async def _live(self, work: Callable[[Job], Awaitable[None]], heard: bool) -> None:
        if heard:
            self._heard.set()
        try:
            with self._scope:
                await self.pause_point()
                await work(self)
        except DeviceModelError:
            raise
        except VmcoreError as error:
            self.error = str(error)
        finally:
            self._worked.set()
        await self._heard.wait()
        if self.error is not None or self.cancelled:
            self._conclude()
            return
        self._to(_S.WAITING)
        self._to(_S.PENDING)
        if self._auto_finalize:
            self._conclude()

    def _conclude(self) -> None:
        if self.cancelled and self.error is None:
            self.error = CANCELED
        if self.error is not None:
            self._to(_S.ABORTING)
        self._to(_S.CONCLUDED)
        if self._auto_dismiss:
            self.dismiss()

    def _end(self) -> None:
        self._auto_dismiss = True
        if self.status is _S.CONCLUDED:
            self.dismiss()
        else:
            self.cancel()

    def _rest(self) -> None:
        self._resumed = trio.Event()
        self._to(_S.STANDBY if self.status is _S.READY else _S.PAUSED)

    def _go_on(self) -> None:
        self._paused = False
        self._resumed.set()
        if self.status in _RESTING:
            self._to(_S.READY if self.status is _S.STANDBY else _S.RUNNING)

    def _to(self, status: JobStatus) -> None:
        self.status = status
        self._say(JobStatusChange(id=self.id, status=status))

    def _check(self, verb: str) -> None:
        if self.status not in _ALLOWED[verb]:
            raise CommandError(
                "GenericError", f"Job '{self.id}' in state '{self.status.value}' cannot accept command verb '{verb}'"
            )


@final
class Jobs:
    """The jobs of a machine."""

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm
        self._jobs: dict[str, Job] = {}

    @property
    def all(self) -> tuple[Job, ...]:
        """Those that there are, the latest first."""
        return tuple(reversed(self._jobs.values()))

    def find(self, id: str) -> Job:
        """The job of this name.  CommandError if there is none."""
        if id not in self._jobs:
            raise CommandError("GenericError", "Job not found")
        return self._jobs[id]

    def start(
        self,
        id: str,
        type: JobType,
        work: Callable[[Job], Awaitable[None]],
        *,
        auto_finalize: bool = True,
        auto_dismiss: bool = True,
    ) -> Job:
        """Begin a job.  It is running when this returns, and its work begins when the caller lets other tasks run.

        work: what it does; a VmcoreError from it is the job's error, and cancelling the job cancels it; auto_finalize,
        auto_dismiss: it ends, and goes, without being told.  CommandError for a name that is none or is taken.
        """
        return self._start(id, type, work, heard=True, auto_finalize=auto_finalize, auto_dismiss=auto_dismiss)

    async def run(self, id: str, type: JobType, work: Callable[[Job], Awaitable[None]]) -> Job:
        """Begin a job that is kept until it is dismissed, and wait until its work is over.

        What is left, the steps to `concluded`, is done when the caller lets other tasks run: so an answer that is given
        at once comes before their events, as from QEMU.
        """
        job = self._start(id, type, work, heard=False, auto_finalize=True, auto_dismiss=False)
        await job.worked()
        return job

    def end(self) -> None:
        """The machine ends: what is at work is cancelled, and all that is kept is forgotten, the latest first."""
        for job in self.all:
            job._end()

    def _start(
        self,
        id: str,
        type: JobType,
        work: Callable[[Job], Awaitable[None]],
        *,
        heard: bool,
        auto_finalize: bool,
        auto_dismiss: bool,
    ) -> Job:
        self._vm.peek()
        if not _ID.match(id):
            raise CommandError("GenericError", f"Invalid job ID '{id}'")
        if id in self._jobs:
            raise CommandError("GenericError", f"Job ID '{id}' already in use")
        job = Job(id, type, self._vm.announce, self._leave, auto_finalize=auto_finalize, auto_dismiss=auto_dismiss)
        self._jobs[id] = job
        job._to(_S.CREATED)
        job._to(_S.RUNNING)
        self._vm.start_soon(lambda: job._live(work, heard), f"vmcore job {id}")
        return job

    def _leave(self, job: Job) -> None:
        del self._jobs[job.id]
