"""The S3 servers' fixtures, for the tests of this folder."""

from tests.fixtures.moto import moto_s3
from tests.fixtures.swift import s3, swift_server

__all__ = ["moto_s3", "s3", "swift_server"]
