"""The S3 servers' fixtures and a packed set, for the tests of this folder."""

import pytest

from raysft.runtime.packing import pack_stage
from raysft.runtime.storage import Storage
from tests.fixtures.moto import moto_s3
from tests.fixtures.swift import s3, swift_server
from tests.runtime.packed_runs import curated, make_tables, scratch_config

__all__ = ["moto_s3", "s3", "swift_server"]


@pytest.fixture(scope="session")
def tables():
    return make_tables()


@pytest.fixture(scope="session")
def packed(local_ray, tables, tmp_path_factory):
    """(the storage of a run, its sealed train.pack); its trainings are found again by their settings."""
    storage = Storage(str(tmp_path_factory.mktemp("run")))
    return storage, pack_stage(storage, [curated(storage, tables)], scratch_config())
