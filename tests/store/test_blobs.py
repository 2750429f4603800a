"""Blobs are there before anything names them, and are what their name says."""

import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.errors import ConfigError, JournalError
from ooda.events import BlobRef
from ooda.store import BlobStore, process_owner


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "data" / "blobs")


def file_of(blobs: BlobStore, digest: str) -> Path:
    return blobs.folder / digest[:2] / digest[2:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_every_text_comes_back(blobs: BlobStore, text: str) -> None:
    """Named by the SHA-256 of its bytes."""
    reference = blobs.put(text)

    assert blobs.get(reference.digest) == text
    assert reference.digest == hashlib.sha256(text.encode()).hexdigest()
    assert reference.size_bytes == len(text.encode())


def test_a_reference_tells_a_reader_what_to_expect(blobs: BlobStore) -> None:
    """Size, an estimate of four bytes a token rounded up, first and last line cut to a glance."""
    text = "first line\nmiddle ü\nlast line\n"

    assert blobs.put(text) == BlobRef(
        digest=hashlib.sha256(text.encode()).hexdigest(), size_bytes=31, tokens=8, head="first line", tail="last line"
    )
    assert len(blobs.put("x" * 10_000).head) == 160


def test_the_same_text_is_written_once(blobs: BlobStore) -> None:
    """The second time its size is looked at; a file cut short by a failing disk is written again."""
    reference = blobs.put("some text")
    file = file_of(blobs, reference.digest)
    first = file.stat()

    blobs.put("some text")
    second = file.stat()
    file.write_text("some")
    blobs.put("some text")

    assert second.st_ino == first.st_ino
    assert second.st_mtime_ns >= first.st_mtime_ns  # it counts as put anew: nobody takes it for left over
    assert blobs.get(reference.digest) == "some text"


def test_only_their_owner_can_read_blobs_and_no_other_file_is_left(blobs: BlobStore) -> None:
    """Folders 0700, files 0600."""
    reference = blobs.put("some text")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in blobs.folder.parent.rglob("*")}

    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {path: mode for path, mode in modes.items() if path.is_file()} == {file_of(blobs, reference.digest): 0o600}


def test_what_a_killed_process_left_half_written_is_swept(blobs: BlobStore) -> None:
    """What a live one is writing stays, and so does what cannot be judged from here."""
    blobs.put("some text")
    parts = blobs.folder / "tmp"
    host, place, pid, start, _ = process_owner("1").split("/")
    (parts / f"{host}~{place}~{pid}~{start}~7").touch()
    (parts / f"{host}~{place}~{pid}~{int(start) - 1}~7").touch()
    (parts / f"elsewhere~{place}~{pid}~1~7").touch()

    assert blobs.sweep() == 1
    assert {part.name.split("~")[3] for part in parts.iterdir()} == {start, "1"}
    assert BlobStore(blobs.folder / "never used").sweep() == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lambda file: file.unlink(), "missing"), (lambda file: file.write_bytes(b"some texT"), "damaged")],
    ids=["missing", "flipped byte"],
)
def test_a_missing_or_damaged_blob_is_named(blobs: BlobStore, damage: object, said: str) -> None:
    """And the message says what can still be done with the run."""
    digest = blobs.put("some text").digest
    damage(file_of(blobs, digest))  # type: ignore[operator]

    with pytest.raises(JournalError, match=said) as caught:
        blobs.get(digest)

    assert caught.value.facts["digest"] == digest
    assert "backup" in str(caught.value)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(blobs: BlobStore, digest: str) -> None:
    """A damaged row cannot make the store read another file."""
    with pytest.raises(JournalError, match="not a blob digest"):
        blobs.get(digest)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the path and what to do."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="XDG_DATA_HOME"):
        BlobStore(tmp_path / "file" / "blobs").put("some text")
