"""Operations on a store: which are tried again, how often and how long, and what is told when they fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from raysft.stores.failures import StoreError
from raysft.stores.retries import Patience, take_repeated, tried

URI = "s3://bucket/run/part.parquet"


class ClientError(Exception):
    """As botocore raises it: with the store's answer."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"An error occurred ({code}) when calling the PutObject operation: told")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def answered(code: str, status: int, kind: type[Exception] = OSError) -> Exception:
    """As s3fs raises it: an error of Python's, caused by botocore's."""
    error = kind("told")
    error.__cause__ = ClientError(code, status)
    return error


class EndpointConnectionError(ConnectionError):
    """Named as botocore's."""


class NoCredentialsError(Exception):
    """Named as botocore's."""


class HTTPClientError(Exception):
    """Named as botocore's."""


class SSLError(HTTPClientError):
    """Named as botocore's."""


@dataclass
class Clock:
    """Time that passes only while something waits, or an attempt takes `each` seconds."""

    each: float = 0.0
    time: float = 0.0
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    def patience(self) -> Patience:
        return Patience(now=lambda: self.time, sleep=self.sleep)


def failing(errors: list[Exception], clock: Clock) -> Callable[[], str]:
    """Raises these errors, one a call, then returns."""

    def call() -> str:
        clock.time += clock.each
        if errors:
            raise errors.pop(0)
        return "done"

    return call


TRANSIENT = [
    answered("SlowDown", 503),
    answered("InternalError", 500),
    answered("", 502),
    answered("RequestTimeout", 400),
    answered("TooManyRequests", 429),
    EndpointConnectionError("Connect call failed"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
    HTTPClientError("ended early"),
]
LASTING = [
    (answered("AccessDenied", 403, PermissionError), "may not be written with these credentials"),
    (answered("InvalidAccessKeyId", 403, PermissionError), "refuses the credentials .*InvalidAccessKeyId"),
    (
        answered("SignatureDoesNotMatch", 403, PermissionError),
        "refuses the credentials .*AWS_SECRET_ACCESS_KEY",
    ),
    (answered("NoSuchBucket", 404, FileNotFoundError), "the bucket 'bucket' does not exist at"),
    (answered("EntityTooLarge", 400), "could not be written: OSError: 400 EntityTooLarge"),
    (NoCredentialsError("Unable to locate credentials"), "there are no credentials .*AWS_PROFILE"),
    (SSLError("certificate verify failed"), "certificate verify failed"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda e: f"{type(e).__name__}-{e.__cause__}"[:50])
def test_tried_after_a_transient_error_goes_on_and_notes_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    take_repeated()
    with caplog.at_level(logging.WARNING, "raysft.stores"):
        assert tried(failing([error, error], clock), URI, "written", clock.patience()) == "done"
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        f"{URI} could not be written"
    ] * 2
    assert (take_repeated(), take_repeated(), len(clock.waits)) == (2, 0, 2)


@pytest.mark.parametrize(("error", "message"), LASTING, ids=[m[:30] for _, m in LASTING])
def test_tried_after_a_lasting_error_fails_at_once_with_the_cause(error: Exception, message: str) -> None:
    clock = Clock()
    with pytest.raises(StoreError, match=message) as caught:
        tried(failing([error], clock), URI, "written", clock.patience())
    assert clock.waits == []
    assert "\n" not in str(caught.value)


def test_tried_on_an_object_that_is_missing_is_not_found_and_names_it() -> None:
    clock = Clock()
    with pytest.raises(FileNotFoundError, match=f"{URI}: there is no such object"):
        tried(failing([answered("NoSuchKey", 404, FileNotFoundError)], clock), URI, "read", clock.patience())


def test_tried_waits_grow_to_a_bound_and_vary_by_chance() -> None:
    clock = Clock()
    tried(failing([TimeoutError()] * 9, clock), URI, "read", clock.patience())
    longest = [0.5, 1, 2, 4, 8, 8, 8, 8, 8]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(clock.waits, longest, strict=True))
    assert len({round(wait / bound, 6) for wait, bound in zip(clock.waits, longest, strict=True)}) > 1


def test_tried_gives_up_a_minute_after_the_first_failure_and_says_how_often_it_tried() -> None:
    clock = Clock()
    with pytest.raises(StoreError, match=r"no answer from .*; given up after \d+ attempts, 6\d s"):
        tried(failing([TimeoutError()] * 100, clock), URI, "read", clock.patience())
    assert 60 <= clock.time <= 68


def test_tried_operation_that_takes_long_is_tried_a_second_time_and_no_third() -> None:
    clock = Clock(each=200.0)
    with pytest.raises(StoreError, match="given up after 2 attempts"):
        tried(failing([TimeoutError()] * 100, clock), URI, "read", clock.patience())


def test_tried_bug_of_ours_is_not_repeated() -> None:
    clock = Clock()
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        tried(lambda: 1 // 0, URI, "read", clock.patience())
    assert clock.waits == []


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("https://ada:passw0rd@host/rows.jsonl", "passw0rd"),
        ("https://host/rows.jsonl?X-Amz-Signature=abcdef0123&x=1", "abcdef0123"),
        ("az://box/rows?sv=1&sig=abcdef0123", "abcdef0123"),
    ],
)
def test_told_errors_and_notes_hold_no_secret_of_the_address(
    uri: str, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    errors: list[Any] = [TimeoutError(f"reading {uri}"), answered("AccessDenied", 403, PermissionError)]
    with caplog.at_level(logging.WARNING, "raysft.stores"), pytest.raises(StoreError) as caught:
        tried(failing(errors, clock), uri, "read", clock.patience())
    assert secret not in str(caught.value) + caplog.text
    assert "***" in str(caught.value)


def test_told_errors_hold_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    clock = Clock()
    with pytest.raises(StoreError) as caught:
        tried(failing([ValueError("bad key wJalrXUtnFEMI")], clock), URI, "read", clock.patience())
    assert "wJalrXUtnFEMI" not in str(caught.value)
