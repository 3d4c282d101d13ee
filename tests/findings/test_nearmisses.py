"""Thousands of files that are almost secrets, of which none passes; all secrets do.

NIXSECRETS_CAMPAIGN=12 makes 10,500 of them.
"""

import base64
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from nixsecrets.files.faults import faults
from tests.findings.samples import Blob, age_files, judged, sops_files

SEED = 20261121
CAMPAIGN = int(os.environ.get("NIXSECRETS_CAMPAIGN", "4"))
ENC = re.compile(rb"ENC\[AES256_GCM,data:[^\]]*type:(?:str|int|float|bool)\]")
REQUIRED = (b"mac", b"lastmodified", b"version", b"enc", b"recipient")
OPEN = (b"hunter2", b'"hunter2"', b"ENC[]", b"ENC[hunter2]", b"5x", b"'x y'")

Mutation = Callable[[random.Random, str, bytes], bytes | None]


# --- mutations of sops files: None where one does not apply


def values(data: bytes) -> list[re.Match[bytes]]:
    """The encrypted values, without the MAC and the comments."""
    found = list(ENC.finditer(data))
    return [m for m in found if b"mac" not in data[max(0, m.start() - 40) : m.start()]]


def all_selected(data: bytes) -> bool:
    """Whether the options of a file want whatever is added encrypted."""
    return not re.search(rb"(?<!un)encrypted_(?:comment_)?(?:suffix|regex)", data)


def spelled(path: str, text: bytes) -> bytes:
    """A value as the format spells it where another one stood."""
    if path.endswith((".json", ".bin", "noextension")):
        return text.replace(b'"', b"").replace(b"\\", b"")
    return text


def one_value_in_plaintext(rng: random.Random, path: str, data: bytes) -> bytes | None:
    value = rng.choice(values(data))
    text = spelled(path, rng.choice(OPEN) + b"%d" % rng.randrange(10**6))
    return data[: value.start()] + text + data[value.end() :]


def a_value_that_only_looks_encrypted(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    value = rng.choice(values(data))
    text = value[0]
    data_part, iv, tag, kind = text[len(b"ENC[AES256_GCM,") : -1].split(b",")
    broken = rng.choice(
        [
            text[:-1],
            text[1:],
            text + b"x",
            b"x " + text,
            text.replace(b"AES256_GCM", b"AES256_CBC"),
            text.lower(),
            text.replace(b",type:", b",kind:"),
            text.replace(kind, b"type:secret"),
            text.replace(data_part, b"data:"),
            text.replace(data_part, b"data:hunter2!"),
            text.replace(iv, iv[:-6]),
            text.replace(iv, b"iv:" + base64.b64encode(b"x" * rng.randrange(1, 12))),
            text.replace(tag, tag[:-4]),
            text.replace(tag, b"tag:" + base64.b64encode(b"x" * rng.randrange(15))),
            text.replace(b",iv:", b"*,iv:"),
        ]
    )
    return data[: value.start()] + broken + data[value.end() :]


def metadata_removed(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if path.endswith((".yaml", ".yml")):
        start = data.index(b"\nsops:") + 1
        end = data.find(b"\n---", start)
        return data[:start] + (data[end + 1 :] if end >= 0 else b"")
    if path.endswith(".env"):
        kept = (b"sops_age__list_0__map_recipient",) if rng.random() < 0.5 else ()
        lines = data.split(b"\n")
        return b"\n".join(
            line
            for line in lines
            if not line.startswith(b"sops_") or (kept and line.startswith(kept))
        )
    if path.endswith(".ini"):
        return data[: data.index(b"[sops]")]
    return re.sub(rb',\s*"sops":.*\}\s*\Z', b"\n}\n", data, flags=re.DOTALL)


def a_line_of_metadata_missing(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    lines = data.split(b"\n")
    field = rng.choice(REQUIRED)
    pattern = re.compile(rb'["\w]*?\b(?:sops_)?(?:\w*map_)?' + field + rb'"?\s*[:=]')
    hits = [n for n, line in enumerate(lines) if pattern.match(line.strip(b" \t-"))]
    hits = [n for n in hits if b"ENC[" not in lines[n] or field == b"mac"]
    if not hits:
        return None
    del lines[rng.choice(hits)]
    return b"\n".join(lines)


def free_text_in_the_metadata(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    """In fields that sops ignores, or that it takes as they are."""
    note = b"hunter%d" % rng.randrange(10**6)
    begin = b"-----BEGIN AGE ENCRYPTED FILE-----"
    field = rng.choice([b"note", b"created_at", b"comment"])
    if path.endswith((".yaml", ".yml")):
        place = data.index(b"recipient: ")
        return data[:place] + field + b": " + note + b"\n          " + data[place:]
    if path.endswith(".env"):
        return data + b"sops_age__list_0__map_" + field + b"=" + note + b"\n"
    if path.endswith(".ini"):
        return data + b"age__list_0__map_" + field + b" = " + note + b"\n"
    if rng.random() < 0.5:
        version = data.index(b'"version": "') + 12
        return data[:version] + b"3.11.0" + note + data[data.index(b'"', version) :]
    place = data.index(b'"recipient"')
    assert begin in data
    return data[:place] + b'"' + field + b'": "' + note + b'",\n' + data[place:]


def a_second_document_in_plaintext(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    if not all_selected(data):
        return None
    if not path.endswith((".yaml", ".yml")):
        return None
    secret = b"hunter%d" % rng.randrange(10**6)
    return data + rng.choice(
        [
            b"---\npassword: " + secret + b"\n",
            b"--- {password: " + secret + b"}\n",
            b"--- " + secret + b"\n",
            b"---\n- " + secret + b"\n",
            b"---\n" + secret + b"\n",
            b"...\n---\npassword: " + secret + b"\n",
            b'--- "' + secret + b'"\n',
            b"---\n  password: " + secret + b"\n",
            b"---\n# x\npassword: " + secret + b"\nsops: {}\n",
            b"---\npassword: " + secret + b"\nsops:\n    mac: x\n",
            b"--- |\n  " + secret + b"\n",
        ]
    )


def a_key_added_in_plaintext(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    if not all_selected(data):
        return None
    secret = b"%d" % rng.randrange(10**9)
    if path.endswith((".yaml", ".yml")):
        line = rng.choice(
            [
                b"plain%s: hunter\n",
                b'"plain%s": hunter\n',
                b"? plain%s\n: hunter\n",
                b"plain%s: &x hunter\n",
                b"plain%s: [hunter]\n",
                b"plain%s: {x: {y: [hunter]}}\n",
                b"plain%s: !!str hunter\n",
                b"plain%s: |-\n  hunter\n",
                b"plain%s: >\n  hunter\n  two\n",
                b'plain%s: "hunter\\\n  two"\n',
                b"plain%s:\n- hunter\n",
                b"plain%s:\n\thunter\n",
                b"plain%s: hunter\r\n",
                b"plain%s: &a [hunter]\nb: *a\n",
                b"plain%s: &a {x: hunter}\nc:\n  <<: *a\n",
            ]
        )
        return (line % secret) + data
    if path.endswith(".env"):
        return b"PLAIN" + secret + b"=hunter\n" + data
    if path.endswith(".ini"):
        line = rng.choice([b"plain%s = hunter\n", b"plain%s: hunter\n", b"plain%s=x\n"])
        return (line % secret) + data
    text = rng.choice([b'"plain%s": "hunter", ', b'"plain%s": {"a": [1]}, '])
    return data.replace(b"{", b"{" + text % secret, 1)


def a_key_twice(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not all_selected(data):
        return None
    value = rng.choice(values(data))
    secret = b"hunter%d" % rng.randrange(10**6)
    if path.endswith((".json", ".bin", "noextension")):
        return data.replace(b"{", b'{"plain": "' + secret + b'", "plain": "x", ', 1)
    if path.endswith((".yaml", ".yml")):
        start = data.rfind(b"\n", 0, value.start()) + 1
        head = data[start : value.start()]
        if head.strip().startswith(b"-") or b"#" in head:
            return None
        return data[:start] + head + secret + b"\n" + data[start:]
    start = data.rfind(b"\n", 0, value.start()) + 1
    return data[:start] + data[start : value.start()] + secret + b"\n" + data[start:]


def an_entry_broken(rng: random.Random, path: str, data: bytes) -> bytes | None:
    begin = data.index(b"-----BEGIN AGE ENCRYPTED FILE-----")
    first = begin + len(b"-----BEGIN AGE ENCRYPTED FILE-----") + 8
    at = first + rng.randrange(40)
    return rng.choice(
        [
            data[:begin] + b"hunter2" + data[begin + 34 :],
            data[:at] + b"!" + data[at + 1 :],
            data[:at] + data[at + 64 :],
            data.replace(b"-----END AGE ENCRYPTED FILE-----", b"", 1),
            data.replace(b"BEGIN AGE ENCRYPTED", b"BEGIN AGE DECRYPTED"),
        ]
    )


def cut_short(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if path == "many.yaml":
        data = data[: data.index(b"\n---")]
    last = max(data.rfind(word) for word in (b"mac", b"lastmodified", b"version"))
    return data[: rng.randrange(1, last)]


def a_byte_order_mark(rng: random.Random, path: str, data: bytes) -> bytes | None:
    mark = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00"])
    return mark + data + b" " * rng.randrange(200)


def carriage_returns(rng: random.Random, path: str, data: bytes) -> bytes | None:
    opened = one_value_in_plaintext(rng, path, data)
    return opened and opened.replace(b"\n", b"\r\n")


def a_huge_line(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if rng.random() > 0.05:
        return None  # a few are enough
    value = rng.choice(values(data))
    text = b"hunter2" * rng.randrange(10_000, 200_000)
    return data[: value.start()] + text + data[value.end() :]


def the_plaintext_with_metadata(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    for value in reversed(values(data)):
        text = spelled(path, b"hunter%d" % rng.randrange(10**6))
        data = data[: value.start()] + text + data[value.end() :]
    return data


def aliases_without_end(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not all_selected(data):
        return None
    if not path.endswith((".yaml", ".yml")):
        return None
    depth = rng.randrange(3, 25)
    bomb = b"b0: &b0 [hunter%d]\n" % rng.randrange(10**6)
    for n in range(1, depth):
        bomb += b"b%d: &b%d [*b%d, *b%d]\n" % (n, n, n - 1, n - 1)
    return bomb + data


def a_secret_among_the_metadata(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    name = b"password%d" % rng.randrange(10**6)
    if path.endswith((".yaml", ".yml")):
        return data.replace(b"\nsops:\n", b"\nsops:\n    " + name + b": hunter2\n", 1)
    if path.endswith(".env"):
        return b"sops_" + name + b"=hunter2\n" + data
    if path.endswith(".ini"):
        return data.replace(b"[sops]\n", b"[sops]\n" + name + b" = hunter2\n", 1)
    return data.replace(b'"sops": {', b'"sops": {"' + name + b'": "hunter2",', 1)


SOPS: list[Mutation] = [
    a_secret_among_the_metadata,
    one_value_in_plaintext,
    a_value_that_only_looks_encrypted,
    metadata_removed,
    a_line_of_metadata_missing,
    free_text_in_the_metadata,
    a_second_document_in_plaintext,
    a_key_added_in_plaintext,
    a_key_twice,
    an_entry_broken,
    cut_short,
    a_byte_order_mark,
    carriage_returns,
    a_huge_line,
    the_plaintext_with_metadata,
    aliases_without_end,
]


# --- mutations of age files


def binary(data: bytes) -> bytes | None:
    return data if data.startswith(b"age-") else None


def header_cut(rng: random.Random, path: str, data: bytes) -> bytes | None:
    end = data.index(b"\n--- ") + 49 if binary(data) else len(data) - 2
    return data[: rng.randrange(0, end)]


def header_line_missing(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not binary(data) or b"-grease" in data:
        return None  # what is noise may be any noise
    end = data.index(b"\n--- ") + 1
    lines = [*data[:end].split(b"\n")[:-1], data[end:]]
    hit = rng.choice([n for n, x in enumerate(lines) if n in (0, len(lines) - 1) or x])
    if lines[hit].startswith((b"-> ", b"--- ")) or hit == 0:
        cut = lines[hit][:-3] if hit < len(lines) - 1 else b"--- "
        lines[hit] = rng.choice([b"", cut, b"x" + lines[hit], b"hunter2"])
    else:
        lines[hit] = lines[hit][: rng.randrange(len(lines[hit]))]
    return b"\n".join(lines)


def header_base64_broken(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not binary(data) or b"-grease" in data:
        return None
    end = data.index(b"\n--- ") + 48
    at = rng.randrange(data.index(b" ", data.index(b"\n") + 4), end)
    if data.rfind(b"-> ", 0, at) > data.rfind(b" ", 0, at) - 3:
        return None  # another kind of stanza, for some plugin
    bad = rng.choice(b"!\x00=\xff\t\r*")
    return data[:at] + bytes([bad]) + data[at:]


def payload_is_text(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not binary(data):
        return None
    end = data.index(b"\n--- ") + 49
    words = b" ".join(b"password%d" % rng.randrange(10**6) for _ in range(20))
    return data[:end] + words


def payload_cut(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not binary(data):
        return None
    end = data.index(b"\n--- ") + 49
    return data[: end + rng.randrange(32)]


def armor_broken(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if binary(data):
        return None
    lines = data.split(b"\n")
    at = rng.randrange(1, len(lines) - 2)
    how = rng.randrange(6)
    if how == 0:
        lines[at] = lines[at][:-1] + b"!"
    elif how == 1:
        lines[at] = b" " + lines[at]
    elif how == 2:
        lines[-2] = b""
    elif how == 3:
        lines.insert(at, b"hunter2")
    elif how == 4:
        lines[0] = lines[0].replace(b"AGE", b"PGP")
    else:
        lines[1] = lines[1][1:]
    return b"\n".join(lines)


def something_before_or_after(
    rng: random.Random, path: str, data: bytes
) -> bytes | None:
    before = rng.choice([b"\xef\xbb\xbf", b"\n", b"password: x\n", b" ", b"\x00"])
    if binary(data):
        return before + data
    return rng.choice([b"password: x\n" + data, data + b"password: x\n"])


def line_ends_changed(rng: random.Random, path: str, data: bytes) -> bytes | None:
    return data.replace(b"\n", b"\r\n") if binary(data) else None


def text_appended(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not binary(data):
        return None
    words = b" ".join(b"password%d" % rng.randrange(10**6) for _ in range(3))
    return data + rng.choice([b"", b"\n"]) + words + rng.choice([b"", b"\n"])


def only_noise(rng: random.Random, path: str, data: bytes) -> bytes | None:
    if not binary(data):
        return None
    end = data.index(b"\n--- ") + 1
    noise = b"age-encryption.org/v1\n-> x-grease %d\n\n" % rng.randrange(10**6)
    return noise + data[end:]


AGE: list[Mutation] = [
    header_cut,
    header_line_missing,
    header_base64_broken,
    payload_is_text,
    payload_cut,
    text_appended,
    armor_broken,
    something_before_or_after,
    line_ends_changed,
    only_noise,
]


def mutants(
    originals: Mapping[str, bytes], mutations: list[Mutation], number: int
) -> list[tuple[str, Blob]]:
    """Make `number` near-misses, each with the name of what was done to it."""
    rng = random.Random(SEED)  # noqa: S311 - repeatable, not secret
    small = {p: d for p, d in originals.items() if len(d) < 3000 or rng.random() < 0.1}
    paths = sorted(small)
    made: list[tuple[str, Blob]] = []
    while len(made) < number:
        path, mutation = rng.choice(paths), rng.choice(mutations)
        name = path.rpartition("/")[2]
        data = mutation(rng, name, small[path])
        if data is not None and data != small[path]:
            made.append((mutation.__name__, Blob(f"{len(made)}/{name}", data)))
    return made


@pytest.mark.parametrize(
    ("originals", "mutations", "number"),
    [(sops_files, SOPS, 583 * CAMPAIGN), (age_files, AGE, 292 * CAMPAIGN)],
    ids=["sops", "age"],
)
def test_no_near_miss_passes(
    originals: Callable[[], Mapping[str, bytes]],
    mutations: list[Mutation],
    number: int,
) -> None:
    made = mutants(originals(), mutations, number)
    found = judged([blob for _, blob in made])
    passed = [(name, blob) for name, blob in made if blob.path not in found]
    assert not passed, [(name, blob.path, blob.data[:600]) for name, blob in passed[:5]]
    count = Counter(name for name, _ in made)
    assert count.keys() == {mutation.__name__ for mutation in mutations}
    print(sorted(count.items()))  # noqa: T201 - the counts, with -s


def test_near_misses_of_links_and_empty_files_do_not_pass() -> None:
    links = [
        Blob(f"{n}/link.yaml", target, "120000")
        for n, target in enumerate((b"plain", b"/etc/passwd", b"../..", b"", b"\xff"))
    ]
    empty = [Blob(f"e{n}/x.age", data) for n, data in enumerate((b"", b"\n", b" \t"))]
    assert judged([*links, *empty]).keys() == {b.path for b in (*links, *empty)}


def test_every_real_secret_passes() -> None:
    files = {**sops_files(), **age_files()}
    found = judged([Blob(path, data) for path, data in files.items()])
    assert found == {}, [(p, c, files[p][:800]) for p, c in found.items()][:3]
    assert len(files) >= 100


def test_what_formatters_do_to_yaml_is_no_fault() -> None:
    path, data = next(i for i in sops_files().items() if i[0].endswith("a.yaml"))
    assert not list(faults(path, data.replace(b"\n", b"\r\n")))
    assert not list(faults(path, b"---\n\n" + data + b"\n\n"))
    indented = re.sub(rb"(?m)^( +)", lambda m: m[1] * 2, data.split(b"\nsops:")[0])
    assert not list(faults(path, indented + b"\nsops:" + data.split(b"\nsops:")[1]))


def test_megabytes_that_sops_did_not_write_are_refused_at_once() -> None:
    path, data = next(i for i in sops_files().items() if i[0].endswith("a.yaml"))
    (fault,) = faults(path, data + b"a: b\n" * 500_000)
    limit = "has more than 524,288 characters of YAML, more than nixsecrets reads"
    assert fault.message == limit


@pytest.mark.parametrize(
    ("rule", "options", "codes"),
    [
        ("^plain$", "^plain$", set()),
        ("^plain$", "", set()),
        ("^(plain|number)$", "^plain$", {"NS004"}),
        ("^plain$", "^(plain|number)$", {"NS004"}),
        ("", "^plain$", {"NS004", "NS017"}),
        ("", ".", {"NS004"}),  # comments at the top have no key above them
        ("", "", {"NS017"}),
    ],
)
def test_options_of_file_and_rule_count_both(
    rule: str, options: str, codes: set[str]
) -> None:
    from tests.findings import samples

    data = samples.sops_with(options)
    text = f"sops = {{ encrypted_regex = '{rule}' }}\n" if rule else ""
    found = judged([Blob("a.yaml", data)], text)
    assert found.get("a.yaml", set()) == codes
