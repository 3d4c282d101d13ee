"""Frozen values that cost nothing to define.

`@frozen` is `@dataclass(frozen=True, slots=True)` for a program that starts anew for
each command: a dataclass compiles six methods from text when its module is loaded, 0.7
ms each, and a command has eighty.  Here they are the same functions for all of them,
which know the names of the fields (docs/adr/0026).  mypy checks them as dataclasses.

`NamedTuple` is that of `typing`, whose classes take 0.1 ms each to define.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from operator import attrgetter
from types import CodeType, FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NoReturn,
    TypeVar,
    cast,
    dataclass_transform,
)

T = TypeVar("T")

_REQUIRED: Final = object()


class _Field:
    """What is said of a field besides its name."""

    __slots__ = ("compare", "default", "factory", "init", "repr")

    def __init__(
        self,
        default: Any,
        factory: Callable[[], Any] | None,
        *,
        init: bool,
        repr: bool,  # noqa: A002 - the word that dataclasses have
        compare: bool,
    ) -> None:
        self.default, self.factory = default, factory
        self.init, self.repr, self.compare = init, repr, compare

    def value(self, owner: str, name: str) -> Any:
        """Return the value of a field that was not given."""
        if self.factory is not None:
            return self.factory()
        if self.default is _REQUIRED:
            raise TypeError(f"{owner} needs a value for {name}")
        return self.default


def field(
    *,
    default: Any = _REQUIRED,
    default_factory: Callable[[], Any] | None = None,
    init: bool = True,
    repr: bool = True,  # noqa: A002 - as above
    compare: bool = True,
) -> Any:
    """Describe a field, as `dataclasses.field` does.

    One that is not an argument (`init=False`) is set by `__post_init__`.
    """
    return _Field(default, default_factory, init=init, repr=repr, compare=compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class a frozen value with the fields that it annotates.

    Two are equal if their classes and compared fields are.  What the class defines
    itself (`__hash__`, `__repr__`, `__reduce__`) stays.
    """
    content = dict(vars(cls))
    names = tuple(cls.__annotations__)
    own = {name: _described(content.pop(name, _REQUIRED)) for name in names}
    inherited: Mapping[str, _Field] = getattr(cls, "__frozen__", {})
    fields = {**inherited, **own}
    for added_by_python in ("__dict__", "__weakref__"):
        content.pop(added_by_python, None)
    cached = any(isinstance(one, cached_property) for one in content.values())
    content["__slots__"] = (*names, "__dict__") if cached else names
    content["__frozen__"] = fields
    made: type[T] = cast("Any", type(cls))(cls.__name__, cls.__bases__, content)
    for method, function in _methods(made, fields).items():
        if method not in content:
            setattr(made, method, function)
    return made


def replace(one: T, **changes: Any) -> T:
    """Return a frozen value with other values in some of its fields."""
    kind: Any = type(one)
    same = {name: getattr(one, name) for name in kind.__match_args__}
    changed: T = kind(**(same | changes))
    return changed


class _DataclassFields:
    """Stands for `__dataclass_fields__` until `dataclasses` asks for it.

    So its own functions (`asdict`, `fields`, `replace`) work, and load it themselves.
    """

    def __init__(self, fields: Mapping[str, _Field]) -> None:
        self.fields = fields

    def __get__(self, one: object, kind: Any) -> object:
        import dataclasses

        described = [
            (name, Any, dataclasses.field(init=one.init, repr=one.repr))
            for name, one in self.fields.items()
        ]
        made: Any = dataclasses.make_dataclass(kind.__name__, described)
        kind.__dataclass_fields__ = made.__dataclass_fields__
        return made.__dataclass_fields__


def _described(default: Any) -> _Field:
    if isinstance(default, _Field):
        return default
    return _Field(default, None, init=True, repr=True, compare=True)


def _methods(made: type, fields: Mapping[str, _Field]) -> dict[str, Any]:
    """Return the methods of a frozen class."""
    arguments = tuple(name for name, one in fields.items() if one.init)
    compared = _getter([name for name, one in fields.items() if one.compare])
    shown = [name for name, one in fields.items() if one.repr]
    given = _getter(arguments)
    setters = tuple(getattr(made, name).__set__ for name in arguments)
    finish = getattr(made, "__post_init__", None)
    count = len(arguments)

    def completed(values: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        if len(values) > count:
            raise TypeError(f"{made.__name__} takes {count} values")
        rest = arguments[len(values) :]
        full = [*values]
        for name in rest:
            if name in named:
                full.append(named.pop(name))
            else:
                full.append(fields[name].value(made.__name__, name))
        if named:
            raise TypeError(f"{made.__name__} has no argument {next(iter(named))}")
        return full

    def init(self: Any, *values: Any, **named: Any) -> None:
        full: Sequence[Any] = values
        if named or len(values) != count:
            full = completed(values, named)
        for set_value, value in zip(setters, full, strict=True):
            set_value(self, value)
        if finish is not None:
            finish(self)

    def equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    def hashed(self: Any) -> int:
        return hash(compared(self))

    def shown_as(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({values})"

    def reduced(self: Any) -> tuple[type, tuple[Any, ...]]:
        return type(self), given(self)

    return {
        "__match_args__": arguments,
        "__dataclass_fields__": _DataclassFields(fields),
        "__init__": init,
        "__eq__": equal,
        "__hash__": hashed,
        "__repr__": shown_as,
        "__reduce__": reduced,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
    }


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what makes a tuple of these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple(getattr(one, name) for name in names)


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    raise AttributeError(f"{name} of a {type(self).__name__} cannot be changed")


# --- named tuples -----------------------------------------------------------------

if TYPE_CHECKING or sys.version_info >= (3, 14):  # where annotations are functions
    from typing import NamedTuple as NamedTuple
else:
    from _collections import _tuplegetter

    class _Named(tuple):
        """The methods of all named tuples."""

        __slots__ = ()

        @classmethod
        def _make(cls, values: Iterable[Any]) -> Any:
            return cls(*values)

        def _replace(self, **changes: Any) -> Any:
            values = [*map(changes.pop, self._fields, self)]
            if changes:
                raise TypeError(f"{type(self).__name__} has no {next(iter(changes))}")
            return tuple.__new__(type(self), values)

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            pairs = zip(self._fields, self, strict=True)
            values = ", ".join(f"{name}={value!r}" for name, value in pairs)
            return f"{type(self).__name__}({values})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

    @cache
    def _maker(count: int) -> CodeType:
        """Return the code of a function that makes a tuple of `count` arguments."""
        names = "".join(f"_{number}, " for number in range(count))
        return eval(f"lambda cls, {names}: new(cls, ({names}))").__code__  # noqa: S307

    class _NamedClass(type):
        """Turns a class that derives from `NamedTuple` into one with `_Named`."""

        def __new__(cls, name: str, _: object, content: dict[str, Any]) -> type:
            fields = tuple(content.get("__annotations__", ()))
            defaults = {one: content.pop(one) for one in fields if one in content}
            code = _maker(len(fields)).replace(
                co_varnames=("cls", *fields), co_qualname=f"{name}.__new__"
            )
            known = {"new": tuple.__new__}
            new = FunctionType(code, known, "__new__", tuple(defaults.values()))
            content |= {one: _tuplegetter(n, None) for n, one in enumerate(fields)}
            content |= {"__slots__": (), "__new__": new, "__match_args__": fields}
            content |= {"_fields": fields, "_field_defaults": defaults}
            return type(name, (_Named,), content)

    NamedTuple = type.__new__(_NamedClass, "NamedTuple", (), {})
