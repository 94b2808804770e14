"""The style sheet of panes. Colours are JupyterLab's own variables, so every theme fits.

What a widget library gives its boxes (margins, scroll bars, a height for each line) is taken back here, once
for all, since our widgets share a layout that says nothing. Nothing here moves for those who ask for that.
"""

from __future__ import annotations

__all__ = ["SHEET"]

_FRAME = """
.gemini-nb-pane { border: 1px solid var(--jp-border-color2, #ddd); border-radius: 6px; overflow: hidden;
  padding: 8px 12px 10px; margin: 2px 0; max-width: 100%; display: flex; flex-flow: column;
  contain: content; unicode-bidi: isolate; background: var(--jp-layout-color0, transparent);
  color: var(--jp-content-font-color1, inherit); font-family: var(--jp-content-font-family, sans-serif); }
.gemini-nb-pane .widget-box { overflow: visible; margin: 0; display: block; }
.gemini-nb-pane .widget-html, .gemini-nb-pane .widget-htmlmath { height: auto; min-height: 0; margin: 0;
  display: block; width: auto; }
.gemini-nb-pane .widget-html-content, .gemini-nb-pane .widget-htmlmath-content { line-height: 1.55;
  overflow-wrap: anywhere; min-width: 0; font-size: var(--jp-content-font-size1, 14px); }
.gemini-nb-pane .gemini-nb-style { display: none; }
.gemini-nb-pane .gemini-nb-top { display: flex; gap: 8px; align-items: flex-start; }
.gemini-nb-pane .gemini-nb-headline { flex: 1 1 auto; min-width: 0; }
.gemini-nb-pane .gemini-nb-scroll { display: flex; flex-flow: column-reverse; max-height: 480px;
  overflow: auto; margin-top: 6px; border-top: 1px solid var(--jp-border-color3, #eee); }
.gemini-nb-pane .gemini-nb-scroll:empty { display: none; }
.gemini-nb-pane .gemini-nb-scroll:focus-visible { outline: 2px solid var(--jp-brand-color1, #2196f3); }
.gemini-nb-pane .gemini-nb-body { flex: 0 0 auto; }
.gemini-nb-pane .jupyter-button { height: 26px; line-height: 24px; border-radius: 4px; padding: 0 10px;
  margin: 0; font-size: 12px; flex: 0 0 auto; min-width: max-content; }
.gemini-nb-pane .jupyter-button:focus-visible { outline: 2px solid var(--jp-brand-color1, #2196f3); }
"""

_HEAD = """
.gemini-nb-pane .gemini-nb-title { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 8px;
  min-height: 26px; font-size: var(--jp-ui-font-size1, 13px); line-height: 1.4; }
.gemini-nb-pane .gemini-nb-auth, .gemini-nb-pane .gemini-nb-badge { border-radius: 9px; padding: 0 8px;
  font-size: 11px; line-height: 18px; white-space: nowrap; background: none;
  border: 1px solid var(--jp-border-color2, #ccc); color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-badge { --gemini-nb-tone: var(--jp-layout-color4, #888); border: 0;
  line-height: 20px; background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, inherit);
  background: color-mix(in srgb, var(--gemini-nb-tone) 16%, transparent);
  color: color-mix(in srgb, var(--gemini-nb-tone) 55%, var(--jp-content-font-color0, #000)); }
.gemini-nb-pane .gemini-nb-badge[data-status=active] { --gemini-nb-tone: var(--jp-brand-color1, #1976d2); }
.gemini-nb-pane .gemini-nb-badge[data-status=error] { --gemini-nb-tone: var(--jp-error-color1, #d32f2f); }
.gemini-nb-pane .gemini-nb-badge[data-status=completed] {
  --gemini-nb-tone: var(--jp-success-color1, #388e3c); }
.gemini-nb-pane .gemini-nb-steps { display: flex; flex-wrap: wrap; list-style: none; margin: 0;
  padding: 0; font-size: 12px; }
.gemini-nb-pane .gemini-nb-steps li { display: flex; align-items: center; margin: 0; padding: 0;
  white-space: nowrap; color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-steps li + li::before { content: ""; width: 14px; margin: 0 6px;
  border-top: 1px solid var(--jp-border-color1, #bbb); }
.gemini-nb-pane .gemini-nb-steps li::after { order: -1; content: ""; box-sizing: border-box; width: 9px;
  height: 9px; margin-right: 6px; border-radius: 50%; border: 1.5px solid var(--jp-border-color1, #bbb); }
.gemini-nb-pane .gemini-nb-steps li::before { order: -2; }
.gemini-nb-pane .gemini-nb-steps li[data-step=done] { color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-steps li[data-step=done]::after { background: var(--jp-success-color1, #393);
  border-color: var(--jp-success-color1, #393); }
.gemini-nb-pane .gemini-nb-steps li[data-step=now] { color: var(--jp-ui-font-color0, #000);
  font-weight: 600; }
.gemini-nb-pane .gemini-nb-steps li[data-step=now]::after { background: var(--jp-brand-color1, #2196f3);
  border-color: var(--jp-brand-color1, #2196f3); box-shadow: 0 0 0 3px var(--jp-brand-color3, #bbdefb);
  box-shadow: 0 0 0 3px color-mix(in srgb, var(--jp-brand-color1, #2196f3) 30%, transparent); }
.gemini-nb-pane .gemini-nb-steps li[data-step=skipped] { color: var(--jp-ui-font-color3, #999); }
.gemini-nb-pane .gemini-nb-turn { font-size: 11px; color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-figures { display: flex; flex-wrap: wrap; font-size: 12px; line-height: 1.5;
  font-variant-numeric: tabular-nums; color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-figures span:not(:last-child)::after { content: "·"; margin: 0 6px; }
"""

_CARDS = """
.gemini-nb-pane .gemini-nb-detail { position: relative; margin: 6px 0; }
.gemini-nb-pane .gemini-nb-key, .gemini-nb-pane .gemini-nb-key .widget-html-content { position: static; }
.gemini-nb-pane .gemini-nb-key summary { position: absolute; top: 0; left: 0; width: 100%; height: 30px;
  cursor: pointer; list-style: none; z-index: 1; border-radius: 4px; }
.gemini-nb-pane .gemini-nb-key summary::-webkit-details-marker { display: none; }
.gemini-nb-pane .gemini-nb-key summary::before { content: ""; position: absolute; left: 9px; top: 11px;
  border: 4px solid transparent; border-left: 6px solid var(--jp-ui-font-color2, #666); border-right: 0; }
.gemini-nb-pane .gemini-nb-key details[open] summary::before { left: 8px; top: 13px;
  border: 4px solid transparent; border-top: 6px solid var(--jp-ui-font-color2, #666); border-bottom: 0; }
.gemini-nb-pane summary:focus-visible { outline: 2px solid var(--jp-brand-color1, #2196f3);
  outline-offset: -2px; }
.gemini-nb-pane .gemini-nb-inside { padding: 2px 10px 6px 24px; }
@supports selector(:has(a)) {
  .gemini-nb-pane .gemini-nb-detail > .gemini-nb-inside { display: none; }
  .gemini-nb-pane .gemini-nb-detail:has(> .gemini-nb-key details[open]) > .gemini-nb-inside {
    display: block; }
}
.gemini-nb-pane .gemini-nb-still > summary { cursor: pointer; list-style: none; position: relative; }
.gemini-nb-pane .gemini-nb-still > summary::-webkit-details-marker { display: none; }
.gemini-nb-pane .gemini-nb-still > summary::before { content: ""; position: absolute; left: 9px;
  top: 11px; border: 4px solid transparent; border-left: 6px solid var(--jp-ui-font-color2, #666);
  border-right: 0; }
.gemini-nb-pane .gemini-nb-still[open] > summary::before { transform: rotate(90deg); }
.gemini-nb-pane .gemini-nb-still { margin: 6px 0; }
.gemini-nb-pane .gemini-nb-call { background: var(--jp-layout-color1, #fff); border-radius: 5px;
  border: 1px solid var(--jp-border-color2, #ddd); border-left-width: 3px; overflow: hidden; }
.gemini-nb-pane .gemini-nb-card { padding: 4px 10px 5px 24px; font-size: 13px; min-height: 20px; }
.gemini-nb-pane .gemini-nb-call:has([data-status=running]) {
  border-left-color: var(--jp-brand-color1, #2196f3); }
.gemini-nb-pane .gemini-nb-call:has([data-status=awaiting_approval]) {
  border-left-color: var(--jp-warn-color1, #e80); }
.gemini-nb-pane .gemini-nb-call:has([data-status=done]) {
  border-left-color: var(--jp-success-color1, #393); }
.gemini-nb-pane .gemini-nb-call:has([data-status=failed]) {
  border-left-color: var(--jp-error-color1, #c33); }
.gemini-nb-pane .gemini-nb-called { display: flex; align-items: center; gap: 8px; min-width: 0; }
.gemini-nb-pane .gemini-nb-called code { flex: 0 1 auto; min-width: 0; overflow: hidden; background: none;
  text-overflow: ellipsis; white-space: nowrap; unicode-bidi: isolate; font-size: 12px;
  color: var(--jp-content-font-color2, #555); font-family: var(--jp-code-font-family, monospace); }
.gemini-nb-pane .gemini-nb-called b { flex: 0 0 auto; unicode-bidi: isolate; max-width: 50%;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.gemini-nb-pane .gemini-nb-state { flex: 0 0 auto; margin-left: auto; font-size: 12px;
  white-space: nowrap; font-variant-numeric: tabular-nums; color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-mark { flex: 0 0 auto; width: 12px; height: 12px; text-align: center;
  box-sizing: border-box; line-height: 12px; font-size: 12px; font-weight: 700; }
.gemini-nb-pane [data-status=pending] .gemini-nb-mark { border: 1.5px solid var(--jp-border-color1, #bbb);
  border-radius: 50%; }
.gemini-nb-pane [data-status=awaiting_approval] .gemini-nb-mark::before { content: "?";
  color: var(--jp-warn-color1, #e80); }
.gemini-nb-pane [data-status=running] .gemini-nb-mark { border-radius: 50%;
  border: 2px solid color-mix(in srgb, var(--jp-brand-color1, #2196f3) 30%, transparent); }
.gemini-nb-pane .gemini-nb-call:has([data-status=running])::after { content: ""; position: absolute;
  left: 24px; top: 8px; width: 12px; height: 12px; box-sizing: border-box; border-radius: 50%;
  border: 2px solid transparent; border-top-color: var(--jp-brand-color1, #2196f3); pointer-events: none;
  animation: gemini-nb-turn 1s linear infinite; }
.gemini-nb-pane [data-status=done] .gemini-nb-mark::before { content: "✓";
  color: var(--jp-success-color1, #393); }
.gemini-nb-pane [data-status=failed] .gemini-nb-mark::before { content: "✗";
  color: var(--jp-error-color1, #c33); }
.gemini-nb-pane [data-status=cancelled] .gemini-nb-mark::before { content: "■";
  color: var(--jp-ui-font-color2, #666); }
@keyframes gemini-nb-turn { to { transform: rotate(360deg); } }
@media (prefers-reduced-motion: reduce) {
  .gemini-nb-pane .gemini-nb-call::after { animation: none !important; }
}
.gemini-nb-pane .gemini-nb-progress { display: flex; align-items: center; gap: 8px; font-size: 12px;
  color: var(--jp-ui-font-color2, #666); padding: 2px 0; }
.gemini-nb-pane .gemini-nb-progress progress { flex: 0 1 220px; height: 8px; min-width: 60px;
  accent-color: var(--jp-brand-color1, #2196f3); }
.gemini-nb-pane .gemini-nb-progress span { font-variant-numeric: tabular-nums; }
.gemini-nb-pane .gemini-nb-buttons { display: flex; flex-wrap: wrap; gap: 8px; padding: 0 10px 8px 24px;
  position: relative; z-index: 2; }
.gemini-nb-pane .gemini-nb-error { color: var(--jp-error-color1, #c33); font-size: 12px; }
.gemini-nb-pane .gemini-nb-what { font-size: 11px; color: var(--jp-ui-font-color2, #666); margin-top: 4px; }
.gemini-nb-pane .gemini-nb-picture { display: block; max-width: 100%; max-height: 360px; margin: 6px 0; }
.gemini-nb-pane .gemini-nb-thinking { padding: 5px 10px 3px 24px; font-size: 12px; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; color: var(--jp-ui-font-color2, #666); }
.gemini-nb-pane .gemini-nb-thinking bdi { margin-left: 8px; font-style: italic; }
.gemini-nb-pane .gemini-nb-thoughts { margin: 2px 0 0 -8px; }
.gemini-nb-pane .gemini-nb-thoughts .gemini-nb-inside { margin-left: 12px; padding: 0 0 0 12px;
  border-left: 2px solid var(--jp-border-color2, #ddd); color: var(--jp-ui-font-color2, #666);
  max-height: 240px; overflow: auto; }
.gemini-nb-pane .gemini-nb-thoughts.gemini-nb-detail:has([data-thinking]):has(
  > .gemini-nb-key details[open]) > .gemini-nb-inside {
  display: flex; flex-flow: column-reverse; }
.gemini-nb-pane .gemini-nb-thoughts .gemini-nb-text { flex: 0 0 auto; }
.gemini-nb-pane .gemini-nb-thoughts .gemini-nb-inside :is(.widget-html-content, .widget-htmlmath-content) {
  font-size: 13px; }
"""

_TEXT = """
.gemini-nb-pane .gemini-nb-notice { color: var(--jp-ui-font-color2, #666); font-size: 12px; margin: 4px 0;
  padding-left: 8px; border-left: 3px solid var(--jp-warn-color1, #e80); unicode-bidi: isolate; }
.gemini-nb-pane .gemini-nb-notice[data-kind=error] { border-color: var(--jp-error-color1, #c33);
  color: var(--jp-content-font-color1, #222); white-space: pre-line; }
.gemini-nb-pane .gemini-nb-struck { color: var(--jp-ui-font-color2, #666); white-space: pre-wrap;
  font-size: 13px; }
.gemini-nb-pane pre { white-space: pre-wrap; padding: 5px 8px;
  border: 1px solid var(--jp-border-color3, #eee); background: var(--jp-cell-editor-background, #f5f5f5);
  background: color-mix(in srgb, var(--jp-content-font-color1, #000) 5%, transparent);
  color: var(--jp-content-font-color1, inherit); max-height: 320px; overflow: auto; line-height: 1.4;
  margin: 4px 0; border-radius: 4px; font-family: var(--jp-code-font-family, monospace);
  font-size: var(--jp-code-font-size, 13px); unicode-bidi: isolate; }
.gemini-nb-pane pre.gemini-nb-printed { font-size: 12px; max-height: 90px; overflow: hidden; }
.gemini-nb-pane .gemini-nb-displayed { overflow-x: auto; }
.gemini-nb-pane .gemini-nb-inside pre { font-size: 12px; }
.gemini-nb-pane .gemini-nb-text pre { max-height: none; }
.gemini-nb-pane .gemini-nb-text :not(pre) > code { background: var(--jp-layout-color2, #f5f5f5);
  padding: 1px 4px; border-radius: 3px; font-size: 0.92em; }
.gemini-nb-pane table { border-collapse: collapse; margin: 8px 0; display: block; overflow-x: auto;
  max-width: 100%; font-size: 13px; }
.gemini-nb-pane th, .gemini-nb-pane td { border: 0;
  border-bottom: 1px solid var(--jp-border-color2, #ddd); padding: 4px 10px; text-align: left;
  vertical-align: top; background: none; max-width: none; }
.gemini-nb-pane th { border-bottom: 2px solid var(--jp-border-color1, #bbb); font-weight: 600; }
.gemini-nb-pane p { margin: 6px 0; }
.gemini-nb-pane ul, .gemini-nb-pane ol { margin: 6px 0; padding-left: 26px; }
.gemini-nb-pane blockquote { margin: 6px 0; padding: 0 12px; color: var(--jp-content-font-color2, #555);
  border-left: 3px solid var(--jp-border-color1, #bbb); }
.gemini-nb-pane h1, .gemini-nb-pane h2, .gemini-nb-pane h3, .gemini-nb-pane h4, .gemini-nb-pane h5,
  .gemini-nb-pane h6 { margin: 12px 0 4px; line-height: 1.3; font-weight: 600; }
.gemini-nb-pane h1 { font-size: 1.5em; }
.gemini-nb-pane h2 { font-size: 1.3em; }
.gemini-nb-pane h3 { font-size: 1.15em; }
.gemini-nb-pane h4 { font-size: 1em; }
.gemini-nb-pane hr { border: 0; border-top: 1px solid var(--jp-border-color2, #ddd); margin: 10px 0; }
.gemini-nb-pane a { color: var(--jp-content-link-color, #1a73e8); }
"""

_ENDED = """
.gemini-nb-pane .jupyter-widgets-disconnected::before { content: none; }
.gemini-nb-pane.jupyter-widgets-disconnected::before { color: var(--jp-error-color1, #b00020);
  content: "The kernel ended, and this answer with it. Run the cell again to ask again."; font: inherit; }
.gemini-nb-pane.jupyter-widgets-disconnected .jupyter-button,
  .gemini-nb-pane.jupyter-widgets-disconnected .gemini-nb-steps,
  .gemini-nb-pane.jupyter-widgets-disconnected [data-status=active].gemini-nb-badge { display: none; }
.gemini-nb-pane.jupyter-widgets-disconnected .gemini-nb-call::after { animation: none; }
"""

SHEET = _FRAME + _HEAD + _CARDS + _TEXT + _ENDED
