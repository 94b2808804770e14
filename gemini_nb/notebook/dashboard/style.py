"""The style sheet of dashboards. Colours are JupyterLab's variables, so every theme fits.

Columns give way to the width of the dashboard itself, not of the window: beside a file browser, or in a
notebook of two columns, the window says nothing. What moves, moves on elements that stay when a line is
rewritten, or each refresh would begin the movement anew.
"""

from __future__ import annotations

__all__ = ["STYLE"]

_ROOT = """
.gemini-nb-dashboard { container: gemini-nb-dashboard / inline-size; flex: 1 1 auto; min-width: 0;
  border: 1px solid var(--jp-border-color2, #ddd); border-radius: 8px; padding: 0; overflow: hidden;
  background: var(--jp-layout-color1, transparent); color: var(--jp-content-font-color1, inherit);
  font-family: var(--jp-ui-font-family, sans-serif);
  --gemini-nb-quiet: var(--jp-content-font-color2, #666); --gemini-nb-line: var(--jp-border-color2, #ddd); }
.gemini-nb-dashboard .widget-html, .gemini-nb-dashboard .widget-vbox { height: auto; min-height: 0;
  margin: 0; overflow: visible; }
.gemini-nb-dashboard .widget-html-content { line-height: 1.4; font-size: 13px; overflow-wrap: anywhere;
  align-self: stretch; min-width: 0; width: 100%; }
.gemini-nb-dashboard .widget-html:has(style), .gemini-nb-dashboard .widget-html-content:empty {
  display: none; }
.gemini-nb-dashboard .gemini-nb-board-head { display: flex; align-items: center; gap: 8px;
  padding: 8px 10px 8px 14px; overflow: visible; background: var(--jp-layout-color2, #f5f5f5);
  background: color-mix(in srgb, var(--jp-content-font-color1, #000) 6%, transparent); }
.gemini-nb-dashboard .gemini-nb-board-head > .widget-html { flex: 1 1 auto; min-width: 0; }
.gemini-nb-dashboard .gemini-nb-totals { display: flex; flex-wrap: wrap; align-items: baseline;
  gap: 2px 16px; }
.gemini-nb-dashboard .gemini-nb-totals strong { font-size: 14px; }
.gemini-nb-dashboard .gemini-nb-total { color: var(--gemini-nb-quiet); white-space: nowrap;
  font-size: 12px; }
.gemini-nb-dashboard .gemini-nb-total b { color: var(--jp-content-font-color0, inherit); font-size: 14px;
  font-variant-numeric: tabular-nums; }
.gemini-nb-dashboard .gemini-nb-total[data-count="0"] { opacity: .65; }
.gemini-nb-dashboard .gemini-nb-total[data-count="0"] b { font-weight: normal; }
.gemini-nb-dashboard .gemini-nb-total[data-total=error]:not([data-count="0"]) b {
  color: var(--jp-error-color1, #c62828); }
.gemini-nb-dashboard .gemini-nb-total[data-total=waiting]:not([data-count="0"]) b {
  color: var(--jp-warn-color1, #b26a00); }
.gemini-nb-dashboard button { width: auto; height: 24px; line-height: 22px; margin: 0; padding: 0 10px;
  font-size: 12px; border: 1px solid var(--jp-border-color1, #bbb); border-radius: 4px; box-shadow: none;
  background: var(--jp-layout-color1, #fff); color: var(--jp-ui-font-color1, inherit); flex: 0 0 auto; }
.gemini-nb-dashboard button:hover:enabled { background: var(--jp-error-color1, #c62828); box-shadow: none;
  border-color: var(--jp-error-color1, #c62828); color: var(--jp-ui-inverse-font-color0, #fff); }
.gemini-nb-dashboard button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2);
  outline-offset: 1px; }
.gemini-nb-dashboard .gemini-nb-more { padding: 8px 14px; color: var(--gemini-nb-quiet); font-size: 12px; }
"""

_ROW = """
.gemini-nb-dashboard .gemini-nb-row { display: grid; grid-template-columns: 26px minmax(0, 1fr) 62px;
  align-items: center; position: relative; overflow: visible; padding: 6px 10px 6px 8px; margin: 0;
  border-top: 1px solid var(--gemini-nb-line); --gemini-nb-tone: var(--jp-layout-color4, #999); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=active]) {
  --gemini-nb-tone: var(--jp-brand-color1, #1976d2); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=active][data-phase=executing_tools]) {
  --gemini-nb-tone: var(--jp-info-color1, #0097a7); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=completed]) {
  --gemini-nb-tone: var(--jp-success-color1, #388e3c); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=error]) {
  --gemini-nb-tone: var(--jp-error-color1, #d32f2f); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=stopped]) {
  --gemini-nb-tone: var(--jp-layout-color4, #888); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=active][data-waiting]) {
  --gemini-nb-tone: var(--jp-warn-color1, #f57c00); }
.gemini-nb-dashboard .gemini-nb-row::before { content: ""; position: absolute; left: 0; top: 0; bottom: 0;
  width: 3px; background: var(--gemini-nb-tone); }
.gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=active])::before {
  animation: gemini-nb-breathe 1.6s ease-in-out infinite; }
@keyframes gemini-nb-breathe { 50% { opacity: .3; } }
.gemini-nb-dashboard .gemini-nb-fold { grid-column: 1; width: 22px; height: 22px; padding: 0;
  border-color: transparent; background: none; box-shadow: none; position: relative; }
.gemini-nb-dashboard .gemini-nb-fold:hover:enabled { background: var(--jp-layout-color2, #eee);
  border-color: transparent; }
.gemini-nb-dashboard .gemini-nb-fold::before { content: ""; position: absolute; left: 8px; top: 6px;
  border: 4px solid transparent; border-left: 6px solid var(--gemini-nb-quiet); border-right: 0;
  transition: transform .12s; }
.gemini-nb-dashboard .gemini-nb-fold.mod-active::before { transform: translate(-1px, 1px) rotate(90deg); }
.gemini-nb-dashboard .gemini-nb-row > .gemini-nb-cell { grid-column: 2; min-width: 0; width: auto; }
.gemini-nb-dashboard .gemini-nb-stop { grid-column: 3; justify-self: end; }
.gemini-nb-dashboard .gemini-nb-stop:disabled { visibility: hidden; }
.gemini-nb-dashboard .gemini-nb-row > .gemini-nb-unfolded { grid-column: 2 / -1; grid-row: 2;
  min-width: 0; width: auto; }
.gemini-nb-dashboard .gemini-nb-line { display: grid;
  grid-template-columns: minmax(0, 1fr) 104px 136px 84px 62px; gap: 0 12px; align-items: center; }
.gemini-nb-dashboard .gemini-nb-asked, .gemini-nb-dashboard .gemini-nb-facts { white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
.gemini-nb-dashboard .gemini-nb-asked b { color: var(--gemini-nb-quiet); font-weight: 600;
  font-variant-numeric: tabular-nums; margin-right: 4px; }
.gemini-nb-dashboard .gemini-nb-line .gemini-nb-facts { color: var(--gemini-nb-quiet); font-size: 12px;
  margin-top: 1px; min-height: 17px; }
.gemini-nb-dashboard .gemini-nb-line .gemini-nb-facts > * { margin-right: 8px; }
.gemini-nb-dashboard .gemini-nb-simulated { border: 1px solid var(--gemini-nb-line); border-radius: 3px;
  padding: 0 4px; font-size: 10px; }
.gemini-nb-dashboard .gemini-nb-line .gemini-nb-badge { justify-self: start; border-radius: 10px;
  padding: 1px 9px; font-size: 11px; white-space: nowrap; background: var(--jp-layout-color2, #eee);
  color: var(--jp-content-font-color1, inherit);
  background: color-mix(in srgb, var(--gemini-nb-tone) 16%, transparent);
  color: color-mix(in srgb, var(--gemini-nb-tone) 55%, var(--jp-content-font-color0, #000)); }
.gemini-nb-dashboard .gemini-nb-chip { white-space: nowrap; }
.gemini-nb-dashboard .gemini-nb-chip[data-tool-status=done] {
  color: color-mix(in srgb, var(--jp-success-color1, #388e3c) 65%, var(--jp-content-font-color0, #000)); }
.gemini-nb-dashboard .gemini-nb-chip[data-tool-status=failed], .gemini-nb-dashboard .gemini-nb-error {
  color: color-mix(in srgb, var(--jp-error-color1, #d32f2f) 75%, var(--jp-content-font-color0, #000)); }
.gemini-nb-dashboard .gemini-nb-chip[data-tool-status=running] {
  color: color-mix(in srgb, var(--jp-info-color1, #0097a7) 65%, var(--jp-content-font-color0, #000)); }
.gemini-nb-dashboard .gemini-nb-trouble,
  .gemini-nb-dashboard .gemini-nb-chip[data-tool-status=awaiting_approval] {
  color: color-mix(in srgb, var(--jp-warn-color1, #f57c00) 60%, var(--jp-content-font-color0, #000)); }
.gemini-nb-dashboard .gemini-nb-pace { display: flex; align-items: center; gap: 6px;
  color: var(--gemini-nb-quiet); font-size: 11px; white-space: nowrap; min-width: 0; overflow: hidden; }
.gemini-nb-dashboard .gemini-nb-spark { flex: 0 0 auto; display: block; fill: var(--gemini-nb-tone); }
.gemini-nb-dashboard .gemini-nb-spark .gemini-nb-ground { fill: var(--gemini-nb-line); }
.gemini-nb-dashboard .gemini-nb-line:not([data-status=active]) .gemini-nb-spark { opacity: .55; }
.gemini-nb-dashboard .gemini-nb-tokens, .gemini-nb-dashboard .gemini-nb-elapsed { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; font-size: 12px; }
.gemini-nb-dashboard .gemini-nb-elapsed, .gemini-nb-dashboard .gemini-nb-pace {
  font-variant-numeric: tabular-nums; }
"""

_TIMELINE = """
.gemini-nb-dashboard .gemini-nb-timeline { padding: 8px 0 6px; font-size: 12px; }
.gemini-nb-dashboard .gemini-nb-lane { display: grid; grid-template-columns: 116px minmax(0, 1fr) 56px;
  gap: 0 10px; align-items: center; height: 20px; }
.gemini-nb-dashboard .gemini-nb-lane > bdi { overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; text-align: right; }
.gemini-nb-dashboard .gemini-nb-lane[data-lane=tool] > bdi {
  font-family: var(--jp-code-font-family, monospace); font-size: 11px; }
.gemini-nb-dashboard .gemini-nb-lane > span { color: var(--gemini-nb-quiet);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.gemini-nb-dashboard .gemini-nb-lane > div { position: relative; height: 100%;
  border-right: 1px solid var(--gemini-nb-line);
  background: linear-gradient(90deg, var(--gemini-nb-line) 1px, transparent 1px) 0 0 /
  var(--gemini-nb-step) 100%; }
.gemini-nb-dashboard .gemini-nb-lane .gemini-nb-bar { position: absolute; top: 4px; bottom: 4px;
  min-width: 2px; border-radius: 2px; }
.gemini-nb-dashboard .gemini-nb-bar { --gemini-nb-ink: var(--jp-brand-color1, #1976d2);
  background: var(--gemini-nb-ink); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=asking],
  .gemini-nb-dashboard .gemini-nb-bar[data-kind=pending] {
  background: color-mix(in srgb, var(--gemini-nb-ink) 25%, var(--jp-layout-color1, #fff)); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=thinking] {
  background: color-mix(in srgb, var(--gemini-nb-ink) 55%, var(--jp-layout-color1, #fff)); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=running] { --gemini-nb-ink: var(--jp-info-color1, #0097a7); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=done] { --gemini-nb-ink: var(--jp-success-color1, #388e3c); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=failed] { --gemini-nb-ink: var(--jp-error-color1, #d32f2f); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=cancelled] { --gemini-nb-ink: var(--jp-layout-color4, #888); }
.gemini-nb-dashboard .gemini-nb-bar[data-kind=retry],
  .gemini-nb-dashboard .gemini-nb-bar[data-kind=awaiting_approval] {
  --gemini-nb-ink: var(--jp-warn-color1, #f57c00);
  background: repeating-linear-gradient(135deg, var(--gemini-nb-ink) 0 3px, color-mix(in srgb,
  var(--gemini-nb-ink) 45%, var(--jp-layout-color1, #fff)) 3px 6px); }
.gemini-nb-dashboard .gemini-nb-axis { height: 16px; font-size: 10px; color: var(--gemini-nb-quiet); }
.gemini-nb-dashboard .gemini-nb-axis > div { background: none; border: 0;
  border-top: 1px solid var(--gemini-nb-line); }
.gemini-nb-dashboard .gemini-nb-axis > div > span { position: absolute; top: 1px;
  transform: translateX(-50%); white-space: nowrap; }
.gemini-nb-dashboard .gemini-nb-legend { display: flex; flex-wrap: wrap; gap: 2px 14px;
  padding: 6px 0 0 126px; color: var(--gemini-nb-quiet); font-size: 11px; }
.gemini-nb-dashboard .gemini-nb-end { padding: 4px 0 0 126px; font-size: 11px;
  color: var(--gemini-nb-quiet); }
.gemini-nb-dashboard .gemini-nb-legend > span:first-child { flex: 1 1 auto; }
.gemini-nb-dashboard .gemini-nb-legend .gemini-nb-bar { display: inline-block; width: 10px; height: 8px;
  border-radius: 2px; margin-right: 5px; }
"""

_NARROW = """
@container gemini-nb-dashboard (min-width: 521px) and (max-width: 1000px) {
  .gemini-nb-dashboard .gemini-nb-what { display: contents; }
  .gemini-nb-dashboard .gemini-nb-line > * { grid-row: 1; }
  .gemini-nb-dashboard .gemini-nb-asked { grid-column: 1; grid-row: 1; }
  .gemini-nb-dashboard .gemini-nb-line .gemini-nb-facts { grid-column: 1 / -1; grid-row: 2; }
}
@container gemini-nb-dashboard (max-width: 760px) {
  .gemini-nb-dashboard .gemini-nb-totals { gap: 2px 12px; }
  .gemini-nb-dashboard .gemini-nb-total[data-total=waiting][data-count="0"],
    .gemini-nb-dashboard .gemini-nb-total[data-total=stopped][data-count="0"] { display: none; }
  .gemini-nb-dashboard .gemini-nb-legend > span:first-child { flex: 0 0 100%; }
  .gemini-nb-dashboard .gemini-nb-line { grid-template-columns: minmax(0, 1fr) 100px 92px 58px; }
  .gemini-nb-dashboard .gemini-nb-line .gemini-nb-tokens { display: none; }
  .gemini-nb-dashboard .gemini-nb-pace > span { display: none; }
}
@container gemini-nb-dashboard (max-width: 520px) {
  .gemini-nb-dashboard .gemini-nb-line { grid-template-columns: auto minmax(0, 1fr) auto auto;
    gap: 3px 10px; }
  .gemini-nb-dashboard .gemini-nb-what { grid-column: 1 / -1; }
  .gemini-nb-dashboard .gemini-nb-line .gemini-nb-tokens { display: block; }
  .gemini-nb-dashboard .gemini-nb-line .gemini-nb-facts { white-space: normal; }
  .gemini-nb-dashboard .gemini-nb-pace { justify-content: flex-end; }
  .gemini-nb-dashboard .gemini-nb-lane { grid-template-columns: 76px minmax(0, 1fr) 46px; }
  .gemini-nb-dashboard .gemini-nb-legend, .gemini-nb-dashboard .gemini-nb-end { padding-left: 0; }
}
@container gemini-nb-dashboard (max-width: 340px) {
  .gemini-nb-dashboard .gemini-nb-line { grid-template-columns: auto minmax(0, 1fr) auto; }
  .gemini-nb-dashboard .gemini-nb-pace { display: none; }
}
@container gemini-nb-dashboard (max-width: 240px) {
  .gemini-nb-dashboard .gemini-nb-board-head { flex-wrap: wrap; }
  .gemini-nb-dashboard .gemini-nb-row { grid-template-columns: 26px minmax(0, 1fr); }
  .gemini-nb-dashboard .gemini-nb-stop { grid-column: 2; justify-self: start; margin-top: 4px; }
  .gemini-nb-dashboard .gemini-nb-stop:disabled { display: none; }
  .gemini-nb-dashboard .gemini-nb-line .gemini-nb-tokens { display: none; }
  .gemini-nb-dashboard .gemini-nb-row > .gemini-nb-unfolded { grid-row: auto; }
}
@media (prefers-reduced-motion: reduce) {
  .gemini-nb-dashboard .gemini-nb-row::before,
    .gemini-nb-dashboard .gemini-nb-row:has(.gemini-nb-line[data-status=active])::before {
    animation: none; }
  .gemini-nb-dashboard .gemini-nb-fold::before { transition: none; }
}
@media (forced-colors: active) {
  .gemini-nb-dashboard .gemini-nb-bar, .gemini-nb-dashboard .gemini-nb-row::before {
    forced-color-adjust: none; }
}
"""

STYLE = f"<style>{_ROOT}{_ROW}{_TIMELINE}{_NARROW}</style>"
"""For an HTML widget of its own, so that it is sent once."""
