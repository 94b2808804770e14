"""The sentences and samples that simulated answers are put together from.

`{topic}` is what the prompt is about, `{a}` and `{b}` are words from it.
"""

from __future__ import annotations

__all__ = [
    "BULLETS",
    "CLOSERS",
    "CODE",
    "DAY",
    "DAY_BULLETS",
    "DAY_OPENERS",
    "FORMULAS",
    "OPENERS",
    "ROWS",
    "SECTIONS",
    "SENTENCES",
    "SPARE_WORDS",
]

SPARE_WORDS = ("context", "timing", "cost", "quality", "scale", "practice")
"""Stand in where a prompt has too few words of its own."""

OPENERS = (
    "A good way into {topic} is to start with one concrete case and only then to look at the general rule.",
    "There is a short answer about {topic} and a longer one; both begin with {a}.",
    "The useful question about {topic} is what changes and what stays the same.",
    "Before going into detail about {topic}, it is worth being clear about {a}.",
    "Three things decide most of what can be said about {topic}: {a}, {b}, and how much time there is.",
    "People who are new to {topic} tend to look at {a} first, and that is a sound instinct.",
    "What makes {topic} interesting is that simple parts add up to something less simple.",
    "It is easiest to talk about {topic} with an example at hand, so here is a small one.",
)

SENTENCES = (
    "Most questions about {topic} come down to {a} and {b}, and to how the two depend on each other.",
    "A small change in {a} often matters more than a large one in {b}.",
    "It helps to write down what is already known before looking for more.",
    "The first attempt does not have to be right; it has to be easy to check.",
    "Where {a} is uncertain, give a range instead of a single figure.",
    "Good sources on {a} say how they know what they say.",
    "Much of the effort goes into {b}, which is seldom what one plans for.",
    "Comparing two cases side by side shows more than describing either of them at length.",
    "If there is only an hour to spend, spend it on {a}.",
    "The order matters: {a} first, then {b}, and details last.",
    "What works at a small scale need not work at a large one.",
    "One measured example is worth more than several plausible ones.",
    "It pays to ask early what would count as a good result.",
    "Some of what is said about {a} is habit and can be left out without harm.",
    "The parts that look dull, such as {b}, are often the ones that decide.",
    "Keep a note of what was tried and why it was dropped.",
    "When two explanations fit, prefer the one that could be shown to be wrong.",
    "With {a} settled, {b} becomes much easier to judge.",
    "There is usually a simpler version of the problem that teaches nearly as much.",
    "Exceptions are worth a closer look, since they show where the rule ends.",
    "It is fair to leave a part of this open and to come back to it later.",
    "Numbers help, but only together with the conditions under which they hold.",
    "Ask someone who does this every day, and listen for what they do not mention.",
    "A picture of how {a} leads to {b} makes the rest easier to follow.",
    "Costs and benefits seldom fall to the same people, and that explains much of the debate.",
    "A short list that is kept up to date beats a long one that is not.",
    "What looks like a detail of {b} may be the reason why a plan fails.",
    "Doing it twice, quickly, teaches more than doing it once with great care.",
    "The usual advice is sound here, though it is rarely said what it rests on.",
    "It is easier to add something later than to take it away again.",
    "Two people can mean different things by {a}, so agree on the word first.",
    "The answer changes with the season, the place and the people involved.",
)

SECTIONS = (
    "Where to begin",
    "What tends to go wrong",
    "How the parts fit together",
    "A closer look at {a}",
    "What {b} has to do with it",
    "Doing it in practice",
    "What it costs",
    "Checking the result",
    "Questions that stay open",
    "How others do it",
    "What to do next",
    "When it does not apply",
)

BULLETS = (
    "**{A}**: settle this first, since the rest depends on it",
    "**{B}**: worth a second look before deciding",
    "Start with the smallest version that can be checked",
    "Write down the assumptions, with a date beside each",
    "Compare at least two options, one of them boring",
    "Leave time at the end for what was not planned",
    "Ask what would have to be true for this to fail",
    "Keep what works and change one thing at a time",
    "Look for an example that somebody else has finished",
    "Decide in advance when to stop",
)

ROWS = (
    ("what it is", "sets the frame for everything else", "1 hour"),
    ("how it changes", "shows what can be influenced", "2 hours"),
    ("who is affected", "decides whom to ask", "half a day"),
    ("what it needs", "keeps surprises small", "1 day"),
    ("how to check it", "tells you when you are done", "30 minutes"),
)

DAY = (
    (
        "09:00",
        "Breakfast and a first walk",
        "The streets are quiet, so it is a good time to get your bearings",
    ),
    ("11:00", "One museum or one market", "One is enough; the second is always a blur"),
    ("13:00", "Lunch away from the main square", "Two streets further the menu is shorter and better"),
    ("15:00", "A park, a view or the waterfront", "Move this indoors if the weather turns"),
    ("19:30", "Dinner", "Book ahead for a weekend"),
)

DAY_OPENERS = (
    "For {topic}, plan three things you really want and leave the rest open.",
    "{place} is best on foot, so keep the stops of {topic} close together.",
    "The trick with {topic} is to start early and to sit down often.",
)

DAY_BULLETS = (
    "Buy a day ticket for the tram or the metro in the morning",
    "Carry water; {place} has more stairs than it looks",
    "Keep one stop indoors in reserve, in case it rains",
    "Check opening hours, many places close one day a week",
    "Leave an hour in the afternoon without a plan",
)

CLOSERS = (
    "If you tell me more about {a}, the next answer can be more exact.",
    "From here, the quickest step is to try one of these on a small scale.",
    "I can go further into {b} if that is the part you need.",
    "Say which of these matters most to you, and I will start there.",
)

CODE = (
    """# A first look at {a}, with nothing but the standard library.
from collections import Counter

{name} = ["low", "high", "high", "medium", "high", "low"]
counts = Counter({name})

for value, count in counts.most_common():
    print(f"{{value:>8}} {{'#' * count}}")
""",
    """from statistics import mean, stdev

{name} = [12.1, 11.8, 12.6, 13.0, 12.4]

print(f"mean  {{mean({name}):.2f}}")
print(f"stdev {{stdev({name}):.2f}}")
""",
    '''def running_mean(values):
    """Yield the mean of all values so far."""
    total = 0.0
    for count, value in enumerate(values, start=1):
        total += value
        yield total / count


{name} = [3, 5, 4, 8, 7]
print([round(value, 2) for value in running_mean({name})])
''',
    """from dataclasses import dataclass


@dataclass
class Option:
    name: str
    benefit: float
    cost: float


{name} = [Option("small", 3.0, 1.0), Option("large", 8.0, 5.0)]
best = max({name}, key=lambda option: option.benefit / option.cost)
print(f"best for its cost: {{best.name}}")
""",
)

FORMULAS = (
    (
        r"\bar{x} = \frac{1}{n} \sum_{i=1}^{n} x_i",
        "The mean is the simplest summary, and it says nothing about spread.",
    ),
    (
        r"N(t) = N_0 \, e^{-\lambda t}",
        "Whatever shrinks by the same share in each step follows this curve.",
    ),
    (
        r"E = \sum_{k} p_k \, v_k",
        "To compare options, weigh each outcome's value $v_k$ by its probability $p_k$.",
    ),
    (
        r"\sigma = \sqrt{\frac{1}{n-1} \sum_{i=1}^{n} (x_i - \bar{x})^2}",
        "The standard deviation says how far single cases lie from the mean.",
    ),
    (
        r"\int_a^b f(x) \, dx \approx \frac{b - a}{n} \sum_{i=1}^{n} f(x_i)",
        "Where no closed form is known, a sum over $n$ points is often good enough.",
    ),
)
