"""How the page of a verdict looks: light and dark, wide and narrow, on screen and on paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #17202a; --quiet: #55606e; --line: #dde2e8;
  --good: #0d6b3f; --good-back: #e4f5eb; --bad: #a31a22; --bad-back: #fdeaea;
  --open: #7a4c00; --open-back: #fdf1d8; --code-back: #eef1f5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151a; --card: #1a2027; --ink: #e8ecf1; --quiet: #a3adba; --line: #313a45;
    --good: #6fdba0; --good-back: #12301f; --bad: #ff9b9b; --bad-back: #3d181b;
    --open: #f3c76b; --open-back: #362809; --code-back: #242c35;
  }
}
* { box-sizing: border-box; }
html { font-size: 16px; }
body {
  margin: 0; padding: 2.5rem 1.25rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
main, footer { max-width: 60rem; margin: 0 auto; }
h1 { margin: 0 0 1.1rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; }
h2 { margin: 0 0 0.8rem; font-size: 1.12rem; }
h3 { margin: 1.2rem 0 0.4rem; font-size: 1rem; }
p, ul { margin: 0 0 0.75rem; }
ul { padding-left: 1.25rem; }
li + li { margin-top: 0.3rem; }
section > :last-child { margin-bottom: 0; }
section {
  margin: 1rem 0; padding: 1.25rem 1.4rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px;
}
section.reasons { padding-block: 0.9rem; }
.kicker { margin: 0 0 0.3rem; color: var(--quiet); font-size: 0.92rem; }
.quiet { color: var(--quiet); }
.badge {
  display: flex; align-items: center; gap: 1rem; padding: 1.1rem 1.4rem;
  border: 1px solid currentColor; border-radius: 10px;
}
.badge .mark { font-size: 2rem; line-height: 1; font-weight: 700; }
.badge p { margin: 0; }
.badge strong { display: block; font-size: 1.3rem; line-height: 1.25; }
.good { color: var(--good); } .badge.good, .grade.good { background: var(--good-back); }
.bad { color: var(--bad); } .badge.bad, .grade.bad { background: var(--bad-back); }
.open { color: var(--open); } .badge.open, .grade.open { background: var(--open-back); }
.grade {
  display: inline-block; padding: 0.1rem 0.6rem; border-radius: 999px;
  font-size: 0.9rem; font-weight: 600; white-space: nowrap;
}
table { width: 100%; border-collapse: collapse; }
caption { padding-bottom: 0.5rem; color: var(--quiet); font-size: 0.92rem; text-align: left; }
th, td { padding: 0.5rem 0.9rem 0.5rem 0; text-align: left; vertical-align: top; }
tbody th, tbody td { border-top: 1px solid var(--line); }
thead th { color: var(--quiet); font-size: 0.88rem; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; }
.facts { table-layout: fixed; }
.facts thead td { width: 8rem; }
.facts tbody th { color: var(--quiet); }
.facts td.changed { color: var(--open); font-weight: 600; }
.results tbody th { min-width: 10rem; }
.metrics { width: auto; min-width: 20rem; }
.metrics .number { text-align: right; padding-right: 0; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: 0.35rem 0.9rem; margin: 0 0 0.9rem; }
dt { color: var(--quiet); } dd { margin: 0; }
code { font: 0.92em/1.5 ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
pre.command {
  margin: 0 0 1rem; padding: 0.7rem 0.9rem; background: var(--code-back); border-radius: 7px;
  white-space: pre-wrap;
}
footer { padding: 0.6rem 0.2rem 0; color: var(--quiet); font-size: 0.88rem; }
@media (max-width: 42rem) {
  body { padding: 1.25rem 0.8rem; }
  h1 { font-size: 1.5rem; }
  section { padding: 1rem; }
  .badge { padding: 0.9rem 1rem; }
  .results thead, .facts thead { position: absolute; clip-path: inset(50%); }
  .results tr, .facts tr { display: block; padding: 0.6rem 0; border-top: 1px solid var(--line); }
  .results th, .results td, .facts tbody th, .facts td {
    display: block; width: auto; padding: 0.12rem 0; border: 0;
  }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--quiet); font-weight: 400; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.5rem; }
  .metrics { width: 100%; min-width: 0; }
}
@media print {
  :root {
    --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #bbb;
    --good: #0d6b3f; --bad: #a31a22; --open: #7a4c00;
    --good-back: #fff; --bad-back: #fff; --open-back: #fff; --code-back: #f3f3f3;
  }
  html { font-size: 11pt; }
  body { padding: 0; }
  section { border: 0; padding: 0; margin: 1.1rem 0; break-inside: avoid; }
  tr { break-inside: avoid; }
}
"""
