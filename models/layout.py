"""Where streams of a network may be coupled, and what a trial puts there: all of it data.

Shapes: B examples, C channels; at a site every stream's tensor is seen as [B, C, *size].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

from torch import Tensor, nn

Tree = Any
"""What one stream takes or gives: a tensor, or tensors by name (tokens with their mask)."""

NONE: Final = "none"
COUPLING: Final = "coupling"
_ARROW: Final = ">"

NOT_SEEN: Final = "not a tensor [B, channels, *size]; give it a view"

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _frozen(mapping: Mapping[_Key, _Value]) -> Mapping[_Key, _Value]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True)
class Feature:
    """The shape of a stream's features, [B, channels, *size]; a size is None where it varies."""

    channels: int
    size: tuple[int | None, ...] = ()

    @property
    def rank(self) -> int:
        """How many dimensions follow the channels: 0 for vectors, 2 for maps."""
        return len(self.size)


def _itself(output: Tree) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(f"gives a {type(output).__name__}, {NOT_SEEN}")
    return output


def _replaced(output: Tree, new: Tensor) -> Tree:
    return new


@dataclass(frozen=True)
class View:
    """How a level's own output is seen as [B, C, *size], and how the exchanged one is put back.

    Attributes:
        see: output -> [B, C, *size].
        put: (output, new [B, C', *size]) -> what the level would have given.
        mask: the stream's input -> [B, *size], True where there is something; None for everywhere.
    """

    see: Callable[[Tree], Tensor] = _itself
    put: Callable[[Tree, Tensor], Tree] = _replaced
    mask: Callable[[Tree], Tensor] | None = None


def _channels_second(output: Tree) -> Tensor:
    return _itself(output).movedim(-1, 1)


def _channels_last(output: Tree, new: Tensor) -> Tree:
    return new.movedim(1, -1)


TOKENS: Final = View(_channels_second, _channels_last)
"""Of [B, N, C], as transformers give them."""


@dataclass(frozen=True)
class _Frames:
    count: int

    def see(self, output: Tree) -> Tensor:
        clip: Tensor = _itself(output).unflatten(0, (-1, self.count))
        return clip.movedim(1, 2)

    def put(self, output: Tree, new: Tensor) -> Tree:
        return new.movedim(2, 1).flatten(0, 1)


def frames(count: int) -> View:
    """View [B * count, C, H, W], a clip's frames one by one, as [B, C, count, H, W]."""
    view = _Frames(count)
    return View(view.see, view.put)


@dataclass(frozen=True)
class _First:
    view: View

    def see(self, output: Tree) -> Tensor:
        seen: Tensor = self.view.see(output[0])
        return seen

    def put(self, output: Tree, new: Tensor) -> Tree:
        return (self.view.put(output[0], new), *output[1:])


def first_of(view: View) -> View:
    """View the first of the tuple that a module gives; the others stay as they are."""
    first = _First(view)
    return View(first.see, first.put, view.mask)


@dataclass(frozen=True)
class _Entry:
    name: str
    view: View

    def see(self, output: Tree) -> Tensor:
        seen: Tensor = self.view.see(output[self.name])
        return seen

    def put(self, output: Tree, new: Tensor) -> Tree:
        changed = {self.name: self.view.put(output[self.name], new)}
        return type(output)(**{**output, **changed})


def entry_of(name: str, view: View) -> View:
    """View one tensor of a dictionary that a module gives; the others stay as they are.

    transformers' models give such: ``entry_of("last_hidden_state", TOKENS)``.
    """
    entry = _Entry(name, view)
    return View(entry.see, entry.put, view.mask)


@dataclass(frozen=True)
class _Masked:
    name: str

    def mask(self, given: Tree) -> Tensor:
        there: Tensor = given[self.name].bool()
        return there


def masked_by(name: str, view: View) -> View:
    """The view of a stream that takes a dictionary, whose entry says where there is no padding.

    ``masked_by("attention_mask", TOKENS)`` is for tokens padded as transformers' tokenizers do.
    """
    return View(view.see, view.put, _Masked(name).mask)


@dataclass(frozen=True)
class Site:
    """A place where levels of several streams can be coupled.

    Attributes:
        name: in YAML, records and figures.
        after: stream -> level, or name of a submodule, behind which the site lies.
        views: stream -> how its output is seen there; those not named are [B, C, *size] already.
        gated: streams that a coupling may change; None for all.
        options: kind, or kind and direction ("cross image>audio") -> arguments of it at this site,
            where a placement says nothing else.
        merged: (stream, feature) -> module behind a concatenation, built only where there is one.
    """

    name: str
    after: Mapping[str, str]
    views: Mapping[str, View] = field(default_factory=dict)
    gated: tuple[str, ...] | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    merged: Callable[[str, Feature], nn.Module] | None = None

    def __post_init__(self) -> None:
        if not self.name or "." in self.name or _ARROW in self.name:
            raise ValueError(f"site name is {self.name!r}; allowed: a word without '.' and '>'")
        for one in self.gated or ():
            if one not in self.after:
                raise ValueError(
                    f"site {self.name} gates {one!r}; allowed: {', '.join(self.after)}"
                )
        for stream, level in self.after.items():
            if not isinstance(level, str):
                raise ValueError(
                    f"site {self.name} lies after {level!r} of {stream}; allowed: the name of a "
                    f'level, as {{"{stream}": "encoder.layer.0"}}; views are given by '
                    f'views={{"{stream}": view}}'
                )
        for stream, view in self.views.items():
            if stream not in self.after:
                raise ValueError(
                    f"site {self.name} has a view of {stream!r}; allowed: {', '.join(self.after)}"
                )
            if not isinstance(view, View):
                raise ValueError(
                    f"site {self.name} sees {stream} by a {type(view).__name__}; allowed: a View, "
                    "such as TOKENS"
                )
        for name in ("after", "views", "options"):
            object.__setattr__(self, name, dict(getattr(self, name)))


def connection(source: str, target: str) -> str:
    """The name of a connection, such as ``image>audio``."""
    return f"{source}{_ARROW}{target}"


def direction(name: str) -> tuple[str, str]:
    """(source, target) of a connection's name.

    Raises:
        ValueError: it is none.
    """
    source, arrow, target = name.partition(_ARROW)
    if not (source and arrow and target) or source == target:
        raise ValueError(f"connection is {name!r}; allowed: two streams, as image>audio")
    return source, target


def parts_of(name: str, kind: str) -> tuple[str, ...]:
    """What a kind is made of: "both" connections are a cross-connection and a residual one."""
    return ("residual", "cross") if name != COUPLING and kind == "both" else (kind,)


def option_keys(name: str, part: str) -> tuple[str, ...]:
    """Where options of it may stand, the more particular last: ``cross``, ``cross image>audio``."""
    return (part,) if name == COUPLING else (part, f"{part} {name}")


def _immutable(value: Any) -> Any:
    return tuple(map(_immutable, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Placement:
    """What sits where: data that makes a network of a task's settings.

    Attributes:
        sites: site -> {"coupling": kind, "image>audio": kind}; what is not named is "none", and
            is left out of the canonical form that equal placements share.
        end: how the streams end, one of the layout's ``ends``; "" for its first.
        streams: those that the network has, for a unimodal baseline; () for all.
        options: kind, or kind and direction ("cross image>audio") -> arguments of it, in place of
            those of its site.

    Raises:
        ValueError: a connection's name is none, or there are options of what is placed nowhere.
    """

    sites: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    end: str = ""
    streams: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {}
        for site, placed in sorted(self.sites.items()):
            there = {name: kind for name, kind in sorted(placed.items()) if kind != NONE}
            for name in there:
                if name != COUPLING:
                    direction(name)
            if there:
                kept[site] = _frozen(there)
        object.__setattr__(self, "sites", _frozen(kept))
        object.__setattr__(self, "streams", tuple(self.streams))
        used = {
            key
            for placed in kept.values()
            for name, kind in placed.items()
            for part in parts_of(name, kind)
            for key in option_keys(name, part)
        }
        if unplaced := [key for key in self.options if key not in used]:
            raise ValueError(
                f"options of {unplaced[0]!r}, which is placed nowhere; allowed: "
                f"{', '.join(sorted(used)) or 'none, for nothing is placed'}"
            )
        options = {
            key: _frozen({name: _immutable(one) for name, one in sorted(given.items())})
            for key, given in sorted(self.options.items())
            if given
        }
        object.__setattr__(self, "options", _frozen(options))

    def at(self, site: str, name: str = COUPLING) -> str:
        """The kind of a site's coupling, or of one of its connections; "none" for nothing."""
        return self.sites.get(site, {}).get(name, NONE)

    def __hash__(self) -> int:
        return hash((str(self.to_plain()),))

    def __reduce__(self) -> tuple[Any, ...]:
        sites = {site: dict(placed) for site, placed in self.sites.items()}
        options = {key: dict(given) for key, given in self.options.items()}
        return Placement, (sites, self.end, self.streams, options)

    def to_plain(self) -> dict[str, Any]:
        """As YAML or JSON holds it; without options where there are none."""
        sites = {site: dict(placed) for site, placed in self.sites.items()}
        options = {
            key: {name: _plain(one) for name, one in given.items()}
            for key, given in self.options.items()
        }
        plain = {"sites": sites, "end": self.end, "streams": list(self.streams)}
        return {**plain, **({"options": options} if options else {})}


@dataclass(frozen=True)
class Layout:
    """What a network offers to placements: written by hand by networks with a forward of their own.

    Attributes:
        streams: in the order of the network.
        inputs: features of the streams whose input is a float tensor.
        sites: each with its streams' features there, in the order in which data pass them.
        choices: site -> {"coupling" or connection -> kinds offered, "none" first}; only what fits.
        widen: whether a concatenation may change a level's channels.
        ends: how the streams may end, the default first; () where there is one way.
        open: whether couplings of anybody's, named ``module:Class``, may sit at its sites.
        no_sites: why there are none, where that needs to be said.

    Raises:
        ValueError: a name is used twice, or choices name a site or stream that is not there.
    """

    streams: tuple[str, ...]
    inputs: Mapping[str, Feature] = field(default_factory=dict)
    sites: tuple[tuple[Site, Mapping[str, Feature]], ...] = ()
    choices: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    widen: bool = False
    ends: tuple[str, ...] = ()
    open: bool = False
    no_sites: str = ""

    def __post_init__(self) -> None:
        names = [site.name for site, _ in self.sites]
        for what, found in (("stream", list(self.streams)), ("site", names)):
            if len(set(found)) < len(found):
                raise ValueError(f"two {what}s of a layout have one name: {', '.join(found)}")
        for site, kinds in self.choices.items():
            if site not in names:
                raise ValueError(f"choices name site {site!r}; allowed: {', '.join(names)}")
            for name, offered in kinds.items():
                self._check_choice(site, name, offered)

    def _check_choice(self, site: str, name: str, offered: tuple[str, ...]) -> None:
        if not offered or offered[0] != NONE:
            raise ValueError(f"choices of {site}.{name} are {offered}; the first is to be 'none'")
        if name != COUPLING:
            for stream in direction(name):
                if stream not in self.streams:
                    raise ValueError(
                        f"choices of {site} connect {name!r}; allowed: {', '.join(self.streams)}"
                    )

    def options(self) -> dict[str, tuple[str, ...]]:
        """What a space may ask: ``site.coupling`` or ``site.image>audio`` -> kinds that fit."""
        return {
            f"{site}.{name}": kinds
            for site, offered in self.choices.items()
            for name, kinds in offered.items()
        }

    def offers(self, site: str, name: str, kind: str, streams: Sequence[str] = ()) -> bool:
        """Whether a kind fits at a site; a coupling of anybody's is asked itself.

        Args:
            site: of this layout.
            name: "coupling" or a connection.
            kind: what is to be there.
            streams: those that the network has; () for all.

        Raises:
            ValueError: it is named like somebody's coupling, and there is none.
        """
        offered = self.choices.get(site, {}).get(name, ())
        own = bool(offered) and self.open and name == COUPLING and ":" in kind
        if not own and kind not in offered:
            return False
        if not own and not (streams and self.open and name == COUPLING and kind != NONE):
            return True
        # Imports every coupling, which who only reads a layout does without.
        from fusion_search.models.couplings.kinds import coupling_fits

        features = next(here for one, here in self.sites if one.name == site)
        there = {name: one for name, one in features.items() if not streams or name in streams}
        return coupling_fits(kind, there)

    def ordered(self, streams: tuple[str, ...]) -> tuple[str, ...]:
        """A subset in the order of the network, () for all: equal networks are equal trials."""
        found = tuple(one for one in self.streams if one in streams)
        return () if found == self.streams else found

    def _nothing(self) -> str:
        return f"nothing, for {self.no_sites or 'there is no site'}"

    def check(self, placement: Placement) -> None:
        """Raise ``ValueError`` when a placement is not one of this layout's."""
        for site, placed in placement.sites.items():
            for name, kind in placed.items():
                offered = self.options().get(f"{site}.{name}")
                if offered is None:
                    raise ValueError(
                        f"placement names {site}.{name}; allowed: "
                        f"{', '.join(self.options()) or self._nothing()}"
                    )
                if not self.offers(site, name, kind):
                    raise ValueError(f"{site}.{name} is {kind!r}; allowed: {', '.join(offered)}")
        if placement.options:
            # Likewise.
            from fusion_search.models.couplings.options import check_options

            check_options(self, placement)
        if placement.end and placement.end not in self.ends:
            raise ValueError(
                f"end is {placement.end!r}; allowed: {', '.join(self.ends) or 'none but the one'}"
            )
        for stream in placement.streams:
            if stream not in self.streams:
                raise ValueError(f"streams holds {stream!r}; allowed: {', '.join(self.streams)}")
