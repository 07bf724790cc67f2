"""Runs work in a process of its own, so that its end is not that of the caller."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType

from ganlib.selection.failures import Failure
from ganlib.training import OtherRunError, TrainingInterrupted

STOPS = (signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
Answer = tuple[type[Exception] | None, str | Failure | None]  # an error's class and its text, or None and the result


def run_in_child(work: Callable[[], Failure | None]) -> Failure | None:
    """Runs a function in a child process and waits for it.

    The child is a copy of this process. So TensorFlow must not have been used in it before. SIGTERM and Ctrl-C are
    handed on to the child.

    Args:
        work: Returns why it failed, or None.

    Returns:
        The same or, where the child ended without an answer, a failure that says so.

    Raises:
        TrainingInterrupted: The child was asked to stop, and did.
        OtherRunError: The function raised it.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(work, sender))
    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        del frame
        asked.append(number)
        if child.pid is not None and number == signal.SIGTERM:  # a terminal sends Ctrl-C to both
            os.kill(child.pid, number)

    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        with _held_back():  # else a signal could end this process, and leave the child behind
            child.start()
            for number in STOPS:
                if before[number] is not signal.SIG_IGN:
                    signal.signal(number, hand_on)
        sender.close()
        answer = _receive(receiver)
        child.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if answer is not None:
        kind, result = answer
        if kind is not None:
            raise kind(result)
        return result if isinstance(result, Failure) else None
    if asked:
        raise TrainingInterrupted("interrupted; the same command resumes")
    code = child.exitcode or 0
    if code < 0:
        name = signal.Signals(-code).name
        memory = ", which the system sends where memory runs out" if -code == signal.SIGKILL else ""
        return Failure(f"the process was ended by {name}{memory}", may_pass=True)
    return Failure(f"the process ended with exit code {code}, and said nothing", may_pass=True)


@contextmanager
def _held_back() -> Iterator[None]:
    """Lets signals wait until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive(receiver: Connection) -> Answer | None:
    """Returns what the child sent; None if it sent nothing."""
    try:
        answer: Answer = receiver.recv()
    except EOFError:
        return None
    return answer


def _end_with_parent() -> None:
    """Lets the system end this process if the parent is killed, which could not hand that on."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _run(work: Callable[[], Failure | None], sender: Connection) -> None:
    """Sends the result, as the child."""
    _end_with_parent()
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    answer: Answer
    try:
        answer = None, work()
    except (TrainingInterrupted, OtherRunError) as error:
        answer = type(error), str(error)
    except KeyboardInterrupt:
        answer = TrainingInterrupted, "interrupted; the same command resumes"
    sender.send(answer)
