"""Why a store did not do what it was asked: whether asking again may help, and one line for a person.

Where a store answered, errors are told apart by HTTP status and S3's error codes
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), and where it did not, by the names of
their classes: the packages behind `s3://`, `gs://` and `az://` need not be installed here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from raysft.stores.addresses import S3, redacted, scheme_of

NO_ANSWER = frozenset(
    {
        *("ConnectionError", "TimeoutError", "gaierror"),  # Python's, and botocore's of the same name
        *("HTTPClientError", "ResponseParserError", "IncompleteReadError", "IncompleteRead"),  # botocore
        *("ClientConnectionError", "ClientPayloadError", "ServerTimeoutError"),  # aiohttp
        *("ServiceRequestError", "ServiceResponseError"),  # azure
    }
)
"""Classes of errors, or of their ancestors, that say that no whole answer came."""
LASTING = frozenset({"SSLError", "ClientConnectorCertificateError"})
BUSY_CODES = frozenset(
    {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted", "Throttling"}
    | {"ThrottlingException", "RequestLimitExceeded", "XAmzContentSHA256Mismatch", "IncompleteBody"}
)
BUSY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
REFUSED_KEYS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId"}
    | {"AuthorizationHeaderMalformed", "TokenRefreshRequired", "NotSignedUp"}
)
NO_KEYS = frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"})
NO_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName"})
DENIED = frozenset({"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"})
KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
LONGEST = 300


class StoreError(OSError):
    """A store did not do what it was asked, and asking again would not help; one line that says why."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the outermost first."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)


def _answer(error: BaseException) -> tuple[str, int]:
    """(S3's error code, HTTP status) of what the store answered; "" and 0 where it is not known."""
    for e in _chain(error):
        response = getattr(e, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response["Error"].get("Code", "")), int(status)
    if _classes(error) & NO_ANSWER:  # aiohttp gives an answer that ends too early the status 400
        return "", 0
    for e in _chain(error):
        for name in ("status_code", "status", "code"):
            status = getattr(e, name, None)
            if isinstance(status, int) and 100 <= status < 600:
                return "", status
    return "", 0


def _classes(error: BaseException) -> set[str]:
    return {kind.__name__ for e in _chain(error) for kind in type(e).__mro__}


def is_missing(error: BaseException) -> bool:
    """Whether the store says that there is no such object; a bucket that is missing is another matter."""
    return isinstance(error, FileNotFoundError) and _answer(error)[0] not in NO_BUCKET


def is_no_answer(error: BaseException) -> bool:
    """Whether no whole answer came: refused, reset, timed out, or no such host."""
    return not any(_answer(error)) and bool(_classes(error) & NO_ANSWER) and not _classes(error) & LASTING


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    code, status = _answer(error)
    return code in BUSY_CODES or status in BUSY_STATUS or is_no_answer(error)


def reason(error: BaseException) -> str:
    """What an error says, on one line and without secrets."""
    code, status = _answer(error)
    if is_no_answer(error) and any("timeout" in name.lower() for name in _classes(error)):
        return "it timed out"
    inner = [e for e in _chain(error) if str(e)][-1:] or [error]
    said = " ".join(str(inner[0]).split()) or type(error).__name__
    told = " ".join(str(part) for part in (status or "", code if code != str(status) else "") if part)
    text = redacted(f"{told}: {said}" if told and told not in said else said)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def endpoint_of(uri: str) -> str:
    """Where the requests for an address go, as a user would say it."""
    if scheme_of(uri) not in S3:
        return f"the store of {scheme_of(uri)}://"
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return redacted(named) if named else "AWS S3"


def told(error: Exception, uri: str, doing: str) -> Exception:
    """The error to raise in place of a store's own.

    Args:
        uri: what was asked for.
        doing: "read", "written" or "listed".
    """
    where, shown, said = endpoint_of(uri), redacted(uri), reason(error)
    code, status = _answer(error)
    bucket = shown.partition("://")[2].partition("/")[0]
    if is_missing(error):
        return FileNotFoundError(f"{shown}: there is no such object")
    if code in NO_BUCKET:
        return StoreError(
            f"the bucket {bucket!r} does not exist at {where}; make it first, or correct {shown}"
        )
    if code in REFUSED_KEYS:
        return StoreError(f"{where} refuses the credentials for {shown} ({code}); {KEYS}")
    if _classes(error) & NO_KEYS:
        return StoreError(f"there are no credentials for {shown}; {KEYS}")
    if code in DENIED or status == 403 or isinstance(error, PermissionError):
        return StoreError(f"{shown} may not be {doing} with these credentials ({said})")
    if is_no_answer(error):
        at = "AWS_ENDPOINT_URL says where the store is" if scheme_of(uri) in S3 else "is the address right?"
        return StoreError(f"no answer from {where} for {shown} ({_short(said)}); {at}")
    if isinstance(error, StoreError):
        return error
    return StoreError(f"{shown} could not be {doing}: {type(error).__name__}: {said}")


def _short(said: str) -> str:
    """The system's own words where an error quotes them, such as: Connect call failed ('127.0.0.1', 9)."""
    quoted = re.search(r"\[Errno[^\]]*\]\s*([^\[]+)", said)
    return quoted[1].strip(" ]") if quoted else said
