"""The DDL splitter, on our own files and on text that could mislead it."""

from pathlib import Path

import pytest

from deploy import schema


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        ("  ;;\n; -- nothing\n", []),
        ("CREATE TABLE a (b INT64);\nDROP TABLE a;", ["CREATE TABLE a (b INT64)", "DROP TABLE a"]),
        ("-- one; two\nDROP TABLE a; -- three;\n", ["DROP TABLE a"]),
        ("DROP/* ; */TABLE a;", ["DROP TABLE a"]),
        ("# one;\nDROP TABLE a;", ["DROP TABLE a"]),
        ("SELECT 'a;--b';", ["SELECT 'a;--b'"]),
        (r"SELECT 'it\'s;', r'\;';", [r"SELECT 'it\'s;', r'\;'"]),
        ('SELECT \'\'\'it\'s;\n"\'\'\'; SELECT """a";""";', ["SELECT '''it's;\n\"'''", 'SELECT """a";"""']),
        ("DROP TABLE `a;b`;", ["DROP TABLE `a;b`"]),
        ("SELECT 6 / 2 - 1;", ["SELECT 6 / 2 - 1"]),
    ],
)
def test_split(sql: str, expected: list[str]) -> None:
    assert schema.split(sql) == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE a;\nDROP TABLE b", "no semicolon: 'DROP TABLE b'"),
        ("SELECT 1;\nSELECT 'a;\nSELECT 2;", "line 2: ' is not closed"),
        ("/* DROP TABLE a;", r"line 1: /\* is not closed"),
    ],
)
def test_split_refuses_what_is_cut_short(sql: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schema.split(sql)


def test_files_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "0010_later.sql").write_text("DROP TABLE b;")
    (tmp_path / "9_earlier.sql").write_text("DROP TABLE a;")
    (tmp_path / "notes.md").write_text("not DDL;")
    assert schema.statements(tmp_path) == ["DROP TABLE a", "DROP TABLE b"]


@pytest.mark.parametrize("names", [["event_log.sql"], ["01_a.sql", "1_b.sql"]])
def test_files_without_an_order_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"NUMBER_name\.sql|same number"):
        schema.ddl_files(tmp_path)


def test_a_problem_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "0001_cut.sql").write_text("DROP TABLE")
    with pytest.raises(ValueError, match=r"^0001_cut\.sql: "):
        schema.statements(tmp_path)


def test_our_own_statements_are_plain_ddl() -> None:
    found = schema.statements()
    assert any(statement.startswith("CREATE TABLE NestEventLog") for statement in found)
    assert all(statement.startswith(("CREATE", "ALTER", "DROP")) for statement in found)
    assert not any("--" in statement or ";" in statement for statement in found)
