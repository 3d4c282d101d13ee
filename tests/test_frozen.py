"""Frozen values behave as frozen dataclasses do."""

import copy
import dataclasses
import pickle
import typing
from functools import cached_property
from typing import Any

import pytest

from nixsecrets.frozen import NamedTuple, field, frozen, replace


@frozen
class Key:
    """A value with every sort of field."""

    name: str
    secret: bytes = field(repr=False)
    source: str = field(default="here", compare=False)
    tags: dict[str, int] = field(default_factory=dict, compare=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.secret))


@dataclasses.dataclass(frozen=True, slots=True)
class AsDataclass:
    """The same, as the standard library defines it."""

    name: str
    secret: bytes = field(repr=False)
    source: str = dataclasses.field(default="here", compare=False)


@frozen
class Square:
    """A value that remembers what it computed."""

    side: int

    @cached_property
    def area(self) -> int:
        return self.side * self.side


@frozen
class Cube(Square):
    """A value with a field more than its base."""

    colour: str = "red"


def test_a_class_has_the_fields_of_its_base_first() -> None:
    assert repr(Cube(2)) == "Cube(side=2, colour='red')"
    assert Cube(2, "blue").area == 4
    assert Cube(2) != Square(2)
    assert replace(Cube(2), side=3) == Cube(3, "red")


def test_values_are_equal_by_class_and_compared_fields() -> None:
    assert Key("a", b"x") == Key(secret=b"x", name="a", source="there")
    assert hash(Key("a", b"x")) == hash(Key("a", b"x", "there"))
    assert Key("a", b"x") != Key("a", b"y")
    other: object = ("a", b"x")
    assert Key("a", b"x") != other
    assert Square(2) == Square(2) != Square(3)


def test_a_repr_leaves_secrets_out() -> None:
    shown = "Key(name='a', source='here', tags={})"
    assert repr(Key("a", b"canary")) == shown


def test_a_value_cannot_be_changed() -> None:
    key: Any = Key("a", b"x")
    with pytest.raises(AttributeError, match="name of a Key cannot be changed"):
        key.name = "b"
    with pytest.raises(AttributeError):
        del key.name
    with pytest.raises(AttributeError):
        key.other = 1


def test_a_default_factory_makes_a_new_value_each_time() -> None:
    first, second = Key("a", b"x"), Key("a", b"x")
    first.tags["one"] = 1
    assert second.tags == {}


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        (("a",), {}, "Key needs a value for secret"),
        (("a", b"x"), {"length": 1}, "Key has no argument length"),
        (("a", b"x"), {"name": "b"}, "Key has no argument name"),
        (("a", b"x", "", {}, 1), {}, "Key takes 4 values"),
        (("a", b"x"), {"size": 1}, "Key has no argument size"),
    ],
)
def test_wrong_arguments_are_refused(
    given: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    make: Any = Key
    with pytest.raises(TypeError, match=message):
        make(*given, **named)


def test_a_value_is_replaced_pickled_and_matched() -> None:
    key = Key("a", b"xy", "there")
    assert replace(key, name="b") == Key("b", b"xy")
    assert replace(key, name="b").source == "there"
    assert pickle.loads(pickle.dumps(key)).size == 2  # noqa: S301 - our own
    match key:
        case Key(name, secret):
            assert (name, secret) == ("a", b"xy")


def test_a_cached_property_is_computed_once() -> None:
    square = Square(3)
    assert square.area == 9
    assert vars(square) == {"area": 9}


def test_the_functions_for_dataclasses_take_it() -> None:
    key = Key("a", b"xy")
    assert dataclasses.is_dataclass(key)
    names = [one.name for one in dataclasses.fields(Key) if one.init]
    assert names == [*Key.__match_args__]
    assert dataclasses.asdict(Square(2)) == {"side": 2}
    assert dataclasses.replace(key, secret=b"xyz").size == 3
    assert Key.__match_args__[:3] == AsDataclass.__match_args__


class Point(NamedTuple):
    """A named tuple with a default, a method and a property."""

    x: int
    y: int = 0

    @property
    def length(self) -> int:
        """How far it is."""
        return self.x + self.y


class ByTyping(typing.NamedTuple):
    """The same, as the standard library defines it."""

    x: int
    y: int = 0


class Cached(Point):
    """A named tuple that remembers what it computed."""

    @cached_property
    def doubled(self) -> int:
        return 2 * self.x


def test_a_named_tuple_does_what_those_of_typing_do() -> None:
    one, theirs = Point(1), ByTyping(1)
    assert tuple(one) == theirs
    assert hash(one) == hash(theirs)
    assert repr(one) == "Point(x=1, y=0)"
    assert tuple(one._replace(y=2)) == theirs._replace(y=2)
    assert tuple(Point(y=3, x=2)) == ByTyping(y=3, x=2)
    assert one._asdict() == theirs._asdict()
    assert tuple(Point._make([4, 5])) == ByTyping._make([4, 5])
    for name in ("_fields", "_field_defaults", "__match_args__"):
        assert getattr(Point, name) == getattr(ByTyping, name)
    assert Point.__doc__ == "A named tuple with a default, a method and a property."
    assert Point(1, 2).length == 3
    assert not hasattr(one, "__dict__")


def test_a_named_tuple_is_pickled_and_can_be_derived_from() -> None:
    for value in (Point(1, 2), Cached(1)):
        again = pickle.loads(pickle.dumps(value))  # noqa: S301
        assert again == value
        assert type(again) is type(value)
    assert copy.copy(Cached(1)) == Cached(1)
    assert Cached(4).doubled == 8
    assert repr(Cached(4)._replace(y=1)) == "Cached(x=4, y=1)"


@pytest.mark.parametrize("given", [{}, {"z": 1}, {"x": 1, "z": 2}])
def test_a_named_tuple_refuses_what_is_no_field(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(**given)
    with pytest.raises((TypeError, ValueError)):
        Point(1)._replace(**{"z": 1})
