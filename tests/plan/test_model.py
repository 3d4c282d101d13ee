"""The plan: which action a difference asks for, and why; a table of sentences."""

import dataclasses
import itertools
import json
from typing import Any

import pytest

from nixsecrets.files.sops.selectors import LeftOpen
from nixsecrets.files.state import Actual, Exact, Stated, Unknown
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.map.model import Desired, Reader, Rule
from nixsecrets.plan.model import Action, Plan, Reason, Step, describe
from nixsecrets.plan.steps import Context, change_step, converge_step
from tests.fleet import rsa_key, ssh_key

NAMES = ("alice", "bob", "brunnen", "schere", "stein")
KEY = {name: parse_recipient(ssh_key(name).public) for name in NAMES}
KEY["rsa"] = parse_recipient(rsa_key().public)
BOOK = KeyBook(KEY.items())
CONTEXT = Context(BOOK, users=frozenset({"alice", "bob", "rsa"}))
RULE = Rule(0, "secrets/**", None, ())


def form(name: str, backend: Backend) -> Recipient:
    key = KEY[name]
    return key if backend is Backend.AGE or name == "rsa" else key.converted()


def actual(backend: Backend, *names: str, **more: Any) -> Actual:
    keys = tuple(form(name, backend) for name in names)
    state = Exact(keys) if backend is Backend.AGE else Stated(keys)
    base = Actual("secrets/x", backend, "00" * 32, state, key_prints=(b"p1",))
    return base._replace(**more)


def desired(backend: Backend, *names: str, rule: Rule = RULE) -> Desired:
    readers = tuple(Reader(name, form(name, backend)) for name in names)
    return Desired(backend, rule, readers)


def names(readers: tuple[Reader, ...]) -> list[str]:
    return [reader.name for reader in readers]


BOTH = tuple(Backend)
AGE, SOPS = Backend.AGE, Backend.SOPS


@pytest.mark.parametrize(
    ("backend", "have", "want", "action", "reason"),
    [
        pytest.param(b, h, w, a, r, id=f"{title}: {b}")
        for title, backends, h, w, a, r in (
            ("equal readers: nothing", BOTH, "alice brunnen", "alice brunnen", "", ""),
            ("another order: nothing", BOTH, "brunnen alice", "alice brunnen", "", ""),
            ("a host more: grant", BOTH, "alice", "alice stein", "grant", "granted"),
            (
                "a user gains an age file: grant",
                (AGE,),
                "alice",
                "alice bob",
                "grant",
                "granted",
            ),
            (
                "a user gains a sops file: fresh data key",
                (SOPS,),
                "alice",
                "alice bob",
                "re-encrypt",
                "granted",
            ),
            (
                "somebody loses access: re-encrypt",
                BOTH,
                "alice stein",
                "alice",
                "re-encrypt",
                "revoked",
            ),
            (
                "one comes, one goes: re-encrypt",
                BOTH,
                "alice stein",
                "alice schere",
                "re-encrypt",
                "revoked",
            ),
            (
                "a key only pyrage can write to joins an age file",
                (AGE,),
                "alice",
                "alice rsa",
                "re-encrypt",
                "granted",
            ),
        )
        for b in backends
    ],
)
def test_difference_and_action(
    backend: Backend, have: str, want: str, action: str, reason: str
) -> None:
    step = converge_step(
        actual(backend, *have.split()), desired(backend, *want.split()), CONTEXT
    )
    found = (step.action, step.reason) if step else ("", "")
    assert found == (action, reason)


def test_keep_data_key_turns_a_users_gain_of_a_sops_file_into_a_grant() -> None:
    context = CONTEXT._replace(keep_data_key=True)
    step = converge_step(actual(SOPS, "alice"), desired(SOPS, "alice", "bob"), context)
    assert step is not None
    assert step.action is Action.GRANT


def test_an_operator_whose_stanza_only_pyrage_opens_re_encrypts_age_files() -> None:
    file, want = actual(AGE, "rsa"), desired(AGE, "rsa", "stein")
    context = CONTEXT._replace(native=frozenset({KEY["rsa"].key_id}))
    step = converge_step(file, want, context)
    assert step is not None
    assert step.action is Action.REENCRYPT


def test_the_same_key_in_the_wrong_form_is_a_form_change_and_no_new_reader() -> None:
    wrong = Stated((KEY["alice"].converted(), KEY["brunnen"]))
    file = actual(SOPS, state=wrong)
    step = converge_step(file, desired(SOPS, "alice", "brunnen"), CONTEXT)
    assert step is not None
    assert (step.action, step.reason) == (Action.FORM_CHANGE, Reason.FORM)
    assert (step.add, step.remove) == ((), ())


def test_a_file_with_both_forms_of_a_key_is_re_encrypted_with_one() -> None:
    both = Stated((KEY["brunnen"], KEY["brunnen"].converted()))
    step = converge_step(actual(SOPS, state=both), desired(SOPS, "brunnen"), CONTEXT)
    assert step is not None
    assert (step.action, step.reason) == (Action.REENCRYPT, Reason.FORM)
    assert [r.recipient for r in step.target] == [KEY["brunnen"].converted()]


def test_unknown_readers_are_replaced_by_those_of_the_map() -> None:
    file = actual(AGE, state=Unknown("anonymous stanzas", ("X25519", "X25519")))
    step = converge_step(file, desired(AGE, "alice", "stein"), CONTEXT)
    assert step is not None
    assert (step.action, step.reason) == (Action.REENCRYPT, Reason.UNKNOWN)
    assert names(step.target) == names(step.add) == ["alice", "stein"]


def test_a_change_names_who_is_granted_a_file_with_unknown_recipients() -> None:
    file = actual(AGE, state=Unknown("anonymous stanzas", ("X25519", "X25519")))
    step = change_step(
        file, desired(AGE, "alice", "stein"), desired(AGE, "alice", "schere"), CONTEXT
    )
    assert step is not None
    assert (names(step.add), names(step.remove)) == (["schere"], ["stein"])
    assert names(step.target) == ["alice", "schere"]


@pytest.mark.parametrize(
    ("state", "gone"),
    [
        (Exact((KEY["alice"], KEY["stein"])), ["stein"]),
        (Unknown("two", ("X25519", f"ssh-ed25519:{KEY['stein'].tag}")), ["stein"]),
        (Unknown("two", ("X25519", "ssh-ed25519:AAAAAA")), []),
        (Exact((KEY["alice"],)), []),
    ],
)
def test_a_removed_key_goes_from_files_the_map_never_gave_it(
    state: Exact | Unknown, gone: list[str]
) -> None:
    context = CONTEXT._replace(gone=frozenset({KEY["stein"].key_id}))
    want = desired(AGE, "alice")
    step = change_step(actual(AGE, state=state), want, want, context)
    assert (names(step.remove) if step else []) == gone


def test_re_encrypting_what_one_must_open_first_can_lock_its_operator_out() -> None:
    file = actual(AGE, state=Unknown("anonymous stanzas", ("X25519",)))
    step = converge_step(file, desired(AGE, "stein"), CONTEXT)
    assert step is not None
    assert Plan.of([step]).lockouts({KEY["alice"].key_id}) == [step]
    assert Plan.of([step]).lockouts({KEY["stein"].key_id}) == []


def test_a_copy_is_re_encrypted_because_a_grant_would_open_its_original() -> None:
    first = actual(AGE, "alice")
    context = CONTEXT._replace(shared=frozenset(first.key_prints))
    step = converge_step(first, desired(AGE, "alice", "stein"), context)
    assert step is not None
    assert (step.action, step.reason) == (Action.REENCRYPT, Reason.SHARED_KEY)


def test_a_file_we_refuse_to_change_has_no_step() -> None:
    file = actual(SOPS, "alice", refusal="it has several key groups")
    assert converge_step(file, desired(SOPS, "alice", "stein"), CONTEXT) is None


OPTIONS = {"encrypted_regex": "^(data|stringData)$"}


@pytest.mark.parametrize(
    ("recorded", "rule", "differs"),
    [
        ({}, {}, False),
        ({"unencrypted_suffix": "_unencrypted"}, {}, False),
        (OPTIONS, OPTIONS, False),
        ({"unencrypted_suffix": "_unencrypted"}, OPTIONS, True),
        ({}, {"unencrypted_suffix": "_unencrypted"}, False),
        ({**OPTIONS, "mac_only_encrypted": False}, OPTIONS, False),
        (OPTIONS, {**OPTIONS, "mac_only_encrypted": True}, True),
    ],
)
def test_options_of_a_rule_reach_the_files_that_record_others(
    recorded: dict[str, str | bool], rule: dict[str, str | bool], *, differs: bool
) -> None:
    options = tuple(recorded.items())
    file = actual(SOPS, "alice", options=options, path="secrets/x.yaml")
    want = desired(
        SOPS, "alice", rule=dataclasses.replace(RULE, sops=tuple(rule.items()))
    )
    step = converge_step(file, want, CONTEXT)
    assert (step is not None) is differs
    if step is not None:
        assert (step.action, step.reason) == (Action.REENCRYPT, Reason.OPTIONS_CHANGED)


MAC_ONLY = {"mac_only_encrypted": True}


@pytest.mark.parametrize(
    ("recorded", "weak", "rule", "wanted"),
    [
        (OPTIONS, False, {}, None),
        (OPTIONS, True, {}, {}),
        ({**OPTIONS, **MAC_ONLY}, True, {}, {}),
        (MAC_ONLY, False, {}, None),
        ({}, False, MAC_ONLY, MAC_ONLY),
        (OPTIONS, True, MAC_ONLY, MAC_ONLY),
        (OPTIONS, True, OPTIONS, None),
    ],
)
def test_a_rule_without_options_wants_everything_encrypted(
    recorded: dict[str, str | bool],
    weak: bool,
    rule: dict[str, str | bool],
    wanted: dict[str, str | bool] | None,
) -> None:
    options = tuple(sorted(recorded.items()))
    left = LeftOpen(weak=weak)
    file = actual(SOPS, "alice", options=options, path="s/x.yaml", left_open=left)
    want = desired(
        SOPS, "alice", rule=dataclasses.replace(RULE, sops=tuple(rule.items()))
    )
    step = converge_step(file, want, CONTEXT)
    assert (step and dict(step.options)) == wanted
    if step and weak:
        assert (step.action, step.reason) == (Action.REENCRYPT, Reason.PLAINTEXT)
        assert step.seals


def test_comments_in_plaintext_are_a_reason_to_re_encrypt_and_stop_no_grant() -> None:
    left = LeftOpen(comments=True)
    file = actual(SOPS, "alice", path="s/x.yaml", left_open=left)
    step = converge_step(file, desired(SOPS, "alice"), CONTEXT)
    assert step is not None
    assert (step.action, step.reason) == (Action.REENCRYPT, Reason.PLAINTEXT)
    before, after = desired(SOPS, "alice"), desired(SOPS, "alice", "stein")
    granted = change_step(file, before, after, CONTEXT)
    assert granted is not None
    assert (granted.action, granted.seals) == (Action.GRANT, False)
    removed = change_step(file, after, before, CONTEXT)
    assert removed is None


def test_options_of_a_rule_mean_nothing_to_a_binary_file() -> None:
    rule = dataclasses.replace(RULE, sops=tuple(OPTIONS.items()))
    file = actual(SOPS, "alice", path="secrets/x.bin")
    assert converge_step(file, desired(SOPS, "alice", rule=rule), CONTEXT) is None


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize(
    ("have", "before", "after", "target"),
    [
        pytest.param("alice", "alice", "alice stein", "alice stein", id="one comes"),
        pytest.param(
            "alice",
            "alice schere",
            "alice schere stein",
            "alice stein",
            id="drift stays: a missing reader is not given",
        ),
        pytest.param(
            "alice brunnen",
            "alice",
            "alice stein",
            "alice brunnen stein",
            id="drift stays: an extra reader is not taken",
        ),
        pytest.param(
            "alice brunnen stein",
            "alice stein",
            "alice",
            "alice brunnen",
            id="one goes, others stay",
        ),
        pytest.param("alice brunnen", "alice", "alice", None, id="nothing changed"),
        pytest.param(
            "alice stein", "alice", "alice stein", None, id="who is there is not added"
        ),
        pytest.param(
            "alice", "alice stein", "alice", None, id="who is gone is not removed"
        ),
    ],
)
@pytest.mark.parametrize("backend", BOTH)
def test_a_change_of_the_map_does_what_was_asked_and_nothing_else(
    backend: Backend, have: str, before: str, after: str, target: str | None
) -> None:
    step = change_step(
        actual(backend, *words(have)),
        desired(backend, *words(before)),
        desired(backend, *words(after)),
        CONTEXT,
    )
    found = sorted(names(step.target)) if step else None
    assert found == (sorted(words(target)) if target else None)


def test_a_change_leaves_a_wrong_form_of_others_alone() -> None:
    drifted = Stated((KEY["alice"].converted(), KEY["brunnen"]))
    step = change_step(
        actual(SOPS, state=drifted),
        desired(SOPS, "alice", "brunnen"),
        desired(SOPS, "alice", "brunnen", "stein"),
        CONTEXT,
    )
    assert step is not None
    assert step.action is Action.GRANT
    assert KEY["brunnen"] in [reader.recipient for reader in step.target]


def test_a_grant_keeps_the_order_of_the_file_and_appends() -> None:
    step = converge_step(
        actual(AGE, "brunnen", "alice"),
        desired(AGE, "alice", "schere", "brunnen"),
        CONTEXT,
    )
    assert step is not None
    assert names(step.target) == ["brunnen", "alice", "schere"]


def test_a_re_encryption_writes_in_the_order_of_the_map() -> None:
    step = converge_step(
        actual(AGE, "brunnen", "stein", "alice"),
        desired(AGE, "alice", "brunnen"),
        CONTEXT,
    )
    assert step is not None
    assert names(step.target) == ["alice", "brunnen"]
    assert names(step.remove) == ["stein"]


def some_steps() -> list[Step]:
    cases = [("a", "alice", "alice stein"), ("b", "alice stein", "alice")]
    steps = [
        converge_step(
            actual(AGE, *words(have))._replace(path=path),
            desired(AGE, *words(want)),
            CONTEXT,
        )
        for path, have, want in cases
    ]
    write = Step("c", None, Action.WRITE, Reason.CONTENT, text="x")
    return [step for step in steps if step] + [write]


def test_the_same_steps_in_any_order_give_the_same_bytes() -> None:
    problems = [Finding("b", Code.DAMAGED, "m"), Finding("a", Code.UNMANAGED, "m")]
    texts = {
        Plan.of(steps, found).to_json()
        for steps in itertools.permutations(some_steps())
        for found in itertools.permutations(problems)
    }
    assert len(texts) == 1


def test_the_json_of_a_plan_is_the_documented_one() -> None:
    plan = Plan.of(some_steps(), [Finding("b", Code.UNMANAGED, "no rule names it")])
    assert json.loads(plan.to_json()) == {
        "version": 1,
        "steps": [
            {
                "path": "a",
                "backend": "age",
                "action": "grant",
                "reason": "granted",
                "add": ["stein"],
                "remove": [],
            },
            {
                "path": "b",
                "backend": "age",
                "action": "re-encrypt",
                "reason": "revoked",
                "add": [],
                "remove": ["stein"],
            },
            {
                "path": "c",
                "backend": None,
                "action": "write",
                "reason": "content",
                "add": [],
                "remove": [],
            },
        ],
        "problems": [{"path": "b", "code": "NS020", "message": "no rule names it"}],
        "unapproved": [],
    }


def test_a_plan_knows_who_loses_what_was_not_named() -> None:
    plan = Plan.of(some_steps())
    assert list(plan.revocations()) == ["stein"]
    assert plan.revocations({KEY["stein"].key_id}) == {}
    assert [r.name for r in plan.grants()] == ["stein"]


def test_a_plan_knows_what_its_operator_would_no_longer_open() -> None:
    plan = Plan.of(some_steps())
    assert plan.lockouts({KEY["alice"].key_id}) == []
    assert [s.path for s in plan.lockouts({KEY["stein"].key_id})] == ["b"]
    both = {KEY["alice"].key_id, KEY["stein"].key_id}
    assert plan.lockouts(both) == []


def test_a_difference_is_described_in_one_line() -> None:
    texts = [describe(step) for step in Plan.of(some_steps()).steps]
    assert texts == [
        "missing stein",
        "still readable by stein",
        "differs from the map",
    ]


def test_keys_without_a_name_are_shown_by_tag_or_text() -> None:
    stranger = parse_recipient(ssh_key("stranger").public)
    file = actual(AGE, state=Exact((KEY["alice"], stranger)))
    step = converge_step(file, desired(AGE, "alice"), CONTEXT)
    assert step is not None
    assert names(step.remove) == [f"ssh-ed25519:{stranger.tag}"]
