"""The Spanner DDL as statements, in the order in which they are applied.

Split by hand: sqlparse, which google-cloud-spanner brings along, divides a file that was cut short without an error and
does not know GoogleSQL's triple quotes (0.6.1). sqlglot has no dialect for Spanner's DDL, and would write it anew.
"""

import re
from pathlib import Path
from typing import Final

DDL_DIRECTORY: Final = Path(__file__).parent / "spanner"

_FILE_NAME: Final = re.compile(r"(\d+)_\w+\.sql")

# GoogleSQL's lexical rules, as far as they can hide a semicolon or a comment. Triple quotes come first, or each would
# match as three single ones. A quote that no alternative closes is an error, not text.
_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* | \#[^\n]* | /\*.*?\*/ )
    | (?P<quoted>
          '''(?:\\.|[^\\])*?'''
        | \"\"\"(?:\\.|[^\\])*?\"\"\"
        | '(?:\\.|[^'\\\n])*'
        | "(?:\\.|[^"\\\n])*"
        | `(?:\\.|[^`\\\n])*` )
    | (?P<unclosed> ['"`] | /\* )
    | (?P<end> ; )
    | (?P<text> [^'"`;\#/-]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def ddl_files(directory: Path = DDL_DIRECTORY) -> list[Path]:
    """The numbered files, by number.

    Raises:
        ValueError: A `.sql` file has no number, or two have the same one, so that their order is undefined.
    """
    by_number: dict[int, Path] = {}
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path}: a DDL file is named NUMBER_name.sql")
        other = by_number.setdefault(int(match[1]), path)
        if other is not path:
            raise ValueError(f"{other.name} and {path.name} have the same number")
    return [by_number[number] for number in sorted(by_number)]


def statements(directory: Path = DDL_DIRECTORY) -> list[str]:
    """Every statement of every file, in order, as the admin API takes them: without comments and semicolons.

    Raises:
        ValueError: As `ddl_files` and `split`; the message names the file.
    """
    found: list[str] = []
    for path in ddl_files(directory):
        try:
            found += split(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return found


def split(sql: str) -> list[str]:
    """The statements of a text, in which each ends with a semicolon.

    Raises:
        ValueError: A quote or comment is not closed, or the last statement has no semicolon: the file may be cut short.
    """
    found: list[str] = []
    current = ""
    for token in _TOKEN.finditer(sql):
        match token.lastgroup:
            case "unclosed":
                line = sql.count("\n", 0, token.start()) + 1
                raise ValueError(f"line {line}: {token[0]} is not closed")
            case "comment":
                # A comment separates words as a space does.
                current += " "
            case "end":
                found += [current.strip()] if current.strip() else []
                current = ""
            case _:
                current += token[0]
    if current.strip():
        raise ValueError(f"the last statement has no semicolon: {current.strip()[:60]!r}")
    return found
