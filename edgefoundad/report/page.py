"""A self-contained HTML page: nothing outside the file is needed, and no script runs in it."""

from __future__ import annotations

import base64
import contextlib
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edgefoundad.errors import InputError
from edgefoundad.heatmap import HOTTEST, SHOWN_FROM, Rgb, overlay

_JPEG_QUALITY = 86

# Blue and vermilion are told apart with every common kind of colour blindness.
_STYLE = """
:root{color-scheme:light;--paper:#fff;--ink:#1b2024;--quiet:#5b656e;--rule:#dce1e5;
--panel:#f5f7f8;--good:#0072b2;--defect:#d55e00;--fault:#a83c00;--beyond:#d55e000f;
--first:#00795a;--second:#9a4f86}
@media screen and (prefers-color-scheme:dark){:root{color-scheme:dark;--paper:#14181b;
--ink:#e2e6e9;--quiet:#98a3ab;--rule:#2e363c;--panel:#1b2125;--good:#56a8dc;--defect:#ec7f35;
--fault:#f39a5c;--beyond:#ec7f3514;--first:#35b58f;--second:#d58fc0}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1100px;margin:0 auto;padding:56px 32px 72px}
h1,h2,h3{line-height:1.25;font-weight:600;overflow-wrap:anywhere}
h1{font-size:32px;letter-spacing:-.01em;margin:0}
h2{font-size:20px;margin:0 0 10px}
h3{font-size:16px;margin:32px 0 12px}
section{border-top:1px solid var(--rule);margin-top:48px;padding-top:28px}
p{margin:0 0 12px;max-width:700px;overflow-wrap:anywhere}
.kind{color:var(--quiet);font-size:13px;letter-spacing:.06em;text-transform:uppercase;
margin:0 0 6px}
.lead{font-size:18px;margin-top:16px;max-width:780px}
.quiet,figcaption,.card span,.legend{color:var(--quiet);font-size:14px}
.note{border-left:3px solid var(--good);background:var(--panel);padding:14px 18px;margin:20px 0 0;
max-width:780px}
.note p:last-child{margin:0}
.warning{border-color:var(--defect)}
.cards{display:grid;grid-template-columns:repeat(6,1fr);gap:1px;
background:var(--rule);border:1px solid var(--rule);margin-top:28px}
.card{background:var(--paper);padding:16px 18px}
.card b{display:block;font-size:26px;font-weight:600;line-height:1.3;white-space:nowrap}
.card span{display:block;line-height:1.4}
.scroll{overflow-x:auto}
.scroll+p{margin-top:14px}
table{border-collapse:collapse;font-size:15px}
th,td{padding:7px 28px 7px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{color:var(--quiet);font-size:13px;font-weight:500;white-space:nowrap}
tbody th{font-weight:500}
.n{text-align:right;white-space:nowrap}
.facts{width:100%}
.facts th{color:var(--quiet);font-weight:400;width:220px}
.versus{table-layout:fixed}
.versus th:first-child{width:24%}
.versus td{padding-right:18px}
.versus thead th{width:auto;color:var(--ink);font-size:15px;font-weight:600;white-space:normal;
overflow-wrap:anywhere}
.facts td{overflow-wrap:anywhere;padding-right:0}
.choice{table-layout:fixed;width:100%;margin-top:18px}
.choice th:first-child{width:52%}
.choice th,.choice td{padding:9px 12px}
.choice small{display:block;color:var(--quiet);font-size:13px;font-weight:400;line-height:1.4}
.choice .merit{font-weight:600}
.choice .chosen>*{background:var(--panel)}
.choice .chosen>th{box-shadow:inset 3px 0 var(--good)}
.mark{background:var(--good);color:var(--paper);border-radius:3px;padding:1px 7px;margin-left:4px;
font-size:12px;white-space:nowrap}
.bar{display:block;height:3px;margin-top:4px;background:var(--rule)}
.bar i{display:block;height:100%;background:var(--good)}
details{margin-top:14px}
summary{color:var(--quiet);font-size:14px;cursor:pointer}
.choice+p,details+p{margin-top:18px}
.chart{display:block;overflow:visible;margin:20px 0 8px;max-width:900px;font-size:12.5px}
.chart text{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px;
stroke-linejoin:round}
.chart .tick{fill:var(--quiet)}
.chart .label,.chart .threshold-label{font-weight:600}
.chart .axis{stroke:var(--quiet)}
.chart .beyond{fill:var(--beyond)}
.chart .threshold{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 3}
.chart .good{fill:var(--good);stroke:var(--paper)}
.chart .defect{fill:var(--defect);stroke:var(--paper)}
.chart .first{fill:var(--first);stroke:var(--paper)}
.chart .second{fill:var(--second);stroke:var(--paper)}
.chart .grid{stroke:var(--rule)}
.chart .guess{stroke:var(--quiet);stroke-dasharray:2 4}
.chart .curve{fill:none;stroke-width:2.5;stroke-linejoin:round}
.chart .good-line{stroke:var(--good)}
.chart .first-line{stroke:var(--first)}
.chart .second-line{stroke:var(--second);stroke-dasharray:7 4}
.roc{max-width:100%;height:auto}
.beside{display:flex;flex-wrap:wrap;gap:4px 48px;align-items:center}
.beside>*{flex:0 1 auto}
.beside>div{flex:1 1 280px;max-width:560px}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));
gap:28px 32px;margin-top:18px}
.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));gap:20px 24px}
.wide{grid-template-columns:minmax(0,900px)}
figure{margin:0;break-inside:avoid}
figure div{display:flex;gap:4px}
figure img{flex:1 1 0;min-width:0;width:50%;height:auto;align-self:flex-start;
background:var(--panel)}
figcaption{margin-top:8px;line-height:1.45;overflow-wrap:anywhere}
figcaption b{color:var(--ink);font-weight:600}
figcaption span.part{flex:1 1 0;min-width:0}
.fault{color:var(--fault);font-weight:600}
.right{color:var(--good);font-weight:600}
.legend{max-width:440px;margin:18px 0 6px}
.legend p{margin-bottom:8px}
.legend img{display:block;width:100%;height:14px}
.legend div{position:relative;height:40px;margin-top:4px}
.legend span{position:absolute;transform:translateX(-50%);text-align:center;line-height:1.3;
white-space:nowrap}
.legend span:first-child{transform:none;text-align:left}
.legend span:last-child{transform:translateX(-100%);text-align:right}
@media (max-width:960px){.cards{grid-template-columns:repeat(3,1fr)}}
@media (max-width:600px){main{padding:28px 16px 48px}h1{font-size:26px}.lead{font-size:17px}
section{margin-top:36px;padding-top:22px}.cards{grid-template-columns:1fr 1fr}
.card{padding:12px 14px}.card b{font-size:22px}.facts th{width:38%;padding-right:14px}
th,td,.versus td{padding-right:12px}.versus{font-size:14px}
.choice,.choice thead,.choice tbody{display:block}
.choice tr{display:grid;grid-template-columns:repeat(4,1fr);border-bottom:1px solid var(--rule)}
.choice th,.choice td{border:0;padding:2px 6px 9px;font-size:14px}.choice thead th{font-size:12px}
.choice tbody th:first-child{grid-column:1/-1;width:auto;padding:9px 6px 2px}
.choice thead th:first-child{display:none}}
@media print{body{font-size:11pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
main{padding:0;max-width:none}h2,h3{break-after:avoid}tr,.cards,.chart,.note{break-inside:avoid}
.cards{grid-template-columns:repeat(3,1fr)}.pairs{grid-template-columns:1fr 1fr}
.small{grid-template-columns:repeat(3,1fr)}}
"""

# Even markup that slipped through unescaped could load and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(path: Path, title: str, body: Iterable[str]) -> None:
    """Write a page, whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        title: plain text.
        body: HTML.

    Raises:
        InputError: the folder cannot be written to.
    """
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A file name may hold bytes that are no text; "?" stands for those.
        partial.write_bytes(page.encode("utf-8", "replace"))
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise InputError(f"cannot write {path}: {error.strerror}: choose another file") from None


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text; `style` is a class of the style sheet."""
    return f'<p class="{style}">{html.escape(text)}</p>' if style else f"<p>{html.escape(text)}</p>"


def section(title: str, *body: str) -> str:
    """A headed part of the page; `body` is HTML."""
    return f"<section>\n<h2>{html.escape(title)}</h2>\n" + "\n".join(body) + "\n</section>"


def beside(chart: str, *body: str) -> str:
    """A narrow chart with what is said of it at its side, or below on a phone; HTML."""
    return f'<div class="beside">{chart}<div>{"".join(body)}</div></div>'


def note(*texts: str, warning: bool = False) -> str:
    """Plain text set apart, its first sentence in bold."""
    first, *rest = texts
    style = "note warning" if warning else "note"
    bold = f"<p><b>{html.escape(first)}</b></p>"
    return f'<div class="{style}">{bold}{"".join(paragraph(text) for text in rest)}</div>'


def cards(figures: Iterable[tuple[str, str, str]]) -> str:
    """Figures to see first: name, value and remark of each, plain text."""
    return '<div class="cards">{}</div>'.format(
        "".join(
            f'<div class="card"><span>{html.escape(name)}</span><b>{html.escape(value)}</b>'
            f"<span>{html.escape(remark)}</span></div>"
            for name, value, remark in figures
        )
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text: the first column names the row, the others are numbers."""
    heading = "".join(f'<th class="n">{html.escape(head)}</th>' for head in heads[1:])
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f'<td class="n">{html.escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr><th>{html.escape(heads[0])}</th>{heading}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def facts(rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """Names with their value, or with a value for each of the heads after the first; plain text."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        + "".join(f"<td>{html.escape(value)}</td>" for value in values)
        + "</tr>"
        for name, *values in rows
    )
    heading = f"<thead><tr>{head}</tr></thead>" if head else ""
    style = "facts versus" if head else "facts"
    return f'<table class="{style}">{heading}<tbody>{body}</tbody></table>'


def figure(pictures: Iterable[tuple[Rgb, str]], caption: str) -> str:
    """Pictures side by side, each with its description (plain text), over a caption (HTML)."""
    images = "".join(_image(picture, description) for picture, description in pictures)
    return f"<figure><div>{images}</div><figcaption>{caption}</figcaption></figure>"


def figures(items: Iterable[str], *, style: Literal["", "small", "wide"] = "") -> str:
    """A grid of figures: of pairs, of small pairs, or of three pictures each, one a row."""
    return f'<div class="{f"pairs {style}".strip()}">{"".join(items)}</div>'


def under(*captions: str) -> str:
    """A caption in as many parts as there are pictures, one under each; HTML."""
    parts = "".join(f'<span class="part">{caption}</span>' for caption in captions)
    return f"<div>{parts}</div>"


def heat_legend() -> str:
    """What the colours of a heat map mean, drawn by the same code as the maps."""
    ramp = np.linspace(SHOWN_FROM, HOTTEST, 400, dtype=np.float32)[None].repeat(14, axis=0)
    bar = overlay(np.full((14, 400, 3), 128, np.uint8), ramp, 1.0)
    marks = (SHOWN_FROM, 1.0, 1.5, 2.0, HOTTEST)
    labels = "".join(
        f'<span style="left:{100 * (mark - SHOWN_FROM) / (HOTTEST - SHOWN_FROM):.1f}%">{mark:g} ×'
        f"{'<br>threshold' if mark == 1 else ''}</span>"
        for mark in marks
    )
    said = (
        "Heat maps are coloured relative to the detector's threshold. Below "
        f"{SHOWN_FROM:g} × the threshold a frame stays grey."
    )
    return (
        f'<div class="legend">{paragraph(said)}{_image(bar, "colours of the heat maps")}'
        f"<div>{labels}</div></div>"
    )


def _image(rgb: Rgb, description: str) -> str:
    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not ok:
        raise ValueError(f"OpenCV cannot encode a picture of {rgb.shape}")
    height, width = rgb.shape[:2]
    return (
        f'<img alt="{html.escape(description)}" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'
    )
