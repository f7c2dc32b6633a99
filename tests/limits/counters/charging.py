"""Takes and settlements of one daily budget in a real Valkey."""

from app.limits.counters.windows import Change, Take
from app.limits.periods import Calendar

DAY = Calendar("day")
NAME = "{k}:2"


def take(windows, cost, reservation=None, limit=10**9):
    return windows.take([Take(NAME, limit, DAY, cost)], reservation)


def used(windows):
    return take(windows, 0).windows[0].current


def settle(windows, taken, amount, cost, reservation):
    windows.change([Change(NAME, DAY, taken.windows[0].period_number, cost, amount)], reservation)


def send(windows, client):
    windows._send(client, False)
