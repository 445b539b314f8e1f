"""The look: a logo, and the few rules of CSS that Streamlit's theme (options.py) has no option for."""

FAVICON = "🔥"

ABOUT = (
    "**Phireside** runs a small language model on this machine, with llama.cpp. "
    "What you write stays in this machine's database."
)

LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 32" width="150" height="32">
<path fill="#d9622b" d="M14 2c1.500 4.600 8.600 8.600 8.600 16.600A8.900 8.900 0 0 1 13.600 28
9 9 0 0 1 4.600 18.800c0-4 2.200-6.600 4.200-8.800.4 2.600 1.400 4 2.800 4.800C11 10.400 12 6 14 2z"/>
<path fill="#f6b04d" d="M13.700 26.200a4.800 4.800 0 0 1-4.800-4.900c0-2.800 2.300-4.200 3.700-7.200
2.600 1.800 5.900 4 5.900 7.400a4.800 4.800 0 0 1-4.800 4.700z"/>
<text x="32" y="23" fill="#b8683f" font-family="Georgia, serif" font-size="21" font-weight="600">Phireside</text>
</svg>"""

STYLE = """<style>
/* Less air above and below; our own Stop button and texts say what runs. */
.block-container { padding-top: 4.25rem; padding-bottom: 1rem; }
/* Streamlit hides the names of icon buttons far below; without this, a focus there scrolls the whole app away. */
.block-container { position: relative; }
/* The closed sidebar of a phone is not walked through with Tab, unseen. */
[data-testid="stSidebar"][data-collapsed="true"] { visibility: hidden; }
[data-testid="stBottomBlockContainer"] { padding-top: .5rem; padding-bottom: .75rem; }
[data-testid="stBottomBlockContainer"] > div { gap: .25rem; }
[data-testid="stStatusWidget"] { display: none; }
/* A page begins with a heading of the first level, which need not be huge. */
[data-testid="stHeading"] h1 { font-size: 2.25rem; }
[data-testid="stHeading"] h2 { font-size: 1.75rem; }
[data-testid="stChatMessage"] { overflow-wrap: anywhere; }
[data-testid="stChatMessageContent"] > [data-testid="stVerticalBlock"] { gap: .6rem; }
[data-testid="stChatMessage"]:has(> [aria-label="Chat message from user"]) {
  background: color-mix(in srgb, currentColor 5%, transparent);
}
[data-testid="stChatMessageAvatarCustom"] {
  background: transparent; border-color: color-mix(in srgb, currentColor 20%, transparent);
}
/* Streamlit's own are too pale to be read by everybody (WCAG 2.2, 1.4.3). */
[data-testid="stCaptionContainer"] { opacity: .85; }
[data-testid="stPopoverButton"][aria-expanded="true"] { color: inherit; border-color: currentColor; }
:is(button[data-variant], [role="tab"])[data-selected], [data-testid="stSliderThumbValue"],
:is([data-testid="stBaseButton-secondary"], [data-testid="stBaseButton-tertiary"]):is(:hover, :focus-visible) {
  color: color-mix(in srgb, #bc5822 60%, currentColor) !important;
}
/* The marks of what can be chosen, too (1.4.11); and no name of one is bold, as a screen reader would say asterisks. */
[data-testid="stCheckbox"] label:not([data-selected]) > div:empty,
[data-testid="stRadioOption"]:not([data-selected]) > div > div:first-child {
  border-color: color-mix(in srgb, currentColor 60%, transparent);
}
[class*="st-key-choose-"] p { font-weight: 600; }
[data-testid="stCode"] code .token[class] { color: color-mix(in srgb, var(--hue, currentColor) 50%, currentColor); }
[data-testid="stCode"] .token:is(.keyword, .tag, .function, .class-name, .selector) { --hue: #1c83e1; }
[data-testid="stCode"] .token:is(.string, .char, .attr-value, .boolean, .constant, .symbol) { --hue: #09ab3b; }
[data-testid="stCode"] .token:is(.property, .attr-name, .variable, .number, .regex) { --hue: #00a4d4; }
[data-testid="stCode"] .token:is(.operator, .entity, .decorator, .atrule) { --hue: #ff8700; }
[data-testid="stCode"] .token:is(.important, .deleted) { --hue: #ff2b2b; }
/* A text is opened to be copied, and a finger hovers over nothing: the button for it is there at once. */
[data-testid="stPopoverBody"] [data-testid="stCode"] > div { opacity: 1; visibility: visible; }
@media (hover: none) { [data-testid="stCode"] > div { opacity: 1; visibility: visible; } }
/* The buttons under a message keep in the background, and have no arrows. */
[class*="st-key-actions-"] { opacity: .6; transition: opacity .15s; }
[class*="st-key-actions-"]:is(:hover, :focus-within) { opacity: 1; }
:is([class*="st-key-actions-"], .st-key-chats-open, .st-key-base-more) [data-testid="stPopoverButton"] {
  div[aria-hidden="true"] { display: none; }
}
:is([class*="st-key-actions-"], .st-key-chats-open, .st-key-base-more) [data-testid="stPopoverButton"] p,
[class*="st-key-actions-"] [data-testid="stButton"] p {
  position: absolute; width: 1px; overflow: hidden; clip-path: inset(50%);
}
/* Lists of buttons read as lists. */
:is([class*="st-key-chats-"], .st-key-examples) button :is(div, span) { justify-content: flex-start; }
:is([class*="st-key-chats-"], .st-key-examples) button > div { width: 100%; text-align: left; }
[class*="st-key-chats-"] button :is(div, span, p) { min-width: 0; overflow: hidden; }
[class*="st-key-chats-"] button p { text-overflow: ellipsis; white-space: nowrap; }
/* A fact, and small below it where it is from: one line, however narrow. */
[class*="st-key-fact-"] { padding: .7rem 0; border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
[class*="st-key-source-"] :is(div, a, span) { min-width: 0; }
[class*="st-key-source-"] [data-testid="stCaptionContainer"] { white-space: nowrap; }
[class*="st-key-source-"] [data-testid="stPageLink"] :is(a, p) { font-size: .875rem; padding: 0; }
[class*="st-key-source-"] [data-testid="stPageLink"] p {
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; text-decoration: underline;
  text-decoration-color: color-mix(in srgb, currentColor 30%, transparent); text-underline-offset: .2em;
}
/* The passages that were found, and those that an answer cites: small, and one line each. */
[class*="st-key-source-of-"] { max-width: 16rem; }
[class*="st-key-found-"] { max-width: 100%; }
:is([class*="st-key-source-of-"], [class*="st-key-found-"]) [data-testid="stPopoverButton"] {
  padding: 0 .25rem; min-height: 1.75rem;
}
:is([class*="st-key-source-of-"], [class*="st-key-found-"]) [data-testid="stPopoverButton"] p {
  font-size: .8125rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
}
[class*="st-key-about-"] [data-testid="stCaptionContainer"] { padding: 0 0 .5rem 1.5rem; }
/* The row above the input box is one row, however long the names in it: Stop has its place, and nothing jumps. */
.st-key-composer { flex-wrap: nowrap; }
.st-key-composer > [class*="st-key-"] { min-width: 1.5rem; }
.st-key-composer > .st-key-pick-model { flex: 0 9 auto; }
.st-key-composer > .st-key-pick-base { flex: 0 1 auto; }
:is(.st-key-pick-model, .st-key-pick-base) button p { overflow: hidden; text-overflow: ellipsis; }
/* On a phone these buttons are icons, and no button has an arrow. */
@media (max-width: 640px) {
  :is(.st-key-pick-style, .st-key-pick-memory, .st-key-pick-base, .st-key-pick-tools) p {
    position: absolute; width: 1px; overflow: hidden; clip-path: inset(50%);
  }
  .st-key-composer { gap: .5rem; }
  .st-key-composer > .st-key-pick-base { flex: 0 0 auto; }
  .st-key-composer [data-testid="stPopoverButton"] div[aria-hidden="true"] { display: none; }
}
[class*="st-key-facts-"] { row-gap: .25rem; }
/* How the context was used. */
.context-bar {
  display: flex; gap: 1px; width: 100%; min-width: 4.5rem; height: .4rem; border-radius: .2rem; overflow: hidden;
}
.context-bar i { min-width: 2px; flex-basis: 0; }
.context-legend {
  display: grid; grid-template-columns: auto 1fr auto; gap: .15rem .5rem; align-items: center;
  margin-top: .5rem; font-size: .875rem;
}
.context-legend b { font-weight: 400; text-align: right; font-variant-numeric: tabular-nums; }
.context-legend i { width: .6rem; height: .6rem; border-radius: .15rem; }
:is(.context-bar, .context-legend) i { background: #d9622b; }
:is(.context-bar, .context-legend) :is(.system, .tools) { background: #8a7567; }
:is(.context-bar, .context-legend) :is(.memory, .passages) { background: #f6b04d; }
:is(.context-bar, .context-legend) .answer { background: color-mix(in srgb, currentColor 35%, transparent); }
:is(.context-bar, .context-legend) .left { background: color-mix(in srgb, currentColor 12%, transparent); }
/* Prompts of a chain, to be changed: indentation counts. */
[class*="st-key-prompts-"] textarea { font-family: monospace; font-size: .8125rem; line-height: 1.5; }
</style>"""
