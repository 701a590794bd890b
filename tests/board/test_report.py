"""The document gets its table, and keeps its words."""

import pytest
from board_report import BEGIN, DOCUMENT, END, with_table


def test_the_table_is_replaced_and_the_rest_stays() -> None:
    once = with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n", {"boot, s": 7.349, "exposure": 0.4})
    assert once.startswith(f"before\n{BEGIN}\n|") and once.endswith(f"|\n{END}\nafter\n")
    assert "| boot, s | 7.3 |\n| exposure | 0.4 |" in once
    assert "old" not in once
    assert with_table(once, {"boot, s": 7.349, "exposure": 0.4}) == once


def test_a_document_without_its_marks() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        with_table("nothing", {})


def test_the_document_has_its_marks() -> None:
    with_table(DOCUMENT.read_text(encoding="utf-8"), {})
