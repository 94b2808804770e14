"""`%gemini_models`: what there is to ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument

from gemini_nb.config import Auth
from gemini_nb.notebook.magics.arguments import parse_plain, with_arguments
from gemini_nb.notebook.render.words import one_line
from gemini_nb.streams.manager import StreamManager

_WIDEST = 120  # characters of a name


@magics_class
class ModelsMagic(Magics):
    """Lists the models of a service."""

    def __init__(self, shell: Any, find_manager: Callable[[], StreamManager]) -> None:
        super().__init__(shell)
        self._find_manager = find_manager

    @with_arguments(
        argument("words", nargs="*", metavar="TEXT", help="only models whose name holds this"),
        argument("--auth", choices=[str(auth) for auth in Auth], help="the service"),
        argument("--fresh", action="store_true", help="ask for the list anew; it is kept for an hour"),
    )
    @line_magic
    def gemini_models(self, line: str) -> None:
        """List the models that can be asked, with the tokens they take and give: `%gemini_models flash`."""
        args = parse_plain(self.gemini_models, line)
        listed = self._find_manager().models(args.auth, fresh=args.fresh)
        from gemini_nb.notebook.render.markdown.neutral import plain  # few cells need it

        if not listed:
            raise UsageError("The service lists no models.")
        found = [model for model in listed if all(word.lower() in model.name.lower() for word in args.words)]
        if not found:
            raise UsageError(f"None of the {len(listed)} models has {' '.join(args.words)!r} in its name.")
        names = [one_line(plain(model.name), _WIDEST) for model in found]
        width = max(map(len, names))
        print(f"{'model':{width}}  {'in':>9}  {'out':>7}  name")
        for name, model in zip(names, found, strict=True):
            taken, given = (
                "" if limit is None else f"{limit:,}"
                for limit in (model.input_token_limit, model.output_token_limit)
            )
            shown = one_line(plain(model.display_name), _WIDEST)
            print(f"{name:{width}}  {taken:>9}  {given:>7}  {shown}".rstrip())
