"""What the bench reads of wrk's output: its figures, and every reason to reject them."""

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.bench.__main__ import main
from tests.bench.errors import MeasurementError, MissingLoadGeneratorError
from tests.bench.wrk import Load, parse, wrk_program

HEAD = """\
Running 3s test @ http://127.0.0.1:40001/events.v1.EventLoggingService/LogEvent
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.90ms    5.90ms  41.27ms   77.41%
    Req/Sec   855.60    164.19     1.10k    63.33%
  2558 requests in 3.00s, 572.06KB read
Requests/sec:    852.22
Transfer/sec:    190.59KB

"""


def output(**said: object) -> str:
    usual: dict[str, object] = {
        "requests": 2558,
        "duration_us": 3_001_564,
        "failed": 0,
        "first_failure": "",
        "socket_errors": 0,
        "timeouts": 0,
        "p50_us": 8390,
        "p99_us": 22500,
        "max_us": 41270,
    }
    return f"{HEAD}{json.dumps(usual | said)}\n"


def test_the_last_line_has_the_figures() -> None:
    load = parse(output())

    assert load == Load(requests=2558, seconds=3.001564, p50_ms=8.39, p99_ms=22.5, max_ms=41.27)
    assert load.rate == pytest.approx(852.2, abs=0.1)


def test_an_answer_that_is_no_success_fails_the_measure_and_is_quoted() -> None:
    with pytest.raises(MeasurementError, match=r"3 of 2558 answers .* 429 \{\"code\": \"resource_exhausted\"\}"):
        parse(output(failed=3, first_failure='429 {"code": "resource_exhausted"}'))


@pytest.mark.parametrize("trouble", [{"socket_errors": 1}, {"timeouts": 2}, {"requests": 0}])
def test_a_load_that_was_none_fails_the_measure(trouble: dict[str, int]) -> None:
    with pytest.raises(MeasurementError):
        parse(output(**trouble))


@pytest.mark.parametrize(
    ("said", "returncode"),
    [("unable to connect to 127.0.0.1:40001 Connection refused\n", 1), ("", 0), (HEAD, 0), (output(), -9)],
)
def test_a_wrk_that_failed_fails_the_measure(said: str, returncode: int) -> None:
    with pytest.raises(MeasurementError, match="wrk failed"):
        parse(said, returncode=returncode)


def test_without_wrk_there_is_a_sentence_that_says_how_to_get_it() -> None:
    with pytest.raises(MissingLoadGeneratorError, match="apt-get install wrk"):
        wrk_program({"PATH": "/nonexistent"})


def test_without_wrk_the_bench_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    done = run()

    assert done.exit_code == 2
    assert "apt-get install wrk" in done.stderr


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--ways", "mine"]])
def test_what_there_is_not_is_named_beside_what_there_is(arguments: list[str]) -> None:
    done = run(*arguments)

    assert done.exit_code == 2
    assert arguments[1] in done.stderr
    assert "there are" in done.stderr


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, arguments)
