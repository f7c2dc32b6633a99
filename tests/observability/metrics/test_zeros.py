"""Counters of the names in the settings start at zero, and are bounded."""

from app import errors
from app.config import check
from app.observability.metrics.meter import Meter
from app.observability.metrics.zeros import start_at_zero
from tests.api.fake import settings
from tests.observability.metrics.samples import exchange, values


def test_counters_of_configured_names_start_at_zero(files):
    start_at_zero(files, check(settings(USAGE={"url": "sqlite:///none.db"})))
    found = values(files)
    assert set(found.values()) == {0}
    for name in (
        "requests_total{model=embed,route=embeddings,status=200}",
        "requests_total{model=embed,route=embeddings,status=502}",
        "requests_total{model=,route=embeddings,status=404}",
        "errors_total{code=incomplete_answer,model=embed,side=proxy}",
        "errors_total{code=internal_error,model=,side=proxy}",
        "errors_total{code=upstream_error,model=steady,side=provider}",
        "errors_total{code=invalid_request_error,model=embed,side=caller}",
        "errors_total{code=rate_limit_exceeded,model=embed,side=policy}",
        "errors_total{code=rate_limit_exceeded,model=embed,side=provider}",
        "limits_refused_total{limit=waiting}",
        "limits_refused_total{limit=tokens}",
        "retries_total{error=throttled,model=embed,provider=fake}",
        "ejections_total{model=org/model,provider=fake}",
        "call_duration_seconds_count{error=credentials,model=embed,provider=fake}",
        "key_requests_total{key=tests,result=refused}",
    ):
        assert name in found, name


def test_counter_at_zero_is_the_same_that_counts(files):
    start_at_zero(files, check(settings()))
    meter, before = Meter(files, ["embed"]), set(values(files))
    failed = exchange(error=errors.UpstreamFailed("x"))
    meter.finished(failed, 502)
    found = values(files)
    assert found["requests_total{model=embed,route=embeddings,status=502}"] == 1
    assert found["errors_total{code=upstream_error,model=embed,side=provider}"] == 1
    assert set(found) == before


def test_counters_at_zero_are_bounded(files):
    one = settings()["MODELS"]["steady"]
    models = {f"m{number}": one for number in range(300)} | {"steady": one, "embed": one}
    start_at_zero(files, check(settings(MODELS=models)))
    assert len(values(files)) < 8_000
