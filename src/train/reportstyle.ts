/** The style sheet of report.html: one column on narrow windows, dark where the screen is, light on paper. */
export const style = `
:root{--ground:#f6f8fa;--card:#fff;--ink:#1f2933;--muted:#5f6b7a;--line:#dfe4ea;--accent:#0072b2;--wrong:#b54700;
--bar:#cfe4f3;--note:#fff4e0;color-scheme:light}
@media screen and (prefers-color-scheme:dark){:root{--ground:#0d1117;--card:#161b22;--ink:#e6edf3;--muted:#9aa7b5;
--line:#2c343f;--accent:#5ab4ec;--wrong:#f0a03c;--bar:#1f4363;--note:#3a2c12;color-scheme:dark}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem clamp(1rem,4vw,2.5rem);max-width:1240px;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h1{margin:0;font-size:clamp(1.6rem,5vw,2.4rem);line-height:1.15;letter-spacing:-.02em}
h2{margin:0 0 .75rem;font-size:1.25rem}
h3{margin:1.25rem 0 .5rem;font-size:.95rem}
p{margin:.25rem 0 .75rem}
code,pre{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.muted{color:var(--muted)}
.kicker{margin:0 0 .25rem;color:var(--accent);font-size:.85rem;font-weight:600}
.note{padding:.6rem .9rem;background:var(--note);border-radius:8px}
section,.figures>div{background:var(--card);border:1px solid var(--line);border-radius:12px}
section{margin-top:1.25rem;padding:clamp(1rem,3vw,1.5rem)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:.75rem;margin:1.25rem 0 0}
@media (min-width:600px) and (max-width:1200px){.figures:has(>:nth-child(6)){grid-template-columns:repeat(3,1fr)}}
.figures>div{padding:.8rem 1rem}
.figures>div:first-child{background:var(--accent);border-color:var(--accent);color:var(--card)}
.figures>div:first-child :is(dt,.remark){color:inherit}
dt{color:var(--muted);font-size:.85rem}
dd{margin:0}
.figures dd:not(.remark){font-size:1.3rem;font-weight:650;line-height:1.3;white-space:nowrap}
.remark{color:var(--muted);font-size:.8rem}
figure{margin:0}
figure svg{display:block;max-width:100%;height:auto}
.on-dark{display:none}
@media screen and (prefers-color-scheme:dark){.on-light{display:none}.on-dark{display:block}}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr));gap:1rem}
.split{display:grid;grid-template-columns:minmax(0,auto) minmax(430px,1fr);gap:1.5rem 2.5rem;align-items:start}
.split h3:first-child{margin-top:0}
@media (max-width:1000px){.split{grid-template-columns:minmax(0,1fr)}}
.scroll{overflow-x:auto}
.matrix svg{min-width:max(min(100%,460px),calc(var(--classes)*26px))}
table{width:100%;border-collapse:collapse;font-size:.9rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;font-weight:400;white-space:nowrap}
th:first-child{padding-left:0;text-align:left}
td:last-child,th:last-child{padding-right:0}
thead th{color:var(--muted);font-size:.8rem}
tbody th{min-width:6rem;font-weight:600;white-space:normal;overflow-wrap:anywhere}
.bar{display:block;min-width:3.9rem;padding:0 .35rem;border-radius:3px;
background:linear-gradient(to right,var(--bar) var(--share),transparent var(--share))}
.pairs{margin:0;padding-left:1.4rem}
.pairs b{font-weight:600}
@media (max-width:520px){.matrix svg{min-width:max(400px,calc(var(--classes)*26px))}table{font-size:.78rem}th,td{padding:.3rem .2rem}tbody th{min-width:4rem}
.bar{min-width:0;padding:0 .2rem}}
details{margin-top:.75rem}
summary{color:var(--accent);cursor:pointer}
.losses{display:grid;grid-template-columns:repeat(auto-fill,minmax(96px,1fr));gap:.9rem}
.losses img{display:block;width:100%;height:auto;border-radius:6px;image-rendering:pixelated}
figcaption{display:grid;margin-top:.3rem;font-size:.85rem;line-height:1.35}
figcaption b{font-weight:600}
.scale{display:flex;align-items:center;gap:.5rem;font-size:.8rem;color:var(--muted)}
.scale span:nth-child(2){width:9rem;height:.7rem;border-radius:3px;print-color-adjust:exact}
.looks{display:grid;grid-template-columns:minmax(0,2fr) minmax(0,3fr);gap:.5rem 2rem}
.looks>div{display:flex;flex-wrap:wrap;gap:.75rem 1.25rem;align-items:start}
@media (max-width:900px){.looks{grid-template-columns:minmax(0,1fr)}}
.looked{display:flex;gap:5px;font-size:.8rem;line-height:1.3}
.looked>div{display:grid;width:88px;align-content:start}
@media (max-width:520px){.looked>div{width:70px}.looks>div{gap:.75rem 1rem}}
.look{position:relative;display:block;overflow:hidden;border-radius:6px;aspect-ratio:1}
.look img{display:block;width:100%;height:100%;image-rendering:pixelated}
.look img:not(:only-child){filter:grayscale(1)}
.look img+img:not(:only-child){position:absolute;inset:0;opacity:.55;filter:none;image-rendering:auto}
.wrong{color:var(--wrong)}
.right{color:var(--accent)}
.blocks,.settings{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:.25rem 1.5rem}
.blocks>div{min-width:0}
.blocks h3,.settings h3{margin-top:.5rem}
pre{margin:0;padding:.7rem .9rem;background:var(--ground);border-radius:8px;white-space:pre-wrap}
.pairs-list{margin:0 0 .75rem;font-size:.9rem}
.pairs-list>div{display:grid;grid-template-columns:minmax(8rem,2fr) 3fr;gap:.75rem;padding:.22rem 0;
border-bottom:1px solid var(--line)}
.pairs-list dt{font-size:inherit}
footer{margin:1.5rem 0 0;font-size:.85rem}
@media print{body{max-width:none;padding:0;background:#fff;font-size:12px}section,.figures>div{break-inside:avoid}
.losses figure,tr{break-inside:avoid}*{print-color-adjust:exact}}
`;
