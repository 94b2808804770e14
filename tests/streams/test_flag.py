from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from answers import PATIENCE
from gemini_nb.streams.runtime.loop import Flag


def test_it_wakes_all_who_wait() -> None:
    flag = Flag()
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(flag.wait(PATIENCE))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not flag.is_set()
    flag.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert woken == [True, True, True]
    assert flag.wait(0)


def test_a_wait_in_vain_says_so() -> None:
    assert not Flag().wait(0.001)
    assert not Flag().wait(-1)


class InterruptError(BaseException):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal that comes at any moment")
def test_no_interrupt_however_unlucky_leaves_the_setter_standing() -> None:
    flags = [Flag() for _ in range(500)]
    place = 0

    def interrupt(*_: object) -> None:
        raise InterruptError

    def set_all() -> None:
        for number, flag in enumerate(flags):
            while place < number:
                time.sleep(0.0001)
            flag.set()

    before = signal.signal(signal.SIGALRM, interrupt)
    setter = threading.Thread(target=set_all, daemon=True)
    setter.start()
    while place < len(flags):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0003))
            while not flags[place].wait(0.01):
                pass
            place += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except InterruptError:
            continue
    signal.signal(signal.SIGALRM, before)
    setter.join(PATIENCE)
    assert not setter.is_alive()
