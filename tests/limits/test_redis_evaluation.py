"""A script is known to the server by its digest; its text is sent where the server has lost it."""

from app.limits.redis_evaluation import Script

SCRIPT = Script("return {KEYS[1], KEYS[2], ARGV[1]}")


def test_script_is_evaluated_on_a_server_that_has_lost_it(redis):
    for _ in range(2):
        redis.script_flush()
        assert SCRIPT.evaluate(redis, ["a", "b"], [7]) == [b"a", b"b", b"7"]


def test_text_of_a_known_script_is_not_sent_again(redis, monkeypatch):
    SCRIPT.evaluate(redis, ["a", "b"], [7])
    monkeypatch.setattr(redis, "eval", None)
    assert SCRIPT.evaluate(redis, ["a", "b"], [8]) == [b"a", b"b", b"8"]
