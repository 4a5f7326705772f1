"""Texts in Milvus Lite: found by words and by meaning, filtered, shared by processes unharmed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opswright.core.errors import IntegrityError
from opswright.engines.vectors import (
    Candidate,
    Column,
    LiteServer,
    SnapshotFolder,
    TextEncoder,
    TextRow,
    VectorCollection,
    VectorQuantiser,
    blended,
)
from opswright.engines.vectors.collection import is_one_of
from opswright.engines.vectors.quantiser import PARTS
from opswright.engines.vectors.similar import SimilarTexts

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

TEXTS = [
    "the gate refused the model since it forgot the old domains",
    "ada approved the plan on monday",
    "the engine was built for the processor in four minutes",
    "near duplicates were left out of the dataset",
    "the endpoint serves the second release to everybody",
    "drift raised an alarm about new topics",
]


class Found:
    """A collection, and what its rows and questions are told by."""

    def __init__(
        self, collection: VectorCollection, encoder: TextEncoder, quantiser: VectorQuantiser
    ) -> None:
        self.collection, self._encoder, self._quantiser = collection, encoder, quantiser

    def rows(self, texts: list[str]) -> list[TextRow]:
        vectors = self._encoder.dense(texts)
        told = zip(texts, vectors, self._quantiser.terms(vectors), strict=True)
        return [
            TextRow(
                f"t{at}", text, vector, {**self._encoder.sparse(text), **terms},
                {"kind": f"k{at % 2}", "seq": at},
            )
            for at, (text, vector, terms) in enumerate(told)
        ]  # fmt: skip

    def candidates(self, question: str, condition: str = "") -> list[Candidate]:
        dense, words = self._encoder.dense([question])[0], self._encoder.sparse_question(question)
        return self.collection.search(words, self._quantiser.question(dense, 6), dense, 5, condition)

    def ids(self, question: str, condition: str = "") -> list[str]:
        found = self.candidates(question, condition)
        most = max((one.words for one in found), default=0.0)
        return [hit.id for hit in blended(found, most, 3)]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.fit(TEXTS)


@pytest.fixture(scope="module")
def quantiser(encoder: TextEncoder) -> VectorQuantiser:
    return VectorQuantiser.fit(encoder.dense(TEXTS))


@pytest.fixture
def collection(tmp_path: Path, encoder: TextEncoder, quantiser: VectorQuantiser) -> Iterator[Found]:
    with LiteServer(tmp_path / "data") as server:
        made = VectorCollection(server.client, "texts", [Column("kind", "text"), Column("seq", "number")])
        made.create(encoder.dimensions)
        found = Found(made, encoder, quantiser)
        made.upsert(found.rows(TEXTS))
        made.flush()
        yield found


def test_a_text_is_found_by_its_words_and_by_forms_of_them(collection: Found) -> None:
    assert collection.ids("who approved the plan?")[0] == "t1"
    assert collection.ids("why does a gate refuse")[0] == "t0"
    assert collection.ids("duplcates datset")[0] == "t3"  # misspelt: by pieces of words


def test_a_row_is_replaced_by_its_id_and_can_be_deleted(collection: Found) -> None:
    changed = [*TEXTS[:1], "grace denied the plan on tuesday"]
    collection.collection.upsert(collection.rows(changed)[1:])
    assert collection.collection.count() == len(TEXTS)
    assert [one.text for one in collection.candidates("plan") if one.words] == [changed[1]]
    collection.collection.delete(["t1", "no such row"])
    assert collection.collection.count() == len(TEXTS) - 1


def test_a_filter_takes_any_value_as_a_value(collection: Found) -> None:
    assert set(collection.ids("the plan", is_one_of("kind", ["k0"]))) <= {"t0", "t2", "t4"}
    written = ('k0"] or seq >= 0 or kind in ["', "k0\\", "k0' or 1==1", "ключ", "\ud800", "a" * 9000)
    for value in (*written, "k0\0", "\x01", "k0\n", "\x1b[31m"):
        assert collection.ids("the plan", is_one_of("kind", [value])) == []


def test_any_text_can_be_written_and_asked(collection: Found) -> None:
    odd = ["", "?!", "\x00", "\ud83d", "拒绝了模型", "رفض", "x" * 100_000, "🚀"]
    collection.collection.upsert(collection.rows(odd))
    for text in odd:
        collection.ids(text)
    assert collection.ids("拒绝")[0] == "t4"


def test_rows_near_by_meaning_are_found_through_their_terms_as_by_comparing_every_vector() -> None:
    rng = random.Random(0)
    roots = ["".join(rng.choices("abcdefghijklmnop", k=8)) for _ in range(300)]
    endings = ["ing", "ed", "s", ""]
    texts = [" ".join(f"{root}{rng.choice(endings)}" for root in rng.choices(roots, k=6)) for _ in range(900)]
    encoder = TextEncoder.fit(texts)
    vectors = encoder.dense(texts)
    quantiser = VectorQuantiser.fit(vectors)
    told = quantiser.terms(vectors)
    assert all(len(terms) == PARTS for terms in told) and quantiser.terms(vectors[:1] * 0) == [{}]
    kept = 0
    for vector in encoder.dense(
        [" ".join(f"{word[:8]}y" for word in text.split()[:3]) for text in texts[:60]]
    ):
        question = quantiser.question(vector, 900)
        assert min(question.values()) > 0  # a Milvus server takes no negative weight
        score = [sum(question.get(term, 0.0) for term in terms) for terms in told]
        found = sorted(range(len(texts)), key=lambda at: -score[at])[:40]
        kept += int((vectors @ vector).argmax()) in found
    assert kept >= 50  # of 60, the nearest of 900 is among 40


def test_a_quantiser_is_the_same_after_it_was_saved(tmp_path: Path, encoder: TextEncoder) -> None:
    vectors = encoder.dense(TEXTS)
    quantiser = VectorQuantiser.fit(vectors)
    quantiser.save(tmp_path / "q")
    again = VectorQuantiser.load(tmp_path / "q")
    assert again.terms(vectors) == quantiser.terms(vectors) == VectorQuantiser.fit(vectors).terms(vectors)
    assert again.question(vectors[0], 6) == quantiser.question(vectors[0], 6)
    (tmp_path / "q").write_bytes(b"cut")
    with pytest.raises(IntegrityError, match="no quantiser"):
        VectorQuantiser.load(tmp_path / "q")


def test_an_encoder_is_the_same_after_it_was_saved(tmp_path: Path, encoder: TextEncoder) -> None:
    encoder.save(tmp_path / "encoder.safetensors")
    again = TextEncoder.load(tmp_path / "encoder.safetensors")
    assert again.digest == encoder.digest == TextEncoder.fit(TEXTS).digest
    assert (again.dense(TEXTS) == encoder.dense(TEXTS)).all()
    assert again.sparse(TEXTS[0]) == encoder.sparse(TEXTS[0])
    assert TextEncoder.fit(TEXTS[:-1]).digest != encoder.digest
    (tmp_path / "encoder.safetensors").write_bytes(b"cut")
    with pytest.raises(IntegrityError, match="no text encoder"):
        TextEncoder.load(tmp_path / "encoder.safetensors")


def test_milvus_lite_listens_on_no_port_and_its_socket_is_its_owners(tmp_path: Path) -> None:
    import psutil

    def ports() -> set[int]:
        connections = psutil.Process().net_connections("inet")
        return {one.laddr.port for one in connections if one.status == "LISTEN"}

    before = ports()  # of whatever else this process does
    with LiteServer(tmp_path / "data") as server:
        server.client.list_collections()
        assert ports() <= before
        sockets = [
            Path(str(one.laddr))
            for one in psutil.Process().net_connections("unix")
            if "opswright-milvus" in str(one.laddr)
        ]
        assert sockets and all(path.parent.stat().st_mode & 0o077 == 0 for path in sockets)


def published(tmp_path: Path, text: str) -> SnapshotFolder:
    folder = SnapshotFolder(tmp_path / "snapshots")
    files = tmp_path / "files"
    (files / "empty").mkdir(parents=True, exist_ok=True)
    (files / "data").write_text(text)
    with folder.writing():
        folder.publish(files, {"text": text})
    return folder


def test_a_reader_keeps_what_it_opened_while_another_publishes(tmp_path: Path) -> None:
    folder = published(tmp_path, "first")
    with folder.copied_current() as opened:
        assert opened is not None
        for text in ("second", "third", "fourth"):
            published(tmp_path, text)
        assert (opened[1] / "data").read_text() == "first" and (opened[1] / "empty").is_dir()
    with folder.copied_current() as opened:
        assert opened is not None and opened[0].facts == {"text": "fourth"}
    assert len(list(folder.folder.glob("s-*"))) == 2


@pytest.mark.parametrize("damage", ["cut", "removed", "added", "replaced"])
def test_a_snapshot_that_was_changed_is_not_opened(tmp_path: Path, damage: str) -> None:
    folder = published(tmp_path, "first")
    current = folder.current()
    assert current is not None
    place = folder.folder / current.name
    match damage:
        case "cut":
            (place / "data").write_text("fir")
        case "removed":
            (place / "data").unlink()
        case "added":
            (place / "more").write_text("x")
        case "replaced":
            (place / "snapshot.json").write_text('{"facts": {}, "files": {}}')
    with pytest.raises(IntegrityError), folder.copied_current():
        pass


def test_only_one_process_writes_and_a_killed_one_leaves_what_was_there(tmp_path: Path) -> None:
    folder = published(tmp_path, "first")
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from opswright.engines.vectors import SnapshotFolder, snapshots\n"
        "folder = SnapshotFolder(Path(sys.argv[1]))\n"
        "snapshots.write_atomically = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with folder.writing() as mine:\n    print(mine, flush=True)\n"
        "    folder.publish(Path(sys.argv[2]), {})\n"
    )
    command = [sys.executable, "-c", program, str(folder.folder), str(tmp_path / "files")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with folder.writing() as mine, folder.writing(wait=False) as other:
        assert mine and not other
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == -signal.SIGKILL and ended.stdout == "True\n"
    with folder.writing(wait=False) as mine, folder.copied_current() as opened:
        assert mine and opened is not None and (opened[1] / "data").read_text() == "first"
    published(tmp_path, "second")
    assert not list(folder.folder.glob(".s-*"))  # what the killed one left


def test_rows_that_mean_the_same_are_paired_and_rows_like_a_text_found(tmp_path: Path) -> None:
    texts = [*TEXTS, "on monday ada approved the plan", "drift raises alarms about new topics"]
    with SimilarTexts.of(texts, tmp_path / "similar") as index:
        pairs = index.pairs(texts, 0.7)
        assert {(one.first, one.second) for one in pairs} == {(1, 6), (5, 7)}
        assert [one.place for one in index.like("ada approved a plan", 2)] == [1, 6] or [
            one.place for one in index.like("ada approved a plan", 2)
        ] == [6, 1]
    with SimilarTexts.of(texts, tmp_path / "similar") as again:
        assert again.pairs(texts, 0.7) == pairs
