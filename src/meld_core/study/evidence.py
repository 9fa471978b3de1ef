"""Finished cells as small archives, so that the evidence of a study travels with the repository.

An archive holds all that scores, curves and costs are computed from, and the final weights where other rows build on
them; no pictures, replay or checkpoints. Whoever has the archives scores every figure anew, or goes on with the rows
that are still missing, without training again what is finished.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from meld_core.metrics import METRICS_FILE
from meld_core.storage.files import make_folder, write_atomic
from meld_core.storage.spool import SUFFIX
from meld_core.study.cell import EVALUATION, EVALUATION_FILE, FACTS_FILE, Cell, is_finished
from meld_core.study.effort import EFFORT_FILE
from meld_core.study.table import StudyError
from meld_core.study.work import CURVE_FILE
from meld_core.weights import FINAL

_WEIGHTS = f"weights/{FINAL}"
_FILES = ("config.yaml", EVALUATION_FILE, EFFORT_FILE, METRICS_FILE, CURVE_FILE, FACTS_FILE)
_LARGEST = 64 * 2**20
"""No file of a cell is larger [bytes]; an archive that says otherwise is not ours."""


def archive_of(cell: Cell, folder: Path) -> Path:
    """Where a cell's archive lies."""
    return folder / f"{cell.folder.path.name}.tar.xz"


def pack(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write an archive of every finished cell that has none yet, or whose archive is of an earlier run of it.

    Equal cells give equal bytes. Weights go along where another row of `cells` borrows them.
    """
    borrowed = {cell.row.weights_of for cell in cells}
    written = []
    for cell in filter(is_finished, cells):
        target = archive_of(cell, folder)
        if target.is_file() and _facts_in(target) == (cell.folder.path / FACTS_FILE).read_bytes():
            continue
        make_folder(folder)
        write_atomic(target, _packed(cell, with_weights=cell.name in borrowed))
        written.append(target)
    return written


def unpack(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """Restore cells whose folder is missing from their archives; returns those that were restored.

    Raises:
        StudyError: where an archive is damaged, or holds what no cell has.
    """
    restored = []
    for cell in cells:
        archive = archive_of(cell, folder)
        if cell.folder.path.exists() or not archive.is_file():
            continue
        files = list(_read(archive))  # everything is checked before anything is written
        files.sort(key=lambda file: file[0] == FACTS_FILE)  # last: these facts say that the cell is finished
        for name, content in files:
            make_folder((cell.folder.path / name).parent)
            write_atomic(cell.folder.path / name, content)
        restored.append(cell)
    return restored


def _packed(cell: Cell, *, with_weights: bool) -> bytes:
    root = cell.folder.path
    names = [*_FILES, *([_WEIGHTS] if with_weights else [])]
    paths = [root / name for name in names if (root / name).is_file()] + sorted(cell.evaluation.glob(f"*{SUFFIX}"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in paths:
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(root).as_posix())  # no time, no owner: equal cells, equal bytes
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return lzma.compress(buffer.getvalue(), preset=6)


def _read(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of an archive."""
    try:
        whole = io.BytesIO(lzma.decompress(archive.read_bytes()))  # to its end: a cut archive is noticed here
        with tarfile.open(fileobj=whole) as tar:
            for member in tar:
                if not member.isreg() or not _belongs(member.name) or member.size > _LARGEST:
                    raise StudyError(f"{archive} holds '{member.name}', which is no part of a cell; remove the file")
                file = tar.extractfile(member)
                assert file is not None  # a regular file
                yield member.name, file.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise StudyError(f"{archive} is damaged ({error}); remove it, or fetch it again") from None


def _belongs(name: str) -> bool:
    path = PurePosixPath(name)
    return name in (*_FILES, _WEIGHTS) or (path.parts[:-1] == (EVALUATION,) and path.name.endswith(SUFFIX))


def _facts_in(archive: Path) -> bytes:
    return next((content for name, content in _read(archive) if name == FACTS_FILE), b"")
