"""Word lists that the reading of prompts needs."""

from __future__ import annotations

__all__ = [
    "ACRONYMS",
    "ASKING",
    "CODE_NAMES",
    "FUNCTION_WORDS",
    "GENERIC",
    "MEANT",
    "NUMBER_WORDS",
    "PLACES",
    "PLACE_NAMES",
    "TIME_WORDS",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words(
    """
    a about above across after again against all almost alone along already also although always am
    among an and another any anyone anything are around as at away back be because been before being
    below between both but by can cannot could did do does doing done don down during each either else
    enough even ever every everyone few first for from further get gets getting go goes going good got
    had has have having he her here hers him his how however i if in into is isn it its itself just keep
    know last least less let like ll look made make makes making many may maybe me might mine more most
    much must my near need needs never next no nobody nor not nothing now of off often ok on once one
    only onto or other others our ours out over own per please put quite rather re really right same say
    see seem seems she should since so some someone something soon still such sure take takes taking
    tell than thank thanks that the their theirs them then there these they thing things this those
    though through thus to together too toward try two under until up upon us use used using ve very
    want wants was way we well were what when where whether which while who whom whose why will with
    within without would yes yet you your yours
    """
)
"""Words that carry no topic."""

ASKING = _words(
    """
    answer ask book calculate call check choose compare compute convert count create define describe
    design draft estimate essay evaluate example examples explain fetch find generate give haiku help
    hello hey hi ideas implement improve invent list look make name outline plan poem prepare produce
    propose prove question quickly recommend reply report rewrite search send short show simulate solve
    suggest summarise summarize table teach tell think translate use write add find out detail details
    detailed briefly brief words word sentence sentences paragraph paragraphs code formula long bullet
    bullets points steps step
    """
)
"""Words that say what to do with a topic rather than what it is."""

GENERIC = _words(
    """
    api argument arguments array boolean call current data date default description dict example false
    float function given information input int integer item items json key list long name none null
    number object optional output parameter parameters result results return returned returns string
    text tool true type value values
    """
)
"""Words of tool descriptions that say nothing about what the tool is for."""

ACRONYMS = frozenset(
    {"AI", "API", "CPU", "CSV", "GPU", "HTML", "JSON", "ML", "OK", "PDF", "SQL", "SVG", "URL"}
)
"""Words in capitals that name no currency, share or airport."""

CODE_NAMES = frozenset(
    {"symbol", "ticker", "currency", "code", "iata", "source", "target", "base", "from", "to"}
)
"""Words in a parameter's name that ask for such a word in capitals."""

MEANT = {
    "reserve": "book",
    "reservation": "book",
    "dinner": "restaurant",
    "lunch": "restaurant",
    "eat": "restaurant",
    "forecast": "weather",
    "rain": "weather",
    "sunny": "weather",
    "temperature": "weather",
    "umbrella": "weather",
    "shares": "stock",
    "fly": "flight",
    "time": "clock",
    "sum": "calculate",
}
"""What a tool may be named after that is meant by another word."""

TIME_WORDS = _words(
    """
    today tomorrow tonight yesterday morning noon afternoon evening night now week weekend month year
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july
    august september october november december spring summer autumn winter celsius fahrenheit
    """
)

NUMBER_WORDS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
"""Numbers that are written out; "one" is seldom meant as a number."""

PLACES = ("Paris", "Lisbon", "Kyoto", "Nairobi", "Oslo", "Lima")
"""Places to choose from where a tool wants one and the prompt names none."""

PLACE_NAMES = _words(
    """
    address airport area capital cities city countries country destination from island location
    locations origin place places region spot state station to town towns venue village where
    """
)
"""Words in a parameter's name that ask for a place."""
