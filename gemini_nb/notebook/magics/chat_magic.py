"""`%gemini_chat`: a chat as a box with a field for the next message."""

from __future__ import annotations

import weakref
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.display import display

from gemini_nb.notebook.kernel import cells
from gemini_nb.notebook.kernel.cell_output import CellDisplay
from gemini_nb.notebook.kernel.frontend import Frontend, frontend_of
from gemini_nb.notebook.magics.arguments import chat_arguments, parse
from gemini_nb.notebook.magics.asking import open_chat
from gemini_nb.notebook.magics.completion import attachable
from gemini_nb.notebook.magics.magics import GeminiMagics
from gemini_nb.notebook.magics.named import read_typed
from gemini_nb.streams.chat.chat import Chat

if TYPE_CHECKING:
    from gemini_nb.notebook.chat_box.box import ChatBox

_REST = "%gemini_chat takes one name; values with spaces need quotes. %gemini_chat? lists the options."
_NO_PAGE = (
    "A chat box needs a notebook's page. Here, %gemini_stream -c {name} YOUR MESSAGE sends the next message "
    "of the same chat."
)


@magics_class
class ChatMagic(Magics):
    """Opens chat boxes, and closes them when the extension is unloaded."""

    shell: Any

    def __init__(self, shell: Any, magics: GeminiMagics) -> None:
        super().__init__(shell)
        self._magics = magics
        self._boxes: weakref.WeakSet[ChatBox] = weakref.WeakSet()

    @no_var_expand
    @chat_arguments
    @line_magic
    def gemini_chat(self, line: str) -> None:
        """Open a box to chat in: `%gemini_chat talk -t weather -s "Be brief"`.

        Enter sends; Several lines unfolds the field, and Send sends it. Messages see
        the notebook as prompts do: `{name}` stands for the variable's value. The box and `%%gemini_stream -c
        talk` in cells are one chat, `talk`, a `gemini_nb.Chat`; without a name it is `chat`. A new chat keeps
        the options given here; of one that is there they hold for the messages from this box.

        The transcript stays in the notebook. Close leaves it alone there; so does a restart of the kernel.
        """
        args, notes = parse(self.gemini_chat, line, _REST, self.shell.user_ns), list[str]()
        name, chat, settings = open_chat(self.shell.user_ns, args, notes)
        for note in dict.fromkeys(notes):
            print(note)
        frontend = frontend_of(self.shell)
        if frontend is Frontend.LIVE:
            self._open(name, chat, settings)
            return
        print(_NO_PAGE.format(name=name))
        if frontend is Frontend.HEADLESS and (exchanges := chat.exchanges()):
            from gemini_nb.notebook.render.chat_settled import transcript  # few cells need it

            display(transcript(name, exchanges), raw=True)

    def _open(self, name: str, chat: Chat, settings: dict[str, Any]) -> None:
        from gemini_nb.notebook.chat_box.box import ChatBox, Notebook  # terminals need no widgets
        from gemini_nb.notebook.render.chat_settled import transcript  # few cells need it

        shell, magics = self.shell, self._magics
        runtime = magics.manager.runtime
        notebook = Notebook(
            runtime=runtime,
            find=shell.user_ns.get,
            read=lambda text, notes: read_typed(text, ChainMap(shell.user_ns, magics.names_for(text)), notes),
            names=lambda: attachable(shell),
        )
        box = ChatBox(name, chat, notebook, settings)
        self._boxes.add(box)
        kept = display(transcript(name, chat.exchanges()), raw=True, display_id=True)
        shown = display(box, display_id=True)
        target = runtime.cell_output()
        box.stand_in(CellDisplay(kept, target, shown.display_id), CellDisplay(shown, target))
        cells.register_view(box)

    def register(self) -> None:
        """Let boxes look at the notebook after each cell: names may be new, or stand for something else."""
        self.shell.events.register("post_run_cell", self._look)

    def unregister(self) -> None:
        """Close all boxes; their transcripts stay."""
        self.shell.events.unregister("post_run_cell", self._look)
        for box in list(self._boxes):
            box.detach()

    def _look(self, _: object) -> None:
        for box in list(self._boxes):
            box.wake()
