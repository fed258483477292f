"""The style sheet of the report. No font or image from outside; colours follow the reader's light or dark setting."""

CSS = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #22252a; --soft: #6a7078; --edge: #e3e3df;
  --fwm: #2f6db5; --idm: #b8741a; --one: #3f8f7a; --two: #9a5a9f; --other: #b9bcc0;
  --up: #1b7a48; --upback: #e3f3ea; --down: #b3372f; --downback: #fbe7e5;
  --extra: #8a5a10; --extraback: #fbefd9; --newback: #e6eefb; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181b; --card: #1e2125; --ink: #e4e5e7; --soft: #9aa0a8; --edge: #32363c;
    --fwm: #7db0ea; --idm: #e0a458; --one: #74c2ab; --two: #cb93cf; --other: #565b62;
    --up: #79d3a2; --upback: #1b3a2a; --down: #f0938b; --downback: #46241f;
    --extra: #e8bb78; --extraback: #43341a; --newback: #223248; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 44px 0 4px; }
h4 { font-size: .78rem; font-weight: 600; color: var(--soft); margin: 10px 0 4px; overflow-wrap: anywhere; }
h4:first-child { margin-top: 0; }
.sub, .note { color: var(--soft); font-size: .88rem; margin: 4px 0 12px; overflow-wrap: anywhere; }
.lead { font-size: 1.08rem; max-width: 68ch; margin: 18px 0 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--edge); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: 7px 14px; text-align: right; white-space: nowrap; border-top: 1px solid var(--edge); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .84rem; vertical-align: bottom; }
th:first-child { text-align: left; }
tbody th { font-weight: 400; }
tr.role th { font-weight: 600; padding-top: 14px; }
tr.role ~ tr.role th { border-top: 2px solid var(--edge); }
.move { display: inline-block; min-width: 5.2em; padding: 0 8px; border-radius: 6px; }
.move.up { color: var(--up); background: var(--upback); }
.move.down { color: var(--down); background: var(--downback); }
td.wide { min-width: 180px; width: 40%; }
.grid3 { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 14px; }
figure { margin: 0; padding: 12px 12px 6px; background: var(--card); border: 1px solid var(--edge); border-radius: 10px;
  display: flex; flex-direction: column; justify-content: space-between; }
figcaption { font-size: .88rem; line-height: 1.45; margin-bottom: 6px; }
figcaption b { font-weight: 600; display: inline-block; }
figcaption b::first-letter { text-transform: uppercase; }
figcaption small { color: var(--soft); }
.key { font-size: .8rem; color: var(--soft); margin-right: 14px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 12px; height: 4px; border-radius: 2px; margin-right: 5px;
  vertical-align: middle; background: var(--c); }
svg { display: block; width: 100%; }
.chart { height: auto; }
.bar { height: 14px; border-radius: 3px; background: color-mix(in srgb, var(--ink) 5%, transparent); }
.fwm, .update { --c: var(--fwm); } .idm, .scoring { --c: var(--idm); }
.one, .both, .generation { --c: var(--one); } .two { --c: var(--two); } .other { --c: var(--other); }
.part { fill: var(--c); }
.line { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.line.dashed { stroke-width: 1.2; stroke-dasharray: 3 3; opacity: .75; }
.dot { fill: var(--c); }
.spread { fill: var(--c); opacity: .16; }
.grid { stroke: var(--ink); stroke-opacity: .09; }
.band { fill: var(--ink); opacity: .035; }
.band.fwm { fill: var(--fwm); opacity: .1; }
.band.idm { fill: var(--idm); opacity: .12; }
.tick, .stage { font-size: 10.5px; fill: var(--soft); }
.tick { text-anchor: end; font-variant-numeric: tabular-nums; }
.stage { text-anchor: middle; }
details.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; margin-top: 12px;
  padding: 10px 14px; }
summary { cursor: pointer; overflow-wrap: anywhere; }
.marks { color: var(--soft); font-size: .84rem; margin-left: 14px; display: inline-block; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; margin-top: 14px; }
.columns section { min-width: 0; }
.text, pre { margin: 0; max-height: 19em; overflow: auto; border: 1px solid var(--edge); border-radius: 6px;
  padding: 6px 0; font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { padding: 10px; max-height: 32em; margin-top: 10px; }
.row { display: block; white-space: pre-wrap; overflow-wrap: anywhere; padding: 0 10px 0 24px; min-height: 1.5em; }
.row i { font-style: normal; display: inline-block; width: 14px; margin-left: -14px; white-space: pre; }
.row.extra { background: var(--extraback); color: var(--extra); }
.row.missing { background: var(--downback); color: var(--down); }
.row.new { background: var(--newback); }
.row.fold { color: var(--soft); font-style: italic; }
.action { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 0;
  border: 1px solid var(--edge); border-radius: 6px; padding: 4px 10px; max-height: 8em; overflow: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.malformed { margin: 0; font-style: italic; font-size: .9rem; color: var(--down); }
.right { color: var(--up); } .wrong { color: var(--down); }
@media (max-width: 640px) {
  main { padding: 22px 14px 48px; } .columns { grid-template-columns: 1fr; }
  table { font-size: .84rem; } th, td { padding: 6px 7px; } tbody th { white-space: normal; }
  td.wide { min-width: 90px; }
  .marks { display: block; margin-left: 18px; } .move { min-width: 0; padding: 0 4px; } }
.picture { display: block; max-width: 100%; image-rendering: pixelated; border: 1px solid var(--edge); }
@media print { .text, pre { max-height: none; } }
"""
