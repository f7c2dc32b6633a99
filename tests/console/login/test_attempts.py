"""Failed attempts of an address are counted and limited."""

import ipaddress
import sys
import threading

from cachetools import LRUCache

from app.console.login import attempts as login_attempts
from app.console.login.attempts import MAX_FAILURES, WINDOW_S, LoginAttempts
from tests.console.visitor import Visitor
from tests.support.settings import KEY

ADDRESS = ipaddress.ip_address("192.0.2.1")


def test_attempts_of_an_address_are_limited():
    visitor = Visitor()
    for _ in range(MAX_FAILURES):
        assert visitor.log_in("sk-wrong").status_code == 401
    answer = visitor.log_in(KEY)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_S + 1
    elsewhere = visitor.log_in(KEY, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert elsewhere.status_code == 303


def test_attempts_are_counted_by_window_and_subnet():
    now = [0.0]
    attempts = LoginAttempts(lambda: now[0])
    first, neighbour, other = map(
        ipaddress.ip_address, ("2001:db8::1", "2001:db8::2", "2001:db9::1")
    )
    for _ in range(MAX_FAILURES):
        assert attempts.wait_s(neighbour) == 0
        attempts.count_failure(first)
    assert attempts.wait_s(neighbour) == WINDOW_S
    assert attempts.wait_s(other) == attempts.wait_s(None) == 0
    now[0] = float(WINDOW_S)
    assert attempts.wait_s(first) == 0


def test_attempts_at_the_same_time_are_all_counted():
    attempts = LoginAttempts(lambda: 0.0)
    name, number, interval = str(ADDRESS), 3000, sys.getswitchinterval()
    threads = [
        threading.Thread(target=lambda: [attempts.count_failure(ADDRESS) for _ in range(number)])
        for _ in range(4)
    ]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert attempts._failures[name] == (0, 4 * number)


def test_attempts_are_remembered_of_a_bounded_number_of_addresses(monkeypatch):
    monkeypatch.setattr(login_attempts, "MAX_ADDRESSES_REMEMBERED", 10)
    attempts = LoginAttempts()
    for i in range(100):
        attempts.count_failure(ipaddress.ip_address(i))
    assert isinstance(attempts._failures, LRUCache)
    assert len(attempts._failures) == 10
