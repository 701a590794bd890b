"""The document gets its tables, and keeps its words."""

import pytest
from board_report import BEGIN, DOCUMENT, END, held, with_table

REPORT = """<testsuites><testsuite>
<testcase classname="tests.board.test_power" name="test_while_the_log_is_written[0]" />
<testcase classname="tests.board.test_power" name="test_while_the_log_is_written[1]" />
<testcase classname="tests.board.test_board" name="test_locked_in" />
<testcase classname="tests.board.test_board" name="test_left_out"><skipped /></testcase>
<testcase classname="tests.board.test_board" name="test_red"><failure /></testcase>
<testcase classname="tests.board.test_report" name="test_of_this_file" />
</testsuite></testsuites>"""


def test_only_what_passed_on_a_board_held() -> None:
    assert held(REPORT) == ["power: while the log is written", "board: locked in"]


def test_the_tables_are_replaced_and_the_rest_stays() -> None:
    figures, passed = {"boot, s": 7.349, "exposure": 0.4}, ["power: cut"]
    once = with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n", figures, passed)
    assert once.startswith(f"before\n{BEGIN}\n|") and once.endswith(f"|\n{END}\nafter\n")
    assert "| boot, s | 7.3 |\n| exposure | 0.4 |" in once
    assert "| power: cut |" in once
    assert "old" not in once
    assert with_table(once, figures, passed) == once


def test_a_document_without_its_marks() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        with_table("nothing", {}, [])


def test_the_document_has_its_marks() -> None:
    with_table(DOCUMENT.read_text(encoding="utf-8"), {}, [])
