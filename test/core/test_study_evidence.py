"""Archives of finished cells: whoever has them scores the same page, and goes on from there."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from meld_core.study.cell import FACTS_FILE, change_of, is_finished, write_facts
from meld_core.study.evidence import archive_of, pack, unpack
from meld_core.study.report import write_results
from meld_core.study.table import StudyError
from meld_core.weights import FINAL

from .study_builder import told_study


def test_a_study_scores_the_same_page_from_its_archives(tmp_path: Path) -> None:
    study, cells = told_study(tmp_path / "runs")
    write_results(study, cells, tmp_path / "docs", command="c", budget=1.0)
    archives = pack(cells, tmp_path / "evidence")
    assert len(archives) == sum(map(is_finished, cells)) > 0
    shutil.rmtree(tmp_path / "runs")
    restored = unpack(cells, tmp_path / "evidence")
    assert [archive_of(cell, tmp_path / "evidence") for cell in restored] == archives
    assert all(is_finished(cell) for cell in restored)
    write_results(study, cells, tmp_path / "again", command="c", budget=1.0)
    assert (tmp_path / "again" / "results.json").read_bytes() == (tmp_path / "docs" / "results.json").read_bytes()


def test_what_is_there_is_neither_packed_twice_nor_overwritten(tmp_path: Path) -> None:
    _, cells = told_study(tmp_path / "runs")
    first = pack(cells, tmp_path / "evidence")
    bytes_before = [path.read_bytes() for path in first]
    assert pack(cells, tmp_path / "evidence") == []
    assert unpack(cells, tmp_path / "evidence") == []
    write_facts(cells[0], {**(cells[0].facts() or {}), "finished": "later"})
    assert pack(cells, tmp_path / "evidence") == [archive_of(cells[0], tmp_path / "evidence")]
    for path in first:
        path.unlink()
    write_facts(cells[0], {**(cells[0].facts() or {}), "finished": ""})
    pack(cells[1:], tmp_path / "evidence")
    assert [path.read_bytes() for path in first[1:]] == bytes_before[1:], "equal cells give equal bytes"


def test_weights_go_along_only_where_another_row_borrows_them(tmp_path: Path) -> None:
    cells = told_study(tmp_path / "runs")[1][:4]
    for cell in cells:
        cell.folder.weights.mkdir()
        (cell.folder.weights / FINAL).write_bytes(b"weights")

    def holds(path: Path) -> bool:
        with tarfile.open(path) as tar:
            return f"weights/{FINAL}" in tar.getnames()

    lender, other = cells[0], cells[2]
    borrower = dataclasses.replace(other, row=dataclasses.replace(other.row, weights_of=lender.name))
    pack([lender, other], tmp_path / "none_borrows")
    assert not holds(archive_of(lender, tmp_path / "none_borrows"))
    facts = other.facts() or {}
    write_facts(borrower, {**facts, "recipe": {**facts["recipe"], "weights_of": lender.name}})
    pack([lender, borrower], tmp_path / "evidence")

    assert holds(archive_of(lender, tmp_path / "evidence"))
    assert not holds(archive_of(other, tmp_path / "evidence"))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [("times", 10.0, "times was 1.0, is 10.0"), ("agent", "search", "agent was untrained, is search"),
     ("steps_of", "a", "steps_of was , is a"), ("cpu_hours", 0.5, "cpu_hours was 2.0, is 0.5")],
)  # fmt: skip
def test_a_cell_whose_row_says_something_else_now_is_not_finished(
    tmp_path: Path, field: str, value: object, sentence: str
) -> None:
    """Beside the settings; a cell of before that was written down is believed."""
    cell = told_study(tmp_path)[1][0]
    row: dict[str, object] = {field: value}
    other = dataclasses.replace(cell, row=dataclasses.replace(cell.row, **row))  # type: ignore[arg-type]
    assert is_finished(cell)
    assert not is_finished(other)
    assert change_of(other) == sentence
    path = cell.folder.path / FACTS_FILE
    path.write_text(json.dumps({k: v for k, v in (cell.facts() or {}).items() if k != "recipe"}))
    assert is_finished(other)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "evaluation/../x.safetensors", "replay/a.safetensors"])
def test_an_archive_cannot_write_what_no_cell_has(tmp_path: Path, name: str) -> None:
    _, cells = told_study(tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs")
    archive = archive_of(cells[0], tmp_path)
    with tarfile.open(archive, "w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(StudyError, match="which is no part of a cell"):
        unpack(cells, tmp_path)
    assert not cells[0].folder.path.exists()


def test_a_damaged_archive_is_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    _, cells = told_study(tmp_path / "runs")
    (archive, *_) = pack(cells, tmp_path / "evidence")
    archive.write_bytes(archive.read_bytes()[:-40])
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(StudyError, match="is damaged"):
        unpack(cells[:1], tmp_path / "evidence")
    assert not cells[0].folder.path.exists()
