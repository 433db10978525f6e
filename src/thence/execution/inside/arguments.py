"""What a program was told to do, as it understood it: arguments that it parsed, configurations."""

from __future__ import annotations

import sys
from _thread import _local

from . import frames, values
from .wrapping import like, quietly, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .observation import Observation

__all__ = ["KIND", "Arguments", "start"]

KIND = "params"
# Of configurations that a program makes; one that makes thousands does not mean them for people.
_CONFIGURATIONS = 50


def start(observation: Observation) -> None:
    """Listen to the parsers of arguments and configurations."""
    arguments = Arguments(observation)
    when = observation.imports.when
    when("argparse", arguments.has_argparse)
    when("click.core", arguments.has_click)
    when("typer._click.core", arguments.has_click)
    when("fire.core", arguments.has_fire)
    when("hydra.core.utils", arguments.has_hydra)
    when("omegaconf.omegaconf", arguments.has_omegaconf)


class Arguments:
    """Tells what was parsed.

    Args:
        observation: Is told.
    """

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._local = _local()
        self._configurations = 0

    def tell(
        self,
        origin: str,
        found: dict[str, Any],
        *,
        defaults: list[str],
        argv: list[str] | None,
        rest: list[str],
    ) -> None:
        """Tell parameters.

        Args:
            origin: Who parsed.
            found: By name, any values.
            defaults: Names of those that nobody gave.
            argv: The arguments of this process, where it was these that were parsed.
            rest: Those of them that nobody made sense of.
        """
        plain = values.flat(found)
        if plain or argv is not None:
            self._observation.tell(
                KIND,
                origin=origin,
                values=plain,
                defaults=[name for name in plain if name.partition(".")[0] in defaults],
                program=_program(),
                argv=argv,
                rest=rest,
            )

    # argparse

    def has_argparse(self, module: Any) -> None:
        """The module `argparse` is there."""
        busy, parsed = self._local, self._parsed

        def around(inner: Any) -> Any:
            def parse_known_args(self: Any, args: Any = None, namespace: Any = None) -> Any:
                if getattr(busy, "parsing", False):  # the parser of a subcommand
                    return inner(self, args, namespace)
                busy.parsing = True
                try:
                    result = inner(self, args, namespace)
                finally:
                    busy.parsing = False
                quietly(lambda: parsed(self, args, result[0], result[1]))
                return result

            return parse_known_args

        wrap(module.ArgumentParser, "parse_known_args", around, KIND)

    def _parsed(self, parser: Any, args: Any, namespace: Any, rest: list[str]) -> None:
        words = sys.argv[1:] if args is None else [str(one) for one in args]
        caller = frames.outside(sys.modules["argparse"].__file__)
        # These tell what comes of it themselves.
        if frames.own() is None or caller.partition(".")[0] in {"hydra", "fire"}:
            return
        # A library that parses something for its own ends is not asked; one that parses for the
        # program gives it the arguments of the process.
        is_argv = words == sys.argv[1:]
        if not is_argv and not frames.is_own_module(caller):
            return
        found = dict(vars(namespace))
        self.tell(
            "argparse",
            found,
            defaults=_defaults(parser, found, words),
            argv=words if is_argv else None,
            rest=[str(one) for one in rest],
        )

    # click and typer

    def has_click(self, module: Any) -> None:
        """The module `click.core` is there, or the one of it that typer has."""
        invoked = self._invoked

        def around(inner: Any) -> Any:
            def invoke(self: Any, ctx: Any) -> Any:
                quietly(lambda: invoked(self, ctx))
                return inner(self, ctx)

            return invoke

        wrap(module.Command, "invoke", around, KIND)

    def _invoked(self, command: Any, ctx: Any) -> None:
        if not _is_own_function(command.callback):
            return
        hidden = {one.name for one in command.params if getattr(one, "hide_input", False)}
        found = {name: one for name, one in ctx.params.items() if name not in hidden}
        sources = {name: ctx.get_parameter_source(name) for name in found}
        name = str(ctx.find_root().info_name or "")
        is_argv = name.startswith("python -m") or name == _base(sys.argv[0])
        self.tell(
            "click",
            found,
            defaults=[
                name for name, one in sources.items() if one is not None and "DEFAULT" in one.name
            ],
            argv=sys.argv[1:] if is_argv else None,
            rest=[str(one) for one in ctx.args] if not getattr(command, "commands", None) else [],
        )

    # fire

    def has_fire(self, module: Any) -> None:
        """The module `fire.core` is there."""
        parsed = self._fired

        def around(inner: Any) -> Any:
            def make(fn: Any, metadata: Any) -> Any:
                parse = inner(fn, metadata)

                def parsing(args: Any) -> Any:
                    result = parse(args)
                    quietly(lambda: parsed(fn, args, result))
                    return result

                return parsing

            return make

        wrap(module, "_MakeParseFn", around, KIND)

    def _fired(self, function: Any, args: Any, result: Any) -> None:
        from inspect import signature

        if not _is_own_function(getattr(function, "__init__", None) or function) and (
            not _is_own_function(function)
        ):
            return
        (given, named), _, rest, _ = result
        takes = signature(function)
        bound = takes.bind(*given, **named)
        bound.apply_defaults()
        found = dict(bound.arguments)
        words = [str(one) for one in args]
        is_argv = bool(words) and sys.argv[-len(words) :] == words
        self.tell(
            "fire",
            found,
            defaults=[name for name, one in found.items() if one is takes.parameters[name].default],
            argv=sys.argv[1:] if is_argv else None,
            rest=[str(one) for one in rest],
        )

    # Hydra and OmegaConf

    def has_hydra(self, module: Any) -> None:
        """The module `hydra.core.utils` is there, and not yet what imports from it."""

        def around(inner: Any) -> Any:
            def run_job(*args: Any, **kwargs: Any) -> Any:
                if "task_function" in kwargs:
                    kwargs["task_function"] = told(kwargs["task_function"])
                elif args:
                    args = (told(args[0]), *args[1:])
                return inner(*args, **kwargs)

            return run_job

        def told(task: Any) -> Any:
            def task_function(cfg: Any) -> Any:
                quietly(lambda: configured(cfg))
                return task(cfg)

            return like(task_function, task, KIND)

        def configured(cfg: Any) -> None:
            words = sys.argv[1:]
            own = ("-", "hydra.", "+hydra.", "++hydra.")
            found = _container(sys.modules["omegaconf"].OmegaConf, cfg)
            rest = [word for word in words if word.startswith(own)]
            self.tell("hydra", found, defaults=[], argv=words, rest=rest)

        wrap(module, "run_job", around, KIND)

    def has_omegaconf(self, module: Any) -> None:
        """The module `omegaconf.omegaconf` is there."""
        holder = module.OmegaConf
        for name in ("create", "load", "merge", "unsafe_merge", "from_cli", "from_dotlist"):
            wrap(holder, name, lambda inner: self._making(holder, inner), KIND)

    def _making(self, holder: Any, inner: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            if frames.caller(2) is not None:
                quietly(lambda: made(result))
            return result

        def made(result: Any) -> None:
            self._configurations += 1
            if self._configurations <= _CONFIGURATIONS:
                found = _container(holder, result)
                self.tell("omegaconf", found, defaults=[], argv=None, rest=[])

        return make


def _container(holder: Any, cfg: Any) -> dict[str, Any]:
    plain = holder.to_container(cfg, resolve=False, enum_to_str=True)
    if not isinstance(plain, dict):
        return {}
    # What a resolver of the program does must not be done twice.
    if not values.calls_resolvers(plain):
        try:
            return dict(holder.to_container(cfg, resolve=True, enum_to_str=True))
        except Exception:
            return dict(plain)  # something is missing yet
    return dict(plain)


def _defaults(parser: Any, found: dict[str, Any], words: list[str]) -> list[str]:
    given = set()
    for action in _actions(parser):
        if action.option_strings:
            options = action.option_strings
            is_given = any(_names(word, option) for word in words for option in options)
        else:
            is_given = found.get(action.dest) is not action.default
        if is_given:
            given.add(action.dest)
    return [name for name in found if name not in given]


def _actions(parser: Any) -> list[Any]:
    found = []
    todo = [parser]
    while todo:
        for action in todo.pop()._actions:  # noqa: SLF001
            found.append(action)
            choices = action.choices if action.nargs == "A..." else None
            if isinstance(choices, dict):
                todo += choices.values()
    return found


def _names(word: str, option: str) -> bool:
    """Whether a word of the command line is an option: whole, with its value, or abbreviated."""
    if word.startswith("--"):
        return len(word) > 2 and option.startswith(word.partition("=")[0])
    return word.startswith(option) if len(option) == 2 else word.partition("=")[0] == option


def _is_own_function(function: Any) -> bool:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and frames.is_own(code.co_filename)


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _program() -> str:
    name = _base(sys.argv[0] if sys.argv else "")
    return name.removesuffix(".py")
