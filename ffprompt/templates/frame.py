"""The texts of a template: Jinja2 in a sandbox, of which a template may use little.

Names, literals, whitelisted filters, ``if``, and ``for`` over what it is given. That rules out attribute access, calls
and endless loops before anything is rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ffprompt.errors import TemplateError, did_you_mean

# Stand in for the parts that are put in after Jinja has rendered the frame; a template may not contain them.
EVENTS, ANSWER = "\ue000", "\ue001"

# Names that Jinja2 would know by itself (range, lipsum, cycler …) are none of a template's business.
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
_ENVIRONMENT.globals.clear()
_FILTERS = frozenset({"capitalize", "first", "join", "last", "length", "lower", "title", "trim", "upper"})
_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.If,
    nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Filter,
    nodes.Getitem,
)  # fmt: skip
_MOST_CHARACTERS = 100_000


class Frame:
    """A Jinja2 text of a template, checked. Raises TemplateError naming ``key`` and what is not allowed."""

    def __init__(self, source: str, key: str, names: Sequence[str], once: str | None = None) -> None:
        self.key = key
        not_reserved(key, source)
        try:
            tree = _ENVIRONMENT.parse(source)
        except TemplateSyntaxError as error:
            raise TemplateError(f"{key}: {error.message} (line {error.lineno})") from error
        except (RecursionError, ValueError) as error:
            raise TemplateError(f"{key}: cannot be parsed ({error})") from error
        for node in _walk(tree, key):
            if not isinstance(node, _ALLOWED):
                where = f" (line {node.lineno})" if node.lineno else ""
                raise TemplateError(
                    f"{key}: {type(node).__name__}{where} is not allowed; a template may use names, "
                    "literals, [number], if, for over values, and the filters " + ", ".join(sorted(_FILTERS))
                )
        for name in sorted(meta.find_undeclared_variables(tree)):
            if name not in names:
                raise TemplateError(f"{key}: unknown name {name!r}{did_you_mean(name, names)}")
        if once is not None:
            found = sum(isinstance(node, nodes.Name) and node.name == once for node in tree.find_all(nodes.Name))
            if found != 1:
                raise TemplateError(f"{key}: {{{{ {once} }}}} must stand in it exactly once, not {found} times")
        # Names that stand by themselves on the top level: certain to be rendered, exactly once each.
        top = [part for node in tree.body if isinstance(node, nodes.Output) for part in node.nodes]
        self.plain = [part.name for part in top if isinstance(part, nodes.Name)]
        self._template = _ENVIRONMENT.from_string(source)

    def render(self, **names: Any) -> str:
        """Fill in the names."""
        try:
            text = self._template.render(names)
        except (JinjaError, TypeError, ValueError, LookupError) as error:
            raise TemplateError(f"{self.key}: cannot be rendered ({error})") from error
        if len(text) > _MOST_CHARACTERS:
            raise TemplateError(f"{self.key}: renders to {len(text)} characters; {_MOST_CHARACTERS} are allowed")
        return text


def _walk(tree: nodes.Node, key: str, loops: int = 0) -> Iterator[nodes.Node]:
    for node in tree.iter_child_nodes():
        if isinstance(node, nodes.For):
            if loops or not isinstance(node.iter, (nodes.Name, nodes.List, nodes.Tuple)) or node.recursive:
                raise TemplateError(f"{key}: for (line {node.lineno}) may run over values only, and not be nested")
        elif isinstance(node, nodes.Filter):
            _check_filter(node, key)
        elif isinstance(node, nodes.Getitem) and not (
            isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, int)
        ):
            raise TemplateError(f"{key}: [ ] (line {node.lineno}) takes a number only")
        yield node
        yield from _walk(node, key, loops + isinstance(node, nodes.For))


def not_reserved(key: str, text: str) -> None:
    """Raise TemplateError for a text with a character that stands for what is put in later."""
    if EVENTS in text or ANSWER in text:
        raise TemplateError(f"{key}: the characters U+E000 and U+E001 are reserved")


def _check_filter(node: nodes.Filter, key: str) -> None:
    """Filters take no arguments, but join a literal; and joins of joins, which can grow without bound, are out."""
    where = f"{key}: filter {node.name!r} (line {node.lineno})"
    if node.name not in _FILTERS:
        raise TemplateError(f"{where}{did_you_mean(node.name, _FILTERS)}")
    literal = node.name == "join" and len(node.args) == 1 and isinstance(node.args[0], nodes.Const)
    if (node.args and not literal) or node.kwargs or node.dyn_args or node.dyn_kwargs:
        raise TemplateError(f"{where} takes no argument" + (" but one literal text" if node.name == "join" else ""))
    if node.name == "join" and any(inner.name == "join" for inner in node.find_all(nodes.Filter)):
        raise TemplateError(f"{where} may not be applied to another join")
