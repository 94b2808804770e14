"""Numbers, durations, dates and cut texts, as every view writes them."""

from __future__ import annotations

from datetime import datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def duration(seconds: float) -> str:
    """Seconds in words: 7.3 s, 42 s, 2 min 05 s, 1 h 02 min. An int, which still counts up, has no tenths."""
    if isinstance(seconds, float) and seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"


def date(when: datetime) -> str:
    """The day and the time of day here: 24 Nov 14:03, with the year where it is another than now."""
    local, now = when.astimezone(), datetime.now().astimezone()
    year = "" if local.year == now.year else f" {local.year}"
    return f"{local.day} {_MONTHS[local.month - 1]}{year} {local:%H:%M}"


def data_size(size: int) -> str:
    """A number of bytes: 512 bytes, 1.4 MB, 300 MB. A MB has 2**20 bytes, as in the limits of files."""
    unit, name = _unit(size)
    return quantity(size, "byte") if unit == 1 else f"{_in_units(size, unit, size)} {name}"


def data_progress(done: int, size: int) -> str:
    """How many of so many bytes are done: 12 of 300 MB."""
    return f"{_in_units(done, _unit(size)[0], size)} of {data_size(size)}"


def _unit(size: int) -> tuple[int, str]:
    units = ((2**30, "GB"), (2**20, "MB"), (2**10, "KB"))
    return next((unit for unit in units if size >= unit[0]), (1, ""))


def _in_units(part: int, unit: int, size: int) -> str:
    return f"{part / unit:.1f}" if unit > 1 and size / unit < 9.95 else f"{part / unit:,.0f}"


def quantity(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 answer, 1,200 answers; the plural is given where it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def one_line(text: str, limit: int) -> str:
    """The beginning of a text, on one line."""
    return cut(" ".join(text.lstrip()[: 4 * limit].split()), limit)


def cut(text: str, limit: int) -> str:
    """The beginning of a text that is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def cut_counted(text: str, limit: int) -> str:
    """The first `limit` characters of a text, and a line that says how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]}\n… {len(text) - limit:,} characters more"


def cut_start(text: str, limit: int) -> str:
    """The end of a text that is longer than `limit` characters."""
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def cut_middle(text: str, limit: int) -> str:
    """Beginning and end of a long text, which say most, and between them how much is left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters more …\n{text[-half:]}"
