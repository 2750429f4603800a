"""One door: no tool, no transport and no channel acts without a grant, and only the gate makes grants.

The first half reads the sources; the second tries to get a grant, or to use one, in every way that is not the gate's.
Python cannot keep a determined module from its own interpreter; what stands here keeps every honest one on the path.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import hashlib
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import ooda.models
import ooda.notify
import ooda.tools
from ooda.errors import RefusedError
from ooda.governance.call import Parsed
from ooda.governance.grant import Grant, Mint
from ooda.governance.operations import Operation
from ooda.models.fallback import FallbackModel
from ooda.models.replay import ReplayModel
from ooda.models.request import ModelAccess, ModelRequest
from ooda.models.scripted import ScriptedModel
from ooda.models.select import open_model
from ooda.notify.address import checked_url
from ooda.notify.mailtrap import MailtrapChannel
from ooda.notify.post import Poster
from ooda.notify.slack import SlackChannel
from ooda.notify.smtp import SmtpChannel, SmtpServer
from ooda.notify.teams import TeamsChannel
from ooda.notify.values import Channel, Parcel, binding
from ooda.notify.webhook import WebhookChannel
from ooda.tools.declare import ToolDeclaration
from ooda.tools.toolbox import BoundTool

PACKAGE = Path(__file__).resolve().parents[1] / "ooda"

NAME_THE_MINT = {
    "governance/grant.py",
    "governance/gate.py",
    "governance/model_door.py",
    "governance/notice_door.py",
}
"""The mint itself, the gate that owns it, the part of the door for model calls, which is lent it, and the door for
delivery, which has one of its own: it acts for no run."""
MAKE_A_MINT = {"governance/gate.py", "governance/notice_door.py"}
LEND_THE_MINT = {"governance/gate.py", "api/launch.py"}
"""Who reads the gate's mint: the composition root hands it from one half of the door to the other."""
EDGES = ("models", "tools", "sandbox", "services", "notify")


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    """Modules of these rooms, or of the whole package, by path below it; the testing room stands outside."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if (not rooms or name.split("/")[0] in rooms) and not name.startswith("testing/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"), name)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def names_in(tree: ast.AST) -> set[str]:
    """Every identifier a module uses, imports and attributes included."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.update((name.rpartition(".")[2], other or ""))
            case ast.arg(annotation=ast.Constant(value=str(name))):
                found.add(name)
    return found


def calls_of(tree: ast.AST, name: str) -> bool:
    """Whether something called `name` is called here."""
    return any(
        isinstance(node, ast.Call) and (getattr(node.func, "id", "") == name or getattr(node.func, "attr", "") == name)
        for node in ast.walk(tree)
    )


# -- the sources ------------------------------------------------------------------------------------------


def test_only_the_door_names_the_mint() -> None:
    """A module that wants a grant gets one that the gate made."""
    assert {name for name, tree in sources() if "Mint" in names_in(tree)} == NAME_THE_MINT


def test_only_the_doors_make_a_mint_and_only_a_mint_makes_grants() -> None:
    """One constructor call each in the whole package."""
    assert {name for name, tree in sources() if calls_of(tree, "Mint")} == MAKE_A_MINT
    assert [name for name, tree in sources() if calls_of(tree, "Grant")] == ["governance/grant.py"]


def test_the_mint_is_lent_to_the_other_half_of_the_door_only() -> None:
    """Nobody else reads `gate.mint`."""
    readers = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "mint"
    }
    assert readers == LEND_THE_MINT


def test_nothing_else_looks_like_a_grant() -> None:
    """A second class with a `spend` would be a second way in."""
    spenders = [name for name, tree in sources() for function in functions(tree) if function.name == "spend"]
    assert spenders == ["governance/grant.py"]


def spends(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function spends the grant it is given, or hands it on to one that does."""
    return any(
        isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr == "spend" and _is_grant(node.func.value))
            or any(_is_grant(given) for given in node.args)
            or any(_is_grant(keyword.value) for keyword in node.keywords)
        )
        for node in ast.walk(function)
    )


def _is_grant(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "grant"


def is_protocol(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A declaration without a body."""
    last = function.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...


TAKERS = [
    pytest.param(function, id=f"{name}:{function.name}")
    for name, tree in sources(*EDGES)
    for function in functions(tree)
    if not is_protocol(function) and any(_is_grant(ast.Name(arg.arg)) for arg in function.args.args)
]


@pytest.mark.parametrize("function", TAKERS)
def test_whoever_takes_a_grant_spends_it_or_hands_it_on(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """A grant that is only looked at could be used twice."""
    assert spends(function)


def test_every_model_takes_a_grant_to_complete() -> None:
    """`complete` is the only way to ask a model, and its second argument is the grant."""
    completers = {
        f"{name}:{function.name}": [arg.arg for arg in function.args.args][:3]
        for name, tree in sources("models")
        for function in functions(tree)
        if function.name == "complete"
    }
    assert len(completers) >= 4
    assert all(arguments == ["self", "request", "grant"] for arguments in completers.values()), completers


def test_the_door_for_delivery_makes_grants_for_channels_only() -> None:
    """Its one call of the mint names the kind and the operation as constants."""
    (tree,) = (tree for name, tree in sources("governance") if name == "governance/notice_door.py")
    made = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "grant"
    ]
    assert [(given["kind"], given["operation"]) for given in made] == [("'channel'", "Operation.NOTIFY")]


def test_every_channel_spends_its_grant_before_anything_else() -> None:
    """`send` takes the grant, and its first statement spends it, bound to the recipient and the content."""
    senders = {
        f"{name}:{function.name}": function
        for name, tree in sources("notify")
        for function in functions(tree)
        if function.name == "send" and not is_protocol(function)
    }
    assert len(senders) >= 5
    for name, function in senders.items():
        assert [arg.arg for arg in function.args.args] == ["self", "parcel", "grant"], name
        statements = [node for node in function.body if not isinstance(node, ast.Expr) or not _is_text(node)]
        assert ast.unparse(statements[0]) == (
            "grant.spend(self.name, kind='channel', arguments=binding(parcel.recipient, parcel.body))"
        ), name


TRANSPORTS = {"posted", "post", "_hand_over", "aside"}
"""What lets bytes out of the notify room; each is reached from a channel's `send`, or from another of these."""


def test_nothing_in_notify_reaches_a_transport_but_a_channels_send() -> None:
    """The functions that call a transport: `send`, which has spent a grant, and the transports' own steps."""
    callers = {
        function.name
        for _, tree in sources("notify")
        for function in functions(tree)
        if any(calls_of(function, transport) for transport in TRANSPORTS)
    }
    assert callers == {"send", "posted", "_resolved"}
    sockets = {
        name
        for name, tree in sources("notify")
        if names_in(tree) & {"open_connection", "smtplib", "socket", "httpx", "urlopen", "create_connection"}
    }
    assert sockets == {"notify/post.py", "notify/smtp.py"}


def test_a_tools_function_is_called_in_one_place_after_its_grant_is_spent() -> None:
    """The first thing a bound tool does is to spend; no other module calls `.function(…)`."""
    callers = [
        (name, function)
        for name, tree in sources()
        for function in functions(tree)
        if any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "function"
            for node in ast.walk(function)
        )
    ]
    assert [(name, function.name) for name, function in callers] == [("tools/toolbox.py", "run")]
    statements = [node for node in callers[0][1].body if not isinstance(node, ast.Expr) or not _is_text(node)]
    assert ast.unparse(statements[0]).startswith("grant.spend(self.name, kind='tool', arguments=")


def _is_text(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# -- grants -----------------------------------------------------------------------------------------------


def grant_for(tool: str = "read_file", *, kind: Any = "tool", definition: str = "d", canonical: bytes = b"{}") -> Grant:
    """A grant as the gate makes them."""
    return Mint().grant(
        kind=kind,
        run="run-1",
        seq=3,
        call="c1",
        tool=tool,
        definition=definition,
        arguments=hashlib.sha256(canonical).hexdigest(),
        operation=Operation.READ_WORKSPACE,
        effect="pure",
        key="k",
        fence=1,
        deadline_ns=2**62,
    )


def facts_of(grant: Grant) -> dict[str, Any]:
    """What can be read of a grant: everything a forger has."""
    return {
        field.name: getattr(grant, field.name)
        for field in dataclasses.fields(grant)
        if field.init and not field.name.startswith("_")
    }


@pytest.mark.parametrize("mint", [None, "mint", object(), type("Mint", (), {})()])
def test_a_grant_made_without_a_mint_is_refused(mint: object) -> None:
    """Knowing every field is not enough."""
    with pytest.raises(RefusedError, match="made by the gate only"):
        Grant(**facts_of(grant_for()), _minted_by=mint, _pid=0)  # type: ignore[arg-type]


def test_a_grant_does_not_carry_what_makes_grants() -> None:
    """Whoever holds one grant cannot mint the next: no attribute of it leads to a mint."""
    grant = grant_for()
    reachable = [getattr(grant, name) for name in dir(grant) if not name.startswith("__")]
    assert not any(isinstance(value, Mint) for value in reachable)


def test_a_grant_cannot_be_changed() -> None:
    """Frozen, also by the standard library's way of changing what is frozen."""
    grant = grant_for()
    with pytest.raises(dataclasses.FrozenInstanceError):
        grant.tool = "write_file"  # type: ignore[misc]
    with pytest.raises((ValueError, TypeError, RefusedError)):
        dataclasses.replace(grant, tool="write_file")


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda grant: pickle.loads(pickle.dumps(grant)),
        lambda grant: copy.deepcopy([grant]),
        dataclasses.replace,
    ],
    ids=["copy", "deepcopy", "pickle", "inside a list", "replace"],
)
def test_a_grant_cannot_be_duplicated(duplicate: Any) -> None:
    """A capability is there once; a second one would be a second action."""
    with pytest.raises((TypeError, ValueError, RefusedError)):
        duplicate(grant_for())


def test_a_grant_is_spent_once() -> None:
    """Also by the one it was made for."""
    grant = grant_for()
    grant.spend("read_file", kind="tool")
    assert grant.is_spent
    with pytest.raises(RefusedError, match="already spent by read_file"):
        grant.spend("read_file", kind="tool")


@pytest.mark.parametrize(
    ("spender", "kind", "arguments"),
    [
        ("write_file", "tool", None),
        ("read_file", "model", None),
        ("read_file", "channel", None),
        ("read_file", "tool", hashlib.sha256(b'{"path":"x"}').hexdigest()),
        ("read_file", "tool", ""),
        ("", None, None),
    ],
)
def test_a_grant_for_something_else_is_refused_and_stays_unspent(
    spender: str, kind: Any, arguments: str | None
) -> None:
    """Another tool, another kind of action, other arguments; the right one may still follow."""
    grant = grant_for()
    with pytest.raises(RefusedError):
        grant.spend(spender, kind=kind, arguments=arguments)
    assert not grant.is_spent
    grant.spend("read_file", kind="tool", arguments=hashlib.sha256(b"{}").hexdigest())


FORKED = """
import os, sys
from ooda.errors import RefusedError
from ooda.governance.grant import Mint
grant = Mint().grant(kind="tool", run="run-1", seq=3, call="c1", tool="read_file", definition="d", arguments="a",
                     operation=None, effect="pure", key="k", fence=1, deadline_ns=2**62)
child = os.fork()
if child == 0:
    try:
        grant.spend("read_file")
    except RefusedError as error:
        print(error, flush=True)
        os._exit(7)
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
grant.spend("read_file")
sys.exit(status)
"""


def test_a_grant_is_not_spent_in_a_forked_process() -> None:
    """It belongs to the process it was made in, where it is still good afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, cwd=PACKAGE.parent, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert "not in this one" in done.stdout


# -- tools and models -------------------------------------------------------------------------------------


def modules(package: Any) -> Iterator[Any]:
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield importlib.import_module(found.name)


DECLARED = sorted(
    {
        id(value): value
        for module in modules(ooda.tools)
        for value in vars(module).values()
        if isinstance(value, ToolDeclaration)
    }.values(),
    key=lambda declaration: declaration.name,
)


def wrong_grants(declaration: ToolDeclaration) -> dict[str, Grant]:
    """Grants that are good for something else."""
    spent = grant_for(declaration.name, definition=declaration.definition)
    spent.spend(declaration.name)
    return {
        "spent": spent,
        "another tool": grant_for("other", definition=declaration.definition),
        "another definition": grant_for(declaration.name),
        "other arguments": grant_for(declaration.name, definition=declaration.definition, canonical=b'{"x":1}'),
        "a model": grant_for(declaration.name, kind="model", definition=declaration.definition),
    }


def test_the_tools_of_the_package_were_found() -> None:
    """The tests below are about these."""
    assert {"read_file", "run_shell_command", "finish"} <= {declaration.name for declaration in DECLARED}


@pytest.mark.parametrize("declaration", DECLARED, ids=lambda declaration: declaration.name)
async def test_no_tool_runs_on_a_wrong_grant(declaration: ToolDeclaration) -> None:
    """Refused before its function is called: without a room it could not even begin."""
    assert not callable(declaration), "a declared tool cannot be called past its grant"
    for what, grant in wrong_grants(declaration).items():
        with pytest.raises(RefusedError):
            await BoundTool(declaration, None).run(grant, Parsed(value=None, canonical=b"{}"))  # type: ignore[arg-type]
        assert what


async def regrant(grant: Grant, model: str) -> Grant:
    raise AssertionError("a refusal is no reason to ask another model")


MODELS = {
    "scripted": lambda: ScriptedModel([]),
    "replay": lambda: ReplayModel([]),
    "our transport": lambda: open_model("m", base_url="http://127.0.0.1:9/v1", environ={}),
    "a list of fallbacks": lambda: FallbackModel([ScriptedModel([]), ScriptedModel([], name="b")], regrant),
}
"""One of each kind of model in the package, none of which could reach anybody."""


def test_every_kind_of_model_is_tried_here() -> None:
    """A new implementation of `complete` joins the list above."""
    classes = {
        value
        for module in modules(ooda.models)
        for value in vars(module).values()
        if inspect.isclass(value)
        and value.__module__.startswith("ooda.models")
        and "complete" in vars(value)
        and not getattr(value, "_is_protocol", False)
    }
    tried = [make() for make in MODELS.values()]
    assert [cls for cls in classes if not any(isinstance(model, cls) for model in tried)] == []


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
async def test_no_model_is_asked_on_a_wrong_grant(make: Callable[[], ModelAccess]) -> None:
    """A tool's grant, a grant for another model, or a spent one: nothing is sent."""
    model = make()
    request = ModelRequest(model=model.name, messages=b"", reply_tokens=1, deadline_s=5.0)
    spent = grant_for(model.name, kind="model")
    spent.spend(model.name, kind="model")
    for grant in (spent, grant_for(model.name), grant_for("another", kind="model")):
        with pytest.raises(RefusedError):
            await model.complete(request, grant)
    await model.close()


# -- channels ---------------------------------------------------------------------------------------------


def _poster() -> Poster:
    return Poster(checked_url("http://127.0.0.1:9/x", "notify.webhook_url"))


CHANNELS: dict[str, Callable[[], Channel]] = {
    "slack": lambda: SlackChannel(_poster()),
    "teams": lambda: TeamsChannel(_poster()),
    "webhook": lambda: WebhookChannel(_poster()),
    "mailtrap": lambda: MailtrapChannel(_poster(), SecretStr("token"), "ooda@example.com"),
    "smtp": lambda: SmtpChannel(SmtpServer(host="127.0.0.1", port=9, security="none"), "ooda@example.com"),
}
"""One of each kind of channel, none of which could reach anybody."""


def test_every_kind_of_channel_is_tried_here() -> None:
    """A new implementation of `send` joins the list above."""
    classes = {
        value
        for module in modules(ooda.notify)
        for value in vars(module).values()
        if inspect.isclass(value) and "send" in vars(value) and not getattr(value, "_is_protocol", False)
    }
    tried = [make() for make in CHANNELS.values()]
    assert [cls for cls in classes if not any(isinstance(channel, cls) for channel in tried)] == []


@pytest.mark.parametrize("make", CHANNELS.values(), ids=CHANNELS)
async def test_no_channel_sends_on_a_wrong_grant(make: Callable[[], Channel]) -> None:
    """A tool's grant, another channel's, another content's, another recipient's, or a spent one: nothing is sent."""
    channel = make()
    parcel = Parcel(id="msg-1", recipient="ada@example.com", body=b"{}", at_ns=1, deadline_s=1.0)

    def granted(kind: Any = "channel", tool: str = channel.name, arguments: str | None = None) -> Grant:
        bound = arguments if arguments is not None else binding(parcel.recipient, parcel.body)
        return Mint().grant(
            kind=kind,
            run="",
            seq=0,
            call="msg-1",
            tool=tool,
            definition=tool,
            arguments=bound,
            operation=Operation.NOTIFY,
            effect="once",
            key="k",
            fence=1,
            deadline_ns=2**62,
        )

    spent = granted()
    spent.spend(channel.name, kind="channel")
    wrong = (
        spent,
        granted(kind="tool"),
        granted(tool="another"),
        granted(arguments=binding(parcel.recipient, b"{ }")),
        granted(arguments=binding("eve@example.com", parcel.body)),
    )
    for grant in wrong:
        with pytest.raises(RefusedError):
            await channel.send(parcel, grant)
    assert (await channel.send(parcel, granted())).outcome == "failed"  # port 9: nobody is there
