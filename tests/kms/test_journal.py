"""The key process's log while a command beside the serving process appends to it too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from kms.journal import DESTROY, BrokenJournal, Journal, read


def test_two_that_append_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as serving:
        serving.record("unwrap", "a", 0, "00", "done")
        with closing(Journal(path)) as beside:
            beside.record(DESTROY, "b", 0, "kek/1/x", "granted")
            serving.record("unwrap", "a", 0, "01", "done")
            beside.record(DESTROY, "b", 0, "kek/1/x", "done")
        serving.record("unwrap", "a", 0, "02", "done")
    assert [entry.what for _, entry in read(path)] == ["00", "kek/1/x", "01", "kek/1/x", "02"]


def test_a_line_slipped_in_while_it_serves_still_shows(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as serving:
        serving.record("unwrap", "a", 0, "00", "done")
        with path.open("ab") as file:
            file.write(path.read_bytes().replace(b'"what":"00"', b'"what":"11"'))
        serving.record("unwrap", "a", 0, "02", "done")
    with pytest.raises(BrokenJournal, match="line 2"):
        list(read(path))
