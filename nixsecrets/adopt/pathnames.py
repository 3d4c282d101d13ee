"""Names of keys by paths of the rules: the only reader of `hosts/web/…` is web."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from nixsecrets.adopt.hints import OwnerKind, Sighting, kind_of_words, safe_name
from nixsecrets.adopt.oldrules import Access, Old
from nixsecrets.keys.recipients import KeyId, Recipient

_WORD = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9][A-Za-z0-9_-]*")
_AFFIX = re.compile(r"(?<=.)[_-](?:key|privkey|pubkey|hostkey|age|ssh)$")
_FEWEST = 3  # words of a family: two files may have one reader each by chance
_Votes = dict[tuple[KeyId, str], Counter[OwnerKind | None]]


def folded(name: str) -> str:
    """Return what spellings of one name have in common: `web_1`, `Web-1`, `web.1`."""
    return re.sub(r"[_.-]+", "-", name).lower()


def places(texts: Iterable[str]) -> Iterator[tuple[str, str, OwnerKind | None]]:
    """Yield (template, word, kind) for each word of paths or expressions.

    The template is the text without the word; `kind` is what the folder before the word
    is for: `hosts/web/x` says that `web` is a host.
    """
    for text in texts:
        plain = text.replace("\\", "")
        for found in _WORD.finditer(plain):
            before, after = plain[: found.start()], plain[found.end() :]
            folder = re.findall(r"[A-Za-z]+(?=/$)", before)
            yield f"{before}\0{after}", found[0], kind_of_words(folder)


def names_from_paths(old: Old) -> dict[KeyId, Sighting]:
    """Return a name for each key that paths tell apart from all others.

    Of rules whose paths differ in one word each key that only one of them has is called
    by that word; below a folder of hosts or users that needs no second rule.
    """
    keys, rules = _rules(old)
    everywhere = frozenset.intersection(*rules.values()) if rules else frozenset()
    families: dict[str, dict[str, Access]] = defaultdict(dict)
    kinds: dict[tuple[str, str], OwnerKind | None] = {}
    for text, access in rules.items():
        for template, word, kind in places([text]):
            families[template][word] = access
            kinds[template, word] = kind
    votes: _Votes = defaultdict(Counter)
    for template, family in families.items():
        apart = dict(_apart(family, everywhere))
        one_each = len(apart) >= _FEWEST and 2 * len(apart) >= len(family)
        for word, key in apart.items():
            kind = kinds[template, word]
            if one_each or kind is not None:
                votes[key, word][kind] += len(apart)
    return {key: _sighting(keys[key], word, kind) for key, word, kind in _best(votes)}


def _apart(
    family: Mapping[str, Access], everywhere: Access
) -> Iterator[tuple[str, KeyId]]:
    """Yield the words whose rule has one key that the rules of no other word have.

    A rule for all of them does not count: it is not about its word.
    """
    whole = frozenset().union(*family.values())
    for word, access in family.items():
        rest = [a for w, a in family.items() if w != word and a != whole]
        own = access - everywhere - frozenset().union(*rest)
        if len(own) == 1 and (access != whole or len(family) == 1):
            yield word, next(iter(own))


def _rules(old: Old) -> tuple[dict[KeyId, Recipient], dict[str, Access]]:
    adopted = [rule for rule in old.sops if rule.foreign is None]
    every = [*(r.readers for r in adopted), *(entry.readers for entry in old.age)]
    rules = {rule.rule.path_regex: rule.access for rule in adopted}
    rules |= {entry.path: entry.access for entry in old.age}
    return {key.key_id: key for readers in every for key in readers}, rules


def _best(votes: _Votes) -> Iterator[tuple[KeyId, str, OwnerKind | None]]:
    """Yield the word that most rules give each key, unless another key has it more."""
    order = sorted(votes.items(), key=lambda item: -item[1].total())
    named: set[KeyId] = set()
    taken: set[str] = set()
    for (key, word), counts in order:
        name = safe_name(_AFFIX.sub("", word))
        if name and key not in named and folded(name) not in taken:
            named.add(key)
            taken.add(folded(name))
            kind = next((one for one in counts if one is not None), None)
            yield key, name, kind


def _sighting(key: Recipient, word: str, kind: OwnerKind | None) -> Sighting:
    return Sighting(key, word, f"only it reads the files of {word}", kind)


def spellings(texts: Iterable[str]) -> Mapping[str, str]:
    """Return names as folders of hosts and users spell them, by their folded form."""
    return {folded(word): word for _, word, kind in places(texts) if kind is not None}
