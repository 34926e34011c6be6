"""Elastic tab stops: cells end with a tab, and a column is as wide as its widest cell over adjacent lines."""

_ESCAPES = str.maketrans({"\x1b": "^[", "\r": "\\r"})


def printable(text: str) -> str:
    """The text without the characters that would let an object's content steer the terminal."""
    return text.translate(_ESCAPES)


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    width = 0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
            continue
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width


def align(text: str, *, padding: int = 2, width_min: int = 0, widths: list[int] | None = None) -> str:
    """Text with its tabs replaced by spaces; the last cell of a line is left as it is.

    widths: the least width of each column, grown to what was used, for tables printed in several parts.
    """
    rows = [line.split("\t") for line in text.split("\n")]
    sizes = [[0] * (len(row) - 1) for row in rows]
    for column in range(max((len(row) for row in rows), default=1) - 1):
        start = 0
        while start < len(rows):
            if len(rows[start]) - 1 <= column:
                start += 1
                continue
            end = start
            while end < len(rows) and len(rows[end]) - 1 > column:
                end += 1
            size = max(display_width(row[column]) + padding for row in rows[start:end])
            size = max(size, width_min)
            if widths is not None:
                widths.extend([0] * (column + 1 - len(widths)))
                size = widths[column] = max(size, widths[column])
            for index in range(start, end):
                sizes[index][column] = size
            start = end
    return "\n".join(_line(row, size) for row, size in zip(rows, sizes, strict=True))


def _line(row: list[str], sizes: list[int]) -> str:
    parts = [cell + " " * (size - display_width(cell)) for cell, size in zip(row[:-1], sizes, strict=True)]
    return "".join([*parts, row[-1]])
