"""A webdataset batch: every shard a tar that webdataset reads, with a parquet index of the same name."""

import io
import json
import tarfile

import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.layouts import layout_of

TEXT = 'layout = "webdataset"\nprompts = ["one", {prompt = "two", expected = {n = 2}}]\nsamples = 20\n'


@pytest.fixture
def done(plan, work):
    batch = work(plan(TEXT))
    layout_of(batch).finish()
    return batch


def test_webdataset_reads_pictures_with_their_rows(done):
    assert audit(done).passed
    samples = {}
    for path in sorted(done.folder.glob("*.tar")):
        index = pq.read_table(path.with_suffix(".parquet")).to_pylist()
        with path.open("rb") as file:
            found = list(
                webdataset.tariterators.group_by_keys(
                    webdataset.tariterators.tar_file_expander([{"stream": file, "url": path.name}])
                )
            )
        assert [sample["__key__"] for sample in found] == [row["uid"] for row in index]
        samples |= {sample["__key__"]: sample for sample in found}
    assert samples.keys() == done.by_uid.keys()
    for uid, sample in samples.items():
        row = json.loads(sample["json"])
        assert row["uid"] == uid
        assert row["expected"] == done.by_uid[uid].expected
        assert Image.open(io.BytesIO(sample["png"])).size == (16, 16)


def test_nothing_is_left_in_the_staging_folder(done):
    assert [path for path in (done.work / "staged").rglob("*") if path.is_file()] == []


def test_a_tar_with_something_strange_is_found(done):
    path = sorted(done.folder.glob("*.tar"))[0]
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("stray.png"))
        names = tar.getnames()
    (done.folder / "99999.tar").write_bytes(path.read_bytes())
    kinds = [problem.kind for problem in audit(done).problems]
    assert set(kinds) == {"stray"}
    assert len(kinds) == 1 + len(names)


def test_a_tar_that_is_gone_is_missing(done):
    path = sorted(done.folder.glob("*.tar"))[0]
    path.unlink()
    assert {problem.kind for problem in audit(done).problems} == {"missing"}
