"""The tokens of a text as a tree.

markdown-it's own tree knows the parent of each node. Such cycles wait for the garbage collector, which walks
the whole heap of the kernel while every other thread stands still. This tree goes when its last user does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token


@dataclass(slots=True)
class Node:
    """A block and the blocks in it.

    Attributes:
        token: the token that opens it, or is all of it.
        children: what it holds.
    """

    token: Token
    children: list[Node] = field(default_factory=list)

    @property
    def type(self) -> str:
        """What it is, such as `bullet_list`."""
        return self.token.type.removesuffix("_open")

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of its tag."""
        return self.token.attrs

    @property
    def inline(self) -> Sequence[Token]:
        """The inline tokens of a paragraph, a heading or a cell."""
        return (self.children[0].token.children if self.children else None) or ()

    def walk(self) -> Iterator[Node]:
        """The node and everything in it."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree(tokens: Sequence[Token]) -> list[Node]:
    """The blocks of the highest level."""
    top: list[Node] = []
    open_nodes: list[list[Node]] = [top]
    for token in tokens:
        if token.nesting < 0:
            open_nodes.pop()
            continue
        node = Node(token)
        open_nodes[-1].append(node)
        if token.nesting > 0:
            open_nodes.append(node.children)
    return top


def new_token(kind: str, tag: str = "", nesting: Literal[-1, 0, 1] = 0, content: str = "") -> Token:
    """A token of ours."""
    from markdown_it.token import Token  # importing the package stays cheap

    return Token(kind, tag, nesting, content=content)
