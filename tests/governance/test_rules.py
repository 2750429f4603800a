"""The rule table: loading, matching, and what the bundled rules deny."""

import itertools
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ConfigError
from ooda.governance.globs import compile_globs
from ooda.governance.levels import Level
from ooda.governance.operations import Operation, strictest
from ooda.governance.rules import UNREAD, RuleDecision, RuleSet
from ooda.governance.shell_text import parse_shell

RULES = RuleSet.load()


def shell(text: str, rules: RuleSet = RULES, level: Level = Level.SANDBOX_ONLY) -> RuleDecision:
    arguments = json.dumps({"command": text, "timeout_s": 120, "cwd": None}).encode()
    return rules.decide(Operation.RUN_IN_SANDBOX, "run_shell_command", arguments, level)


def loaded(tmp_path: Path, text: str) -> RuleSet:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return RuleSet.load(path)


# -- the bundled rules -----------------------------------------------------------------------------------------

BLOCKED = {
    "delete-root": "rm -rf /",
    "fork-bomb": ":(){ :|:& };:",
    "write-device": "cat x > /dev/sda",
    "write-device-by-dd": "dd if=/dev/zero of=/dev/sda",
    "format-disk": "mkfs.ext4 /dev/sda1",
    "mount": "mount -o remount,rw /",
    "tune-file-system": "tune2fs -c 0 /dev/sda1",
    "own-system": "chmod -R 777 /",
    "write-system-file": "echo x > /etc/passwd",
    "power-off": "shutdown -h now",
    "force-push": "git push --force origin main",
}


@pytest.mark.parametrize(("rule", "text"), BLOCKED.items(), ids=BLOCKED)
def test_what_the_requirement_blocks_is_denied_by_name(rule: str, text: str) -> None:
    """Deleting the root, fork bombs, disk wiping, file-system modification, and their kin."""
    said = shell(text)
    assert (said.decision, said.rule) == ("deny", rule)
    assert said.reason


AROUND = [
    "{}",
    "sudo {}",
    "true && {}",
    "{} || true",
    "({})",
    "sh -c {q}",
    "echo $({})",
    "if true; then {}; fi",
    "env A=1 {}",
    "x=1; {} &",
    "{{ {}; }}",
    "eval {q}",
    "timeout 5 bash -c {q}",
    "nohup {} > log 2>&1 &",
    "sudo -n -u root -- {}",
    "nice -n 19 ionice -c 3 {}",
    "timeout -k 1 --signal=KILL 5 {}",
    "busybox {}",
    "xargs -r {} < list",
    "find . -name x -exec {} +",
    "sh -ec -- {q}",
    "env -vS {q}",
    "trap -- {q} EXIT",
    "bash <<'E'\n{}\nE",
    "cat <({})",
    "f() {{ {}; }}; f",
    "case a in a) {};; esac",
    "coproc {}",
]


@pytest.mark.parametrize(("rule", "around"), [*itertools.product(set(BLOCKED) - {"fork-bomb"}, AROUND)])
def test_nothing_around_a_blocked_command_lifts_the_denial(rule: str, around: str) -> None:
    """A deny is never lifted by what the command is wrapped in."""
    text = BLOCKED[rule]
    quoted = "'" + text + "'"
    said = shell(around.format(text, q=quoted) if "{q}" in around else around.format(text))
    assert said.decision == "deny"
    assert rule in said.matched


HARMLESS = [
    "ls -la",
    "pytest -q tests 2>&1 | tail -20",
    "git status && git diff --stat",
    "rm -rf build dist .pytest_cache",
    "rm -f a.txt",
    "find . -name '*.pyc' -delete",
    "grep -rn 'rm -rf /' docs",
    "echo 'rm -rf /' > notes.txt",
    "python -m venv .venv && . .venv/bin/activate",
    "pip install -e '.[dev]'",
    "npm ci && npm test",
    "make -j4 test",
    "sed -i 's/a/b/' src/x.py",
    "cat <<'EOF' > x.py\nprint(1)\nEOF",
    'for f in *.py; do python -m py_compile "$f"; done',
    "git push origin feat/x",
    "git commit -m 'do not push --force'",
    "chmod +x run.sh",
    "chmod -R u+w .",
    "mkdir -p a/b && cp -r src/* a/b/",
    "tar xzf x.tgz -C vendor",
    "curl -s http://localhost:8000/health",
    "kill %1",
    "kill -9 4711",
    "dd if=/dev/urandom of=seed.bin bs=1 count=16",
    "echo ok > /dev/null",
    "cat /etc/os-release",
    "cp /etc/hosts fixtures/",
    "timeout 60 python app.py &",
    "docker compose up -d",
    "awk '{print $1}' f | sort | uniq -c",
    "python - <<'E'\nprint('mkfs')\nE",
    "ln -s ../x y",
    "mv src/a.py src/b.py",
    "touch x && truncate -s 0 x",
    "df -h && mount",
    "git log --oneline -- src",
    "shred -u secret.txt",
    "node -e 'console.log(1)'",
    "while ! nc -z localhost 80; do sleep 1; done",
    "ps aux | grep python | xargs -r echo",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_everyday_work_is_let_through_without_a_question(text: str) -> None:
    """Rules that fire on daily commands teach people to switch them off."""
    assert shell(text) == RuleDecision("allow")


def test_a_relative_path_is_judged_from_the_folder_the_call_names() -> None:
    """`cwd` is an argument of the tool, and `/workspace` without it."""
    arguments = {"command": "rm -rf *", "cwd": "/"}
    said = RULES.decide(Operation.RUN_IN_SANDBOX, "run_shell_command", arguments, Level.SANDBOX_ONLY)
    assert said.rule == "delete-root"
    assert shell("rm -rf *").decision == "allow"


def test_text_that_is_not_understood_is_asked_about_and_not_guessed_at() -> None:
    """No rule can judge what it cannot read; what was understood is judged all the same, and a deny stays one."""
    why = "the program's name '$CMD' is known only at run time"
    assert shell("$CMD x") == RuleDecision("ask", UNREAD, f"the shell text cannot be judged: {why}", unparsed=why)
    both = shell("rm -rf /; $CMD")
    assert both.decision == "deny"
    assert both.unparsed


def test_the_records_of_git_are_not_written_by_hand() -> None:
    """A hook written into `.git` would run later, outside the door."""
    for path in (".git/hooks/pre-commit", "sub/module/.git/config", "/workspace/.git/HEAD"):
        said = RULES.decide(Operation.WRITE_WORKSPACE, "write_file", {"path": path, "content": ""}, Level.SANDBOX_ONLY)
        assert said.rule == "write-git-internals"
    fine = RULES.decide(Operation.WRITE_WORKSPACE, "write_file", {"path": "src/git/x.py"}, Level.SANDBOX_ONLY)
    assert fine == RuleDecision("allow")


def test_every_bundled_rule_matches_its_own_examples_only_as_stated() -> None:
    """The examples are tried at load; here they are counted, so that none is lost."""
    assert len(RULES.rules) >= 20
    assert sum(len(rule.text.match) + len(rule.text.not_match) for rule in RULES.rules) >= 150


# -- the semantics -----------------------------------------------------------------------------------------------

THREE = """
[[rule]]
name = "a"
decision = "allow"
reason = "a"
command = "x"
match = "x"
not_match = "y"

[[rule]]
name = "b"
decision = "deny"
reason = "b"
command = "x"
flags = "-d"
match = "x -d"
not_match = "x"

[[rule]]
name = "c"
decision = "ask"
reason = "c"
command = "x"
operands = "q*"
match = "x q1"
not_match = "x"
"""


@pytest.mark.parametrize(
    ("text", "decision", "rule", "matched"),
    [
        ("x", "allow", "a", ("a",)),
        ("x q", "ask", "c", ("a", "c")),
        ("x q -d", "deny", "b", ("a", "b", "c")),
        ("x q; x -d", "deny", "b", ("a", "b", "c")),
        ("y", "allow", "", ()),
    ],
)
def test_the_most_restrictive_rule_wins_wherever_it_stands(
    tmp_path: Path, text: str, decision: str, rule: str, matched: tuple[str, ...]
) -> None:
    """Deny over ask over allow; order and specificity do not matter."""
    said = shell(text, loaded(tmp_path, THREE))
    assert (said.decision, said.rule, said.matched) == (decision, rule, matched)


WORDS = st.lists(st.sampled_from(["x", "y", "-d", "q1", "rm -rf /", "&&", ";"]), min_size=1, max_size=6).map(" ".join)


@given(WORDS, st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_more_rules_never_allow_more_and_order_never_matters(text: str, order: list[int], kept: set[int]) -> None:
    """A project's file can only tighten."""
    from ooda.governance.rules import Rule
    from ooda.governance.rules_file import RuleText

    table = [
        Rule(RuleText(name=name, decision=decision, reason=name, command=("x",), **more))  # type: ignore[arg-type]
        for name, decision, more in (
            ("a", "allow", {}),
            ("b", "deny", {"flags": ("-d",)}),
            ("c", "ask", {"operands": ("q*",)}),
        )
    ]
    everything = shell(text, RuleSet([table[i] for i in order])).decision
    some = shell(text, RuleSet([table[i] for i in order if i in kept])).decision
    assert strictest([some, everything]) == everything
    assert everything == shell(text, RuleSet(table)).decision


def test_a_projects_rules_stand_beside_the_bundled_ones_and_lift_none(tmp_path: Path) -> None:
    """An `allow` for `rm` does not bring `rm -rf /` back."""
    rules = loaded(
        tmp_path,
        '[[rule]]\nname = "mine"\ndecision = "allow"\nreason = "x"\ncommand = "rm"\nmatch = "rm x"\nnot_match = "ls"\n',
    )
    said = shell("rm -rf /", rules)
    assert (said.decision, said.matched) == ("deny", ("delete-root", "mine"))
    assert rules.digest != RULES.digest
    assert RuleSet.load().digest == RULES.digest


def test_a_rule_can_be_about_operation_tool_level_and_arguments(tmp_path: Path) -> None:
    """All conditions of a rule must hold together."""
    rules = loaded(
        tmp_path,
        """
        [[rule]]
        name = "freeze"
        decision = "ask"
        reason = "frozen until Monday"
        operations = ["deploy_staging", "deploy_production"]
        tools = "deploy_*"
        below = "prod_full_access"
        arguments = { project = ["shop", "pay-*"], urgent = "false" }
        match = [{ tool = "deploy_now", project = "pay-eu", urgent = false }]
        not_match = [
          { tool = "deploy_now", project = "blog", urgent = false },
          { tool = "deploy_now", project = "shop" },
        ]
        """,
    )

    def said(operation: Operation, tool: str, level: Level, **arguments: object) -> str:
        return rules.decide(operation, tool, arguments, level).rule

    fits = {"project": "shop", "urgent": False}
    assert said(Operation.DEPLOY_STAGING, "deploy_now", Level.STAGING_ACCESS, **fits) == "freeze"
    assert said(Operation.ROLLBACK, "deploy_now", Level.STAGING_ACCESS, **fits) == ""
    assert said(Operation.DEPLOY_STAGING, "ship", Level.STAGING_ACCESS, **fits) == ""
    assert said(Operation.DEPLOY_STAGING, "deploy_now", Level.PROD_FULL_ACCESS, **fits) == ""
    assert said(Operation.DEPLOY_STAGING, "deploy_now", Level.STAGING_ACCESS, project="shop", urgent=True) == ""
    assert (
        said(Operation.DEPLOY_STAGING, "deploy_now", Level.STAGING_ACCESS, project=["a", "shop"], urgent=False)
        == "freeze"
    )


GOOD = 'name = "r"\ndecision = "deny"\nreason = "x"\ncommand = "x"\nmatch = "x"\nnot_match = "y"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rules]]\n" + GOOD, "unknown key `rules`; did you mean `rule`"),
        ("[rule]\n" + GOOD, "write `[[rule]]` with two brackets"),
        ("[[rule]]\n" + GOOD.replace("command", "comand"), "rule 1 `r`: unknown key `comand`; did you mean `command`"),
        ("[[rule]]\n" + GOOD.replace("deny", "forbid"), "Invalid enum value 'forbid'"),
        ("[[rule]]\n" + GOOD.replace('name = "r"\n', ""), "missing required field `name`"),
        ("[[rule]]\n" + GOOD.replace('command = "x"\n', ""), "it has no condition and would match every call"),
        ("[[rule]]\n" + GOOD.replace('match = "x"\nnot_', "not_"), "each need at least one example"),
        (
            "[[rule]]\n" + GOOD.replace('match = "x"', 'match = "z"', 1),
            "it does not match 'z', an example under `match`",
        ),
        (
            "[[rule]]\n" + GOOD.replace('not_match = "y"', 'not_match = "x 1"'),
            "it matches 'x 1', an example under `not_match`",
        ),
        ("[[rule]]\n" + GOOD.replace('command = "x"', 'command = "[x"'), "the `[` at character 1 is never closed"),
        ("[[rule]]\n" + GOOD.replace('command = "x"', 'command = "{x"'), "a `{` is never closed"),
        ("[[rule]]\n" + GOOD + 'operations = "deploy_stagin"', "did you mean `deploy_staging`"),
        ("[[rule]]\n" + GOOD + 'below = "staging"', "did you mean `staging_access`"),
        ("[[rule]]\n" + GOOD + 'arguments = "x"', "Expected `object`, got `str`"),
        ("[[rule]]\n" + GOOD.replace('match = "x"', 'match = [{ path = "x" }]', 1), "has no `tool`"),
        ("[[rule]]\n" + GOOD + "[[rule]]\n" + GOOD, "there are two rules named `r`"),
        ("[[rule]]\n" + GOOD.replace('"r"', '"delete-root"'), "there are two rules named `delete-root`"),
        ("[[rule", "is no TOML"),
    ],
)
def test_a_mistake_in_a_rule_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    """File, rule, key, what was found, the nearest word; a rule that is not understood never counts as no rule."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert message in str(caught.value)
    assert "rules.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Rules that were named and are missing must not mean the bundled ones alone."""
    with pytest.raises(ConfigError, match="cannot be read"):
        RuleSet.load(tmp_path / "absent.toml")


# -- globs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "text", "matches"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "abc", True),
        ("a*", "a/b", False),
        ("a**", "a/b", True),
        ("a?", "ab", True),
        ("a?", "a/", False),
        ("[ab]c", "bc", True),
        ("[!ab]c", "bc", False),
        ("[a-c]x", "bx", True),
        ("[*]", "*", True),
        ("[*]", "x", False),
        ("{a,b}c", "bc", True),
        ("x{,/**}", "x", True),
        ("x{,/**}", "x/y/z", True),
        ("a|b", "b", True),
        ("a.b", "axb", False),
        ("{a,{b,c}}d", "cd", True),
        ("**x**", "a\nx\nb", True),
    ],
)
def test_a_glob_matches_a_whole_text(glob: str, text: str, matches: bool) -> None:
    """One star stays within a folder, two do not; nothing else is special."""
    assert compile_globs([glob])(text) is matches


# -- speed -------------------------------------------------------------------------------------------------------


def test_a_decision_among_sixty_rules_costs_a_fraction_of_a_millisecond(tmp_path: Path) -> None:
    """The aim is 0.2 ms at the 99th percentile, shell text parsed anew each time; measured as CPU, with room."""
    more = "".join(
        f'[[rule]]\nname = "r{n}"\ndecision = "ask"\nreason = "x"\ncommand = "tool{n}|t{n}*"\noperands = "a{n}*"\n'
        f'match = "tool{n} a{n}"\nnot_match = "y"\n'
        for n in range(60 - len(RULES.rules))
    )
    rules = loaded(tmp_path, more)
    assert len(rules.rules) == 60
    costs = []
    for number in range(400):
        start = time.thread_time()
        shell(f"cd src && python -m pytest -x -q tests/test_{number}.py 2>&1 | tail -{number}", rules)
        costs.append(time.thread_time() - start)
    # The quieter half of them: a core that is shared makes the rest dearer than they are.
    assert sorted(costs)[len(costs) // 4] < 0.5e-3
    parse_shell.cache_clear()
