"""Answers in Markdown that read the prompt: its topic, its wishes for form and length, and what came before.

Nothing is known about the topic, and nothing is claimed about it: the text is sound general advice with the
prompt's own words in it, says once that it is simulated, and has every element that a pane must be able to
show. The same prompt gives the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gemini_nb.simulator import phrases
from gemini_nb.simulator.clues import Clues, read_clues
from gemini_nb.simulator.prompt import Prompt
from gemini_nb.simulator.vocabulary import TIME_WORDS

__all__ = ["NOTE", "looks_back", "think", "wants_plan", "write_day", "write_prose"]

NOTE = "(This is a simulated answer.)"
"""What every answer says once."""
_LONG = 900
_SHORT = 45
_LONGEST = 20_000
_ECHO = re.compile(
    r"^\s*(?:please\s+)?(?:say|repeat|echo|reply with|answer with)\b(?:\s+exactly)?\s*:?\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_BACK = re.compile(
    r"\b(?:what|which)\b.*\b(?:I|my)\b.*\b(?:ask|asked|say|said|before|previous|earlier|last)\b",
    re.IGNORECASE,
)


def think(prompt: Prompt) -> list[str]:
    """Write the summaries of the thoughts that come before an answer."""
    if prompt.rounds:
        return [_thought("Looking at the results", "The tools have answered. I check each value before use.")]
    thoughts = [
        _thought("Reading the question", f"It is about {prompt.clues.topic}. First, what is asked for?")
    ]
    wishes = [word for word in ("list", "table", "code", "formula") if prompt.clues.mentions(word)]
    if prompt.declarations:
        names = ", ".join(declaration.name for declaration in prompt.declarations[:4])
        thoughts.append(_thought("Choosing a tool", f"The tools at hand are {names}. I ask those that fit."))
    elif wishes:
        thoughts.append(_thought("Choosing a form", f"The answer should have a {' and a '.join(wishes)}."))
    else:
        thoughts.append(_thought("Planning the answer", "A short paragraph first, then the main points."))
    return thoughts


def _thought(heading: str, text: str) -> str:
    return f"**{heading}**\n\n{text}\n\n\n"


def write_prose(prompt: Prompt) -> str:
    """Write the whole answer to a prompt without tools."""
    clues = prompt.clues
    if echoed := _ECHO.match(clues.text):
        wanted = clues.quoted[0] if clues.quoted else echoed[1].strip()
        return f"{wanted}\n\n{NOTE}"
    if prompt.previous and _BACK.search(clues.text):
        return f"You asked before: \u201c{_quote(prompt.previous)}\u201d {NOTE}"
    if _says_nothing(clues):
        return _greet(prompt)
    return _Writer(prompt).write()


def looks_back(prompt: Prompt) -> bool:
    """Whether a later turn only asks what was said, or says nothing of its own, as "Thanks!" does."""
    return bool(prompt.previous) and (bool(_BACK.search(prompt.clues.text)) or _says_nothing(prompt.clues))


def _says_nothing(clues: Clues) -> bool:
    return not (clues.keywords or clues.names or clues.expression)


def wants_plan(clues: Clues) -> bool:
    """Whether the prompt asks for a plan for a place."""
    return bool(clues.places) and clues.mentions("plan", "itinerary", "trip", "visit", "travel")


def write_day() -> str:
    """Write the plan for a day as a table."""
    lines = ["| Time | Plan | Note |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {time} | {plan} | {note} |" for time, plan, note in phrases.DAY)])


def _greet(prompt: Prompt) -> str:
    lines = [f"Hello! What would you like to know? {NOTE}", ""]
    if prompt.previous:
        lines = [f"We were talking about {read_clues(prompt.previous).topic}. {NOTE}", ""]
    lines += [
        "For example, you can ask me to",
        "",
        "- explain something in 100 words,",
        "- plan a day in a city, or",
        "- write a table, some code or a formula.",
    ]
    return "\n".join(lines)


class _Writer:
    """Puts one answer together."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._clues: Clues = prompt.clues
        self._rng = prompt.rng("prose")
        self._words = _subject_words(prompt.clues)
        self._sentences = self._cycle(phrases.SENTENCES)
        self._blocks = {
            "list": self._bullets,
            "table": self._table,
            "code": self._code,
            "formula": self._formula,
        }

    def write(self) -> str:
        """Write the answer in the form and at the length that the prompt asks for."""
        clues = self._clues
        wishes = [word for word in self._blocks if clues.mentions(word)]
        if clues.mentions("poem", "haiku"):
            return self._poem()
        if (length := self._length()) is not None:
            return self._sized(length, wishes)
        blocks = [f"## {_title(clues.topic)}"]
        if not wishes and wants_plan(clues):
            place = clues.places[0]
            opening = self._rng.choice(phrases.DAY_OPENERS).format(topic=clues.topic, place=place)
            advice = [f"- {text.format(place=place)}" for text in self._rng.sample(phrases.DAY_BULLETS, 3)]
            blocks += [f"{self._preface()}{opening} {NOTE}", write_day(), "\n".join(advice)]
        else:
            blocks.append(self._opening(sentences=1 if wishes else 2))
            blocks += [self._blocks[name]() for name in wishes or self._blocks]
        return "\n\n".join([*blocks, self._closer()])

    def _length(self) -> int | None:
        length = self._clues.length
        if length is None and self._clues.mentions("long", "detailed", "essay"):
            length = _LONG
        if length is None and self._clues.mentions("short", "brief", "briefly", "sentence"):
            length = _SHORT
        return None if length is None else min(max(length, 1), _LONGEST)

    def _sized(self, length: int, wishes: list[str]) -> str:
        """Write as many words as were asked for, give or take a sentence."""
        if length <= 12:
            text = (
                f"In short, {self._clues.topic}: mind {self._words[0]}, then {self._words[1]}, and take time."
            )
            words = text.split()
            return " ".join(words[:length]).rstrip(".,:") + ". " + NOTE
        made = [self._blocks[name]() for name in wishes or (self._blocks if length >= 250 else ())]
        if length < 120:
            left = max(length - _count("\n\n".join(made)), 1)
            return "\n\n".join([self._paragraph(left, first=self._opening(sentences=0)), *made])
        blocks = [f"## {_title(self._clues.topic)}", self._opening(sentences=2), *made]
        sections = self._cycle(phrases.SECTIONS)
        while (missing := length - _count("\n\n".join(blocks))) > 8:
            if length >= 200:
                blocks.append(f"### {next(sections)}")
            blocks.append(self._paragraph(min(missing, self._rng.randint(55, 90))))
        return "\n\n".join(blocks)

    def _preface(self) -> str:
        """What the answer has to say about what came with the prompt, and before it."""
        notes = []
        if self._prompt.previous:
            notes.append(f"This follows on from {read_clues(self._prompt.previous).topic}.")
        parts = [part for content in self._prompt.body["contents"][-1:] for part in content["parts"]]
        blobs = [part.get("inlineData") or part.get("fileData") or {} for part in parts]
        kinds = [f"`{blob['mimeType']}`" for blob in blobs if blob.get("mimeType")]
        if kinds:
            notes.append(f"You sent {' and '.join(kinds)}; I see that it is there, not what is in it.")
        return "".join(f"{note} " for note in notes)

    def _opening(self, *, sentences: int) -> str:
        parts = [self._fill(self._rng.choice(phrases.OPENERS)), NOTE]
        parts += [next(self._sentences) for _ in range(sentences)]
        return self._preface() + " ".join(parts)

    def _paragraph(self, length: int, first: str = "") -> str:
        sentences = [first] if first else []
        count = _count(first)
        while count < length:
            sentence = next(self._sentences)
            words = sentence.split()
            if sentences and count + len(words) > length + 5:
                break
            sentences.append(sentence)
            count += len(words)
        return " ".join(sentences)

    def _bullets(self) -> str:
        fixed = [
            text.format(A=_title(self._words[0]), B=_title(self._words[1])) for text in phrases.BULLETS[:2]
        ]
        chosen = [self._fill(text) for text in self._rng.sample(phrases.BULLETS[2:], 2)]
        return "\n".join(f"- {text}" for text in [*fixed, *chosen])

    def _table(self) -> str:
        lines = ["| Point | Look at | Because it | Takes |", "| --- | --- | --- | ---: |"]
        rows = self._rng.sample(phrases.ROWS, min(4, len(self._words)))
        for word, (look, why, time) in zip(self._words, rows, strict=False):
            lines.append(f"| {_title(word)} | {look} | {why} | {time} |")
        return "\n".join(lines)

    def _code(self) -> str:
        name = re.sub(r"\W", "_", self._words[0].lower()) + "_values"
        code = self._rng.choice(phrases.CODE).format(a=self._words[0], name=name)
        return f"A few lines of Python show the idea:\n\n```python\n{code.rstrip()}\n```"

    def _formula(self) -> str:
        formula, meaning = self._rng.choice(phrases.FORMULAS)
        return f"{meaning}\n\n$$\n{formula}\n$$"

    def _closer(self) -> str:
        return self._fill(self._rng.choice(phrases.CLOSERS))

    def _poem(self) -> str:
        first, second = self._words[0], self._words[1]
        lines = [
            f"*{_title(self._clues.topic)}*",
            f"{_title(first)}, half awake,  ",
            f"and {second} beside it:  ",
        ]
        return "\n\n".join([lines[0], "\n".join([*lines[1:], "the page fills slowly."]), NOTE])

    def _cycle(self, texts: tuple[str, ...]) -> Iterator[str]:
        while True:
            for text in self._rng.sample(texts, len(texts)):
                yield self._fill(text)

    def _fill(self, text: str) -> str:
        first, second = self._rng.sample(self._words, 2)
        return text.format(topic=self._clues.topic, a=first, b=second)


def _subject_words(clues: Clues) -> list[str]:
    """The prompt's own words that can stand as subjects, spelt as there, and others up to four."""
    spelt = {word.lower(): word for name in clues.names if name in clues.text for word in name.split()}
    words = [word for word in clues.keywords if re.fullmatch(r"[^\W\d_-]+", word) and word not in TIME_WORDS]
    own = [spelt.get(word, word) for word in words][:5]
    return [*own, *(word for word in phrases.SPARE_WORDS if word not in own)][: max(4, len(own))]


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(text: str) -> int:
    return len(re.findall(r"\w+(?:['\u2019-]\w+)*", text))


def _quote(text: str) -> str:
    short = " ".join(text.split())
    return short if len(short) <= 200 else short[:199].rstrip() + "\u2026"
