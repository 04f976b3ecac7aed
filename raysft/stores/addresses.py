"""What a path of a recipe is: a file here, or an address of a store such as `s3://bucket/key`; and how a text
is freed of the secrets that addresses and the environment hold.
"""

from __future__ import annotations

import os
import re

PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
}
"""Schemes of object stores, and the package that fsspec needs for each."""
S3 = ("s3", "s3a")

SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
)
"""Environment variables whose values are never shown."""
SHORTEST_SECRET = 6  # a shorter value, such as that of a test, could be part of any word
USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]+@", re.IGNORECASE)
SIGNED = re.compile(
    r"([?&](?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-Signature|sig|Signature|token)=)[^&\s'\"]+",
    re.IGNORECASE,
)
HIDDEN = "***"


def is_uri(path: str) -> bool:
    """Whether a path is an address, such as s3://bucket/key, and no path of this machine."""
    return "://" in path


def scheme_of(path: str) -> str:
    """ "s3" of s3://bucket/key, "file" of a path of this machine."""
    return path.partition("://")[0].lower() if is_uri(path) else "file"


def has_credentials(path: str) -> bool:
    """Whether an object store's address holds a user or key, as in s3://key:secret@bucket."""
    return scheme_of(path) in PACKAGES and "@" in path.partition("://")[2].partition("/")[0]


def redacted(text: str) -> str:
    """The text without user:password@ and signatures in addresses, and without secrets of the environment."""
    text = SIGNED.sub(rf"\1{HIDDEN}", USER_INFO.sub(rf"\1{HIDDEN}@", text))
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, HIDDEN)
    return text
