"""The S3 server's fixtures, for the tests of this folder."""

from tests.fixtures.swift import s3, swift_server

__all__ = ["s3", "swift_server"]
