"""The style sheet of the page: light and dark mode, narrow and wide screens, print."""

# Text colours have a contrast of 4.5 or more with both backgrounds, bars of 3 (WCAG 2.2, 1.4.3 and 1.4.11).
STYLE = """
:root{color-scheme:light dark;
--paper:#fff;--tint:#f4f6f8;--line:#d9dee4;--ink:#171b20;--soft:#545d68;--accent:#2563b8;--hit:#b3261e;--clear:#1b6b3f}
@media screen and (prefers-color-scheme:dark){:root{
--paper:#14171b;--tint:#1d2228;--line:#363d46;--ink:#e8ebee;--soft:#a3acb7;--accent:#7fb2ff;--hit:#ff9086;--clear:#7fd6a4}}
*{box-sizing:border-box}
body{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h1,h2,h3{line-height:1.25;margin:0}
h1{font-size:1.9rem;font-weight:650;letter-spacing:-.015em}
h2{font-size:1.3rem;font-weight:600}
h3{font-size:.8rem;font-weight:600;letter-spacing:.07em;text-transform:uppercase;color:var(--soft);margin-bottom:.75rem}
article{margin-top:1.5rem;padding-top:1.5rem;border-top:1px solid var(--line)}
section{margin-top:2.5rem}
p{margin:.5rem 0}
a{color:var(--accent)}
nav{margin-top:1rem}
ol{margin:0;padding-left:1.75rem}
.verdict{font-size:1.1rem}
.note{padding:.5rem .75rem;border-left:3px solid var(--accent);background:var(--tint)}
.pill{display:inline-block;padding:0 .6em;border:1px solid;border-radius:1em;font-size:.85em;font-weight:600}
.pill.hit{color:var(--hit)}
.pill.clear{color:var(--clear)}
dl{display:flex;flex-wrap:wrap;gap:.75rem 2.5rem;margin:1rem 0}
dt,figcaption,thead th{font-size:.85rem;color:var(--soft)}
dd{margin:0}
.wide{overflow-x:auto}
table{width:100%;border-collapse:collapse}
th,td{padding:.5rem 1.25rem .5rem 0;text-align:right;vertical-align:top;overflow-wrap:normal;
border-bottom:1px solid var(--line)}
th:first-child,tbody th,.words,.bars{text-align:left}
thead th{font-weight:500;white-space:nowrap}
tbody th{font-weight:600;min-width:8rem;overflow-wrap:anywhere}
td.words:last-child{min-width:14rem}
td span,figcaption b{white-space:nowrap}
.bars{width:45%;min-width:6rem}
svg{display:block;width:100%;height:1.25rem;overflow:visible}
.bar{height:.75rem;margin-top:.4rem}
rect{fill:var(--accent);stroke:var(--accent)}
.bar rect{stroke:none}
.lane{display:grid;grid-template-columns:11rem 1fr;gap:.15rem 1rem;align-items:center;padding:.3rem 0}
.lane svg{background:var(--tint)}
.hit rect{fill:var(--hit);stroke:var(--hit)}
.cuts{font-size:.85rem;color:var(--soft)}
.cuts svg{height:.6rem}
.cuts rect{fill:var(--soft);stroke:var(--soft)}
.axis svg{background:none}
.grid line{stroke:var(--line)}
text{font-size:.72rem;fill:var(--soft)}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1.25rem}
figure{margin:0}
img{display:block;max-width:100%;max-height:32rem;border-radius:4px;margin-bottom:.4rem}
figcaption b{color:var(--ink);margin-right:.4em}
footer{margin-top:3rem;font-size:.85rem;color:var(--soft)}
@media (max-width:40rem){body{padding:1.5rem 1rem}h1{font-size:1.5rem}.lane{grid-template-columns:minmax(0,1fr)}}
@media print{body{max-width:none;padding:0;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.wide{overflow:visible}figure,tr,.lane{break-inside:avoid}h2,h3{break-after:avoid}article+article{break-before:page}}
"""
