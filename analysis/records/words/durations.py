"""How long something took, in words: the one form wherever a time is told."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """In the two largest units, rounded to what is shown: "4.2 s", "42 s", "2m 09s", "1h 05m",
    "2d 07h".
    """
    if round(seconds, 1) < 10:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d {hours % 24:02}h"
