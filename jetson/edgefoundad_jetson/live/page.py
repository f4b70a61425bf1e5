"""The page around the stream: complete in itself, and honest about a picture that stands still."""

from __future__ import annotations

import base64
import hashlib
import html

_STYLE = """
:root{color-scheme:dark}
*{box-sizing:border-box}
html,body{height:100%;margin:0}
body{display:flex;flex-direction:column;background:#14181b;color:#e2e6e9;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main{position:relative;flex:1 1 0;min-height:240px;display:flex}
main img{flex:1 1 0;min-width:0;min-height:0;width:100%;object-fit:contain;transition:opacity .3s}
main img:not([src]){visibility:hidden}
.old main img{opacity:.25}
#said{position:absolute;inset:0;display:none;align-items:center;justify-content:center;
padding:16px;text-align:center;font-size:clamp(22px,4.5vmin,52px);font-weight:650}
.old #said{display:flex}
#said span{background:#b9a6d6;color:#14181b;padding:.3em .9em;border-radius:4px;
overflow-wrap:anywhere}
footer{flex:none;border-top:1px solid #2e363c;background:#1b2125;color:#98a3ab;font-size:14px;
padding:7px 16px;max-height:40vh;overflow:auto}
summary{cursor:pointer;display:flex;gap:8px 24px;flex-wrap:wrap;list-style:none}
summary::-webkit-details-marker{display:none}
summary b{color:#e2e6e9;font-weight:600;overflow-wrap:anywhere}
summary .more{margin-left:auto}
summary .more::before{content:"\\25b8  "}
[open] .more::before{content:"\\25be  "}
:focus-visible{outline:2px solid #56a8dc;outline-offset:3px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:10px 24px;
margin:12px 0 6px}
dl div{min-width:0}
dt{line-height:1.3}
dd{margin:0;color:#e2e6e9;font-size:17px;overflow-wrap:anywhere}
"""

_SCRIPT = """
'use strict';
const picture = document.querySelector('img'), said = document.querySelector('#said span');
const state = document.querySelector('#state'), list = document.querySelector('dl');
const details = document.querySelector('details');
const pause = ms => new Promise(done => setTimeout(done, ms));
let trouble = 'connecting', last = 0, connected = 0;

function tell() {
  const now = Date.now(), since = Math.floor((now - (last || connected || now)) / 1000);
  let text = trouble;
  if (!text && (since >= 2 || !last))
    text = last ? `no frame for ${since} s` : 'waiting for a frame';
  document.body.classList.toggle('old', Boolean(text));
  if (text && said.textContent !== text) said.textContent = text;
  state.textContent = text ? '' : 'live';
}

async function show(jpeg) {
  const address = URL.createObjectURL(new Blob([jpeg], {type: 'image/jpeg'})), old = picture.src;
  picture.src = address;
  try { await picture.decode(); } catch { }
  if (old) URL.revokeObjectURL(old);
  last = Date.now();
  tell();
}

const ends = bytes => {
  for (let i = 3; i < bytes.length; i++)
    if (bytes[i] === 10 && bytes[i - 1] === 13 && bytes[i - 2] === 10 && bytes[i - 3] === 13)
      return i + 1;
  return 0;
};

async function read(stream) {
  const reader = stream.getReader();
  let held = new Uint8Array(0);
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const more = new Uint8Array(held.length + value.length);
    more.set(held); more.set(value, held.length); held = more;
    for (let start; (start = ends(held.subarray(0, 4096)));) {
      const head = new TextDecoder().decode(held.subarray(0, start));
      const length = Number(/content-length: *(\\d+)/i.exec(head)?.[1]);
      if (held.length < start + length) break;
      const jpeg = held.slice(start, start + length);
      held = held.slice(start + length);
      await show(jpeg);
    }
  }
}

async function follow() {
  for (;;) {
    if (document.hidden) {
      // Nobody looks: the station need not draw.
      await new Promise(done => document.addEventListener('visibilitychange', done, {once: true}));
      continue;
    }
    const given_up = new AbortController(), hide = () => document.hidden && given_up.abort();
    document.addEventListener('visibilitychange', hide);
    try {
      const answer = await fetch('stream.mjpg', {cache: 'no-store', signal: given_up.signal});
      if (!answer.ok) throw new Error(await answer.text());
      trouble = ''; connected = Date.now(); last = 0; tell();
      await read(answer.body);
      trouble = 'the station has stopped: trying again';
    } catch (error) {
      trouble = error instanceof TypeError ? 'the station does not answer: trying again'
        : error.name === 'AbortError' ? 'connecting' : error.message;
    }
    document.removeEventListener('visibilitychange', hide);
    tell();
    await pause(1000);
  }
}

function flat(counts, before = '') {
  return Object.entries(counts).flatMap(([name, value]) => {
    const full = before + name.replaceAll('_', ' ');
    return value && typeof value === 'object' && !Array.isArray(value)
      ? flat(value, full + ': ') : [[full, value]];
  });
}

async function count() {
  for (;; await pause(2000)) {
    if (!details.open || document.hidden) continue;
    try {
      const answer = await fetch('stats.json', {cache: 'no-store'});
      if (!answer.ok) continue;
      list.replaceChildren(...flat(await answer.json()).map(([name, value]) => {
        const row = document.createElement('div'), term = document.createElement('dt');
        const figure = document.createElement('dd');
        term.textContent = name; figure.textContent = value === null ? '\\u2013' : String(value);
        row.append(term, figure);
        return row;
      }));
    } catch { }
  }
}

tell(); setInterval(tell, 500); follow(); count();
"""


def page_of(name: str) -> tuple[bytes, str]:
    """The page, and the policy under which a browser may show it.

    Args:
        name: of the station or the bundle.

    Returns:
        the HTML, and the value of its `Content-Security-Policy`: nothing is loaded from anywhere
        else, and no script runs but the page's own.
    """
    title = html.escape(name)
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        '<body>\n<main>\n<img alt="What the station sees, and what it says of it">\n'
        '<noscript><img src="stream.mjpg" alt="What the station sees"></noscript>\n'
        '<div id="said" role="status"><span>connecting</span></div>\n</main>\n'
        f"<footer><details><summary><b>{title}</b>"
        '<span id="state"></span><span class="more">counts</span></summary>\n'
        f"<dl></dl></details></footer>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )
    policy = (
        "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'self'; style-src {_hash(_STYLE)}; "
        f"script-src {_hash(_SCRIPT)}"
    )
    return page.encode("utf-8", "replace"), policy


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
