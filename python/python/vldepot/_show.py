"""A depot as a page of a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._vldepot import Depot

_SAMPLE = 2000
_BARS = 24


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


def _field(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return f"{dtype} {list(value.shape)}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_field(item)}" for name, item in value.items())
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _chart(lengths: list[int]) -> str:
    """A bar chart of how many records have which length."""
    least, most = min(lengths), max(lengths)
    n = 1 if least == most else min(_BARS, most - least + 1)
    bars = [0] * n
    for length in lengths:
        bars[min(n - 1, (length - least) * n // max(1, most - least))] += 1
    width, height, top = 10, 60, max(bars)
    rects = "".join(
        f'<rect x="{x * width}" y="{height - round(height * bar / top)}" width="{width - 1}" '
        f'height="{round(height * bar / top)}" fill="currentColor" opacity="0.6"/>'
        for x, bar in enumerate(bars)
    )
    label = f"{_bytes(least)} to {_bytes(most)}"
    return (
        f'<svg width="{n * width}" height="{height}" role="img" aria-label="record lengths, {label}">{rects}</svg>'
        f"<br><small>{label}</small>"
    )


def html(depot: Depot[Any]) -> str:
    """What is in the depot: records, size, the fields of the first record, preset, a chart of the lengths."""
    if depot.closed:
        return escape(repr(depot))
    info = depot.info()
    layout = info.layout
    codec = depot.codec if isinstance(depot.codec, str) else type(depot.codec).__name__
    rows = [
        ("file", escape(info.path) + (" (open for writing)" if depot.writable else "")),
        ("records", f"{info.records:,} of <code>{escape(codec)}</code>"),
        ("size", f"{_bytes(info.raw_bytes)} in a file of {_bytes(info.file_bytes)} (ratio {info.ratio:.2f})"),
        ("layout", f"{layout.preset or 'own'}: {layout.compression} {layout.level}, {layout.filter}"),
    ]
    if not info.complete:
        rows.append(("damage", "the file lost a commit"))
    if info.records:
        name = depot.names_at(0)
        try:
            value = depot.at(0)
            fields = value.to_dict() if hasattr(value, "to_dict") else {"value": value}
            listed = "<br>".join(
                f"<code>{escape(key)}</code> {escape(_field(item))}" for key, item in fields.items()
            )
        except Exception as error:  # noqa: BLE001 - a page shows what is wrong
            listed = escape(str(error))
        rows.append((f"first record, <code>{escape(repr(name))}</code>", listed))
        try:
            rows.append(("record lengths", _chart(depot._some_lengths(_SAMPLE))))
        except Exception as error:  # noqa: BLE001 - as above
            rows.append(("record lengths", escape(str(error))))
    body = "".join(
        f'<tr><th style="text-align: left; vertical-align: top">{name}</th>'
        f'<td style="text-align: left">{value}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption>vldepot.Depot</caption><tbody>{body}</tbody></table>"
