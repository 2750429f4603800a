"""What bad task files get: one answer with every mistake, each with line, field, what was found and what is allowed."""

from __future__ import annotations

import pytest

from ooda.errors import TaskSpecError
from ooda.problems import Problem
from ooda.task import load_task_text
from tests.task.samples import MINIMAL

_OPERATIONS = (
    "`read_workspace`, `write_workspace`, `run_in_sandbox`, `use_network`, `push_feature_branch`, "
    "`push_protected_branch`, `open_pull_request`, `deploy_preview`, `deploy_staging`, `deploy_production`, "
    "`rollback`, `read_cluster`, `stop_workspace`, `start_workspace`, `notify`, `spawn`"
)
_REMOTE = (
    "a git remote: `https://host/path.git`, `ssh://git@host/path.git`, `git@host:path.git`, `file:///path` or a path"
)
_CREDENTIALS = """\
kind: coding
repository:
  remote_url: https://h/p.git
  credentials:
    {}
task: {{id: t, title: t, description: d}}
"""

BAD: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["the document is empty; expected a mapping with `kind` and its fields"]),
    "only-a-comment": ("# later\n", ["the document is empty; expected a mapping with `kind` and its fields"]),
    "a-text": ("hello", ["line 1: found a text; expected a mapping with `kind` and its fields"]),
    "a-list": ("- a\n- b\n", ["line 1: found a list of 2; expected a mapping with `kind` and its fields"]),
    "no-kind": (
        "message: hello\n",
        ["line 1, `kind`: is missing; expected one of `coding`, `ops`, `triage`, `steward`, `chat`"],
    ),
    "wrong-kind": (
        "# a task\nkind: codng\n",
        [
            "line 2, `kind`: found 'codng'; expected one of `coding`, `ops`, `triage`, `steward`, `chat`; "
            "did you mean `coding`?"
        ],
    ),
    "unknown-field": (
        "kind: chat\nmesage: hello\n",
        [
            "line 2, `mesage`: unknown field; did you mean `message`? Allowed here: `about`, `agent`, `environment`, "
            "`folder`, `grants`, `kind`, `limits`, `message`, `model`, `validation`"
        ],
    ),
    "unknown-nested-field": (
        "kind: chat\nlimits:\n  step: 5\n",
        [
            "line 3, `limits.step`: unknown field; did you mean `steps`? Allowed here: `context_tokens`, "
            "`output_bytes`, `reply_tokens`, `rounds`, `steps`, `tokens`, `usd`, `wall_clock`"
        ],
    ),
    "missing-fields": (
        "kind: coding\nrepository:\n  branch: main\ntask:\n  id: t-1\n  title: Fix it\n",
        [
            f"line 2, `repository.remote_url`: is missing; expected {_REMOTE} (Git repository; the only remote the "
            "task pushes to)",
            "line 4, `task.description`: is missing; expected text (The task in full)",
        ],
    ),
    "text-wanted": (
        MINIMAL.replace("id: t-1", "id: 790"),
        ["line 3, `task.id`: found the number 790; expected one line of text; put it in quotes to make it text"],
    ),
    "limits": (
        "kind: chat\nlimits:\n  steps: 0\n  rounds: yes\n  wall_clock: 2 fortnights\n  tokens: true\n  usd: -1\n"
        "  reply_tokens: 1.5\n  output_bytes: 1KiBi\n",
        [
            "line 3, `limits.steps`: found the number 0; expected a whole number, from 1 to 100,000",
            "line 4, `limits.rounds`: found 'yes'; expected a whole number, from 1 to 1,000",
            "line 5, `limits.wall_clock`: found '2 fortnights'; expected a duration such as `90s`, `15m`, `24h` or "
            "whole seconds",
            "line 6, `limits.tokens`: found `true`; expected a whole number, from 1 to 1,000,000,000,000",
            "line 7, `limits.usd`: found the number -1; expected an amount in USD such as 0.50 (digits, at most 9 "
            "decimals)",
            "line 8, `limits.reply_tokens`: found the number 1.5; expected a whole number, from 1 to 1,000,000",
            "line 9, `limits.output_bytes`: found '1KiBi'; expected a size such as `16KiB`, `2GiB` or whole bytes",
        ],
    ),
    "absurd-limits": (
        "kind: chat\nlimits: {usd: 1e9, wall_clock: 2000d, steps: 99999999999999999999}\n",
        [
            "line 2, `limits.steps`: is a number of more than 64 bits; put it in quotes if it is text",
            "line 2, `limits.wall_clock`: found '2000d'; expected a duration such as `90s`, `15m`, `24h` or whole "
            "seconds, from 1s to 366d",
            "line 2, `limits.usd`: found the number 1000000000.0; expected an amount in USD such as 0.50, at most 9 "
            "decimals, more than 0, at most 1,000,000",
        ],
    ),
    "zero-money": (
        "kind: chat\nlimits: {usd: 0}\n",
        [
            "line 2, `limits.usd`: found the number 0; expected an amount in USD such as 0.50, at most 9 decimals, "
            "more than 0, at most 1,000,000"
        ],
    ),
    "no-room-for-context": (
        "kind: chat\nlimits: {reply_tokens: 8192, context_tokens: 8000}\n",
        [
            "line 2, `limits`: `reply_tokens` 8192 leaves no room in `context_tokens` 8000; make it at most half of "
            "the window"
        ],
    ),
    "empty-section": (
        "kind: chat\nlimits:\n",
        [
            "line 2, `limits`: found nothing; expected a mapping with `steps`, `rounds`, `wall_clock`, `tokens`, "
            "`usd`, `reply_tokens`, `context_tokens`, `output_bytes`"
        ],
    ),
    "grants": (
        "kind: chat\ngrants:\n  - notify\n  - push_feature_brnch\n",
        [
            f"line 4, `grants[1]`: found 'push_feature_brnch'; expected one of {_OPERATIONS}; did you mean "
            "`push_feature_branch`?"
        ],
    ),
    "grant-for-people": (
        "kind: chat\ngrants: [change_governance]\n",
        ["line 2, `grants`: `change_governance` is for people only; no task can grant it"],
    ),
    "grant-twice": (
        "kind: chat\ngrants: [notify, notify]\n",
        ["line 2, `grants`: names `notify` twice; name each operation once"],
    ),
    "validation": (
        "kind: chat\nvalidation: autp\n",
        [
            "line 2, `validation`: found 'autp'; expected `auto`, `none` or a list of shell commands; did you mean "
            "`auto`?"
        ],
    ),
    "validation-empty": (
        "kind: chat\nvalidation: []\n",
        ["line 2, `validation`: found an empty list; expected `auto`, `none` or a list of shell commands"],
    ),
    "environment": (
        "kind: chat\nenvironment:\n  env:\n    PORT: 8080\n    1A: x\n  hosts: ['https://pypi.org']\n"
        "  binds:\n    - {source: /opt/x, target: /workspace/x}\n",
        [
            "line 4, `environment.env.PORT`: found a number; expected text (numbers and true/false in quotes), "
            "`${NAME}` or `{secret_ref: name}`",
            "line 5, `environment.env.1A`: the name itself is not allowed; expected a variable name (letters, digits "
            "and `_`, no digit first)",
            "line 6, `environment.hosts[0]`: found 'https://pypi.org'; expected a host name such as `pypi.org`, "
            "`*.example.com` or `localhost:8080` (no scheme, no path)",
            "line 8, `environment.binds[0].target`: found '/workspace/x'; expected an absolute path inside the "
            "sandbox, such as `/opt/venv`, not below /workspace, /proc, /sys, /dev",
        ],
    ),
    "model": (
        "kind: chat\nmodel: {base_url: ftp://x, temperature: 3}\n",
        [
            "line 2, `model.base_url`: found 'ftp://x'; expected an http or https URL such as "
            "`http://127.0.0.1:8000/v1`",
            "line 2, `model.temperature`: found the number 3; expected a number, from 0 to 2",
        ],
    ),
    "branch": (
        MINIMAL.replace("./shop.git", "./shop.git, branch: a..b"),
        [
            "line 2, `repository.branch`: found 'a..b'; expected a branch name git allows (no spaces, no `..`, no "
            "leading `-`, none of ~ ^ : ? * [ \\)"
        ],
    ),
    "remote-runs-a-program": (
        MINIMAL.replace("./shop.git", "'ext::sh -c id'"),
        [f"line 2, `repository.remote_url`: found 'ext::sh -c id'; expected {_REMOTE}"],
    ),
    "remote-is-an-option": (
        MINIMAL.replace("./shop.git", "--upload-pack=id"),
        [f"line 2, `repository.remote_url`: found '--upload-pack=id'; expected {_REMOTE}"],
    ),
    "credential-type": (
        _CREDENTIALS.format("{credential_type: acces_token, access_token: hunter2}"),
        [
            "line 5, `repository.credentials.credential_type`: found 'acces_token'; expected one of "
            "`username_password`, `key_cert`, `access_token`; did you mean `access_token`?"
        ],
    ),
    "credential-type-missing": (
        _CREDENTIALS.format("access_token: hunter2"),
        [
            "line 4, `repository.credentials.credential_type`: is missing; expected one of `username_password`, "
            "`key_cert`, `access_token`"
        ],
    ),
    "credential-fields": (
        _CREDENTIALS.format("{credential_type: username_password, usernam: bob, password: 5}"),
        [
            "line 4, `repository.credentials.username`: is missing; expected one line of text (User name at the git "
            "host)",
            "line 5, `repository.credentials.password`: found a number; expected a text, `${NAME}` or "
            "`{secret_ref: name}`",
            "line 5, `repository.credentials.usernam`: unknown field; did you mean `username`? Allowed here: "
            "`credential_type`, `password`, `username`",
        ],
    ),
    "credentials-as-text": (
        _CREDENTIALS.format("hunter2"),
        [
            "line 4, `repository.credentials`: found a text; expected a mapping whose `credential_type` is one of "
            "`username_password`, `key_cert`, `access_token`"
        ],
    ),
    "both-keys": (
        _CREDENTIALS.format("{credential_type: key_cert, private_key: hunter2, private_key_path: ~/.ssh/id}"),
        ["line 4, `repository.credentials`: gives both of `private_key` and `private_key_path`; give exactly one"],
    ),
    "no-key": (
        _CREDENTIALS.format("{credential_type: key_cert}"),
        ["line 4, `repository.credentials`: gives neither of `private_key` and `private_key_path`; give exactly one"],
    ),
    "key-over-http": (
        _CREDENTIALS.format("{credential_type: key_cert, private_key_path: ~/.ssh/id}"),
        [
            "line 2, `repository`: `key_cert` does not work over HTTP; `remote_url` wants `username_password` or "
            "`access_token`"
        ],
    ),
    "token-over-ssh": (
        _CREDENTIALS.format("{credential_type: access_token, access_token: hunter2}").replace("https://h/", "git@h:"),
        ["line 2, `repository`: `access_token` does not work over SSH; `remote_url` wants `key_cert`"],
    ),
    "incident": (
        "kind: triage\nincident: {id: 7, cluster: c, namespace: Shop, severity: bad, timestamp: 2026-01-01}\n",
        [
            "line 2, `incident.id`: found the number 7; expected a UUID",
            "line 2, `incident.namespace`: found 'Shop'; expected a Kubernetes namespace (RFC 1123 label)",
            "line 2, `incident.severity`: found 'bad'; expected one of `critical`, `high`, `medium`, `low`",
            "line 2, `incident.timestamp`: found '2026-01-01'; expected a time with zone such as "
            "`2026-11-21T08:00:00Z`",
        ],
    ),
    "key-twice": (
        "kind: chat\nmessage: a\nmessage: b\n",
        ["line 3, `message`: is given twice, first on line 2; keep one of them"],
    ),
    "key-twice-json": (
        '{"kind": "chat",\n "message": "a",\n "message": "b"}',
        ["line 3, `message`: is given twice, first on line 2; keep one of them"],
    ),
    "number-as-key": (
        "kind: chat\n1: x\n",
        ["line 2, column 1: a key is a number, boolean or empty; keys are text (put it in quotes)"],
    ),
    "list-as-key": (
        "kind: chat\n? [a]\n: b\n",
        ["line 2, column 3: a list or mapping stands where a key is expected; keys are plain text"],
    ),
    "merge-key": (
        "kind: chat\n<<: {message: x}\n",
        ["line 2, column 1: merge keys (`<<`) are not read; write the fields out"],
    ),
    "tag": (
        "kind: chat\nmessage: !!python/object/apply:os.system [id]\n",
        ["line 2, column 10: a tag (`!…`) is not read; remove it, or put the text in quotes"],
    ),
    "second-document": (
        "kind: chat\n---\nkind: ops\n",
        ["line 2, column 1: a second document begins (`---`); one task per file"],
    ),
    "unknown-alias": (
        "kind: chat\nmessage: *hunter2\n",
        ["line 2, column 10: an alias (`*…`) names no anchor above it; put the text in quotes if it is no alias"],
    ),
    "alias-in-itself": (
        "kind: chat\nmessage: &a [*a]\n",
        ["line 2, column 14: an alias stands inside the value it repeats"],
    ),
    "tab": (
        "kind: chat\nlimits:\n\tsteps: 5\n",
        ["line 3, column 1: this is not YAML: a tab stands where YAML wants spaces"],
    ),
    "colon-in-value": (
        "kind: chat\nmessage: fix: it\n",
        ["line 2, column 13: this is not YAML: a second `:` on one line; put the value in quotes"],
    ),
    "open-quote": (
        "kind: chat\nmessage: 'hunter2\n",
        ["line 3, column 1: this is not YAML: a quote or bracket opened here or above is never closed"],
    ),
    "control-character": (
        'kind: chat\nmessage: "\\e[31mred"\n',
        ["line 2, `message`: holds the character U+001B, which cannot be printed; remove it"],
    ),
    "half-a-surrogate-pair": (
        '{"kind": "chat", "message": "\\ud800"}',
        ["line 1, `message`: holds the character U+D800, which cannot be printed; remove it"],
    ),
    "json-comma": (
        '{"kind": "chat",\n "message": "a",\n}',
        ["line 3, column 1: this is not JSON: expected a key in double quotes (no comma before `}`, no comments)"],
    ),
    "json-missing-comma": (
        '{"kind": "chat"\n "message": "a"}',
        ["line 2, column 2: this is not JSON: expected `,` or `}`"],
    ),
    "json-nan": (
        '{"kind": "chat", "limits": {"usd": NaN}}',
        [
            "line 1, column 36: this is not JSON: expected a value: text in double quotes, a number, `true`, `false`, "
            "`null`, `[` or `{`"
        ],
    ),
    "json-more": (
        '{"kind": "chat"} x',
        ["line 1, column 18: this is not JSON: more text follows the end of the document"],
    ),
}


@pytest.mark.parametrize(("text", "lines"), BAD.values(), ids=BAD)
def test_a_bad_task_gets_every_mistake_in_one_answer(text: str, lines: list[str]) -> None:
    """The first line counts the problems, then one line each in the order of the file. Nothing else."""
    with pytest.raises(TaskSpecError) as caught:
        load_task_text(text, "task.txt")
    count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
    summary = f"Task spec `task.txt` has {count}; nothing was started."
    found = str(caught.value).splitlines()
    assert found[0] == summary
    assert sorted(found[1:]) == sorted(f"  {line}" for line in lines)
    assert "hunter2" not in str(caught.value)


def test_bytes_that_are_not_utf_8_are_named_with_their_line() -> None:
    """No guess at another encoding."""
    with pytest.raises(TaskSpecError, match=r"line 2: holds the byte 0xFF, which is not UTF-8; save the file as UTF-8"):
        load_task_text(b"kind: chat\nmessage: \xff\n")


def test_the_error_carries_its_facts() -> None:
    """Callers read file and problems instead of parsing text."""
    with pytest.raises(TaskSpecError) as caught:
        load_task_text("kind: chat\nlimits: {steps: -1}\n", "t.yaml")
    message = "found the number -1; expected a whole number, from 1 to 100,000"
    assert caught.value.file == "t.yaml"
    assert caught.value.problems == (Problem(("limits", "steps"), message, 2),)


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "too-large": ("x" * ((1 << 20) + 1), "is larger than 1,048,576 bytes"),
        "deep-yaml": ("[" * 100_000, "nested more than 32 deep"),
        "deep-json": ('{"a":' * 100_000, "nested more than 32 deep"),
        "deep-blocks": ("- " * 100_000, "nested more than 32 deep"),
        "many-values": ('{"a":[' + "1," * 30_000 + "1]}", "more than 20,000 values"),
        "many-mistakes": ("a: 1\n" * 1_000, "`a`: is given twice"),
        "bomb": (
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)),
            "the aliases expand the document beyond 1,048,576 characters",
        ),
        "long-number": ('{"kind": ' + "9" * 10_000 + "}", "expected a number"),
        "long-key": ('{"' + "k" * 1_000 + '": 1}', "longer than 200 characters"),
    }.values(),
)
def test_a_document_cannot_exhaust_the_machine(text: str, expected: str) -> None:
    """Size, depth, count, expansion and the number of reported mistakes are bounded."""
    with pytest.raises(TaskSpecError) as caught:
        load_task_text(text)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 52
