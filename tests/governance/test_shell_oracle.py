# ruff: noqa: E501
"""Our shell reader against bash itself: what bash really runs was seen by the reader, or the text is `ask`.

Bash runs each text in an empty folder, with nothing on its path but wrappers and a recorder under the names of
programs; the recorder writes down what it was called. Texts are put together from forms by hypothesis; they name no
program by a path, so nothing else can run.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ooda.governance.shell_text import parse_shell

RECORDED = ("rm", "dd", "mkfs", "shred", "true2", "git", "curl")
REAL = (
    "env", "nice", "timeout", "xargs", "find", "nohup", "setsid", "stdbuf", "flock", "ionice", "taskset", "bash", "sh",
    "cat", "sed", "tr", "base64", "head", "chrt", "rev",
)  # fmt: skip

FORMS = (
    "{} x", "r''m x" , "\\{} x", '"{}" x', "$'{}' x", "{{{},-r,x}}", "$(printf {}) x", "`echo {}` x", "X={}; $X x",
    'X={}; "$X" x', "X={}; ${{X}} x", "command {} x", "command -p -- {} x", "env A=1 {} x", "env -i PATH=$PATH {} x",
    "env -S '{} x'", "env -S'{} x'", "env --split-string='{} x'", "env -vS '{} x'", "env -u A -C . {} x", "nice -n 5 {} x",
    "nice -5 {} x", "timeout -k 1 5 {} x", "timeout --signal=KILL 5 {} x", "xargs {} </dev/null", "echo x | xargs -n1 {}",
    "xargs -I@ bash -c '@' <<< '{} x'", "echo {} x | xargs env", "xargs -a /dev/null {}", "find . -maxdepth 0 -exec {} \\;",
    "find . -maxdepth 0 -execdir {} {{}} +", "eval '{} x'", "eval {} x", "eval eval '{}' x", "bash -c '{} x'", "bash -ec '{} x'",
    "bash -c \"{} x\" a b", "sh -c -- '{} x'", "bash --norc -c '{} x'", "bash -o posix -c '{} x'", "echo '{} x' | bash",
    "printf '%s\\n' '{} x' | sh", "printf '{} x' | cat | bash", "echo '{} x' | rev | rev | sh", "bash <<E\n{} x\nE\n",
    "bash <<'E'\n{} x\nE\n", "cat <<E | sh\n{} x\nE\n", "bash <<< '{} x'", "bash -s <<< '{} x'", "bash /dev/stdin <<< '{} x'",
    "source /dev/stdin <<< '{} x'", ". /dev/stdin <<< '{} x'", ". <(echo {} x)", "bash <(echo {} x)", "trap '{} x' EXIT",
    "trap -- '{} x' 0", "trap '{} x' DEBUG; :", "f(){{ {} x; }}; f", "function f {{ {} x; }}; f", "f() ( {} x ); f",
    "coproc {} x", "exec {} x", "exec -a z {} x", "cat <({} x)", ": > >({} x)", ": $({} x)", ": `{} x`", ': "$({} x)"',
    ': "${{Y:-$({} x)}}"', "Y=$({} x)", "[[ -n $({} x) ]]", "[ -n \"$({} x)\" ]", "case a in a) {} x;; esac",
    "case $({} x) in *) :;; esac", "for i in {}; do $i x; done", "for i in a {}; do $i x; done 2>&-", "while {} x; do break; done",
    "until {} x; do break; done", "if {} x; then :; fi", "if :; then :; elif :; then :; else :; fi; {} x", ": $((1+$({} x|cat;echo 1)))",
    "a[$({} x;echo 0)]=1", "printf -v q {}; $q x", "read q <<< {}; $q x", "set -- {} x; \"$@\"", "set -- {}; $1 x", "IFS=,; c={},x; $c",
    ": ${{q:={}}}; $q x", "q={}; p=q; ${{!p}} x", "shopt -s expand_aliases\nalias q={}\nq x", "time {} x", "! {} x", "time -p {} x",
    "nohup {} x", "setsid -w {} x", "stdbuf -o0 {} x", "flock f {} x", "flock f -c '{} x'", "ionice -c 3 {} x", "taskset 1 {} x",
    "chrt -o 0 {} x", "builtin command {} x", "builtin eval {} x", "select i in a; do {} x; break; done <<< 1", "{{ {} x; }}", "( {} x )",
    "( ( {} x ) )", "{} x &\nwait", ": || :; {} x", ":&&{} x", ":|{} x", ":|&{} x", "A=1 {} x", "A=1 B=2 env {} x", ">f {} x", "2>&1 {} x", "<<<a {} x",
    "{}>f x", "{} x #y", "# y\n{} x", ": \\\n; {} \\\n x", "r\\\nm x", "$(echo {}) $(echo x)", "${{0+{}}} x", "q=({}); ${{q[0]}} x",
    "q=({} x); \"${{q[@]}}\"", "declare q={}; $q x", "export q={}; $q x", "local q=1 2>&-; {} x", "typeset -n q=z; z={}; $q x",
    "mapfile -t q <<< {}; ${{q[0]}} x", "compgen -C '{}' x", "$(<<<{} cat) x", "q=xx; ${{q/xx/{}}} x", "let 'a=1' ; {} x", "((1)) && {} x",
    "for ((;;)); do {} x; break; done", "echo {} | (read q; $q x)", "bash -c '$0 x' {}", "bash -c '\"$@\"' _ {} x", "env bash -c '{} x'",
    "h() {{ \"$@\"; }}; h {} x", "h() {{ $1 x; }}; h {}", "eval \"$(echo {} x)\"", "eval \"$(base64 -d <<< cm0geA==)\"", "sed -n '1e {} x' <<< a",
    "PS4='$({} x)'; set -x; :", "BASH_ENV=<(echo {} x) bash -c :", "PROMPT_COMMAND='{} x'; :", "hash -p $(command -v {}) q; q x",
    "enable -n echo; {} x",    "q='{} x'; $q", "q='{} x'; eval $q", "q='{} x'; bash -c \"$q\"",
    "[[ a == $({} x) ]] || :", "cat <<< $({} x)", "cat <<E\n$({} x)\nE\n", "cat <<E\n`{} x`\nE\n", "echo ${{z:-`{} x`}}", "echo \"a$({} x)b\"", "$({} x)", "$'\\x72\\x6d' x",
    "$'\\162\\155' x", "{}\tx", "{};x 2>&-", "{{,}}{} x 2>&-", "'r'\"m\" x", "if ! {} x; then :; fi", "{}<x 2>&-", "function f() {{ {} x; }}\nf", "f ()\n{{\n{} x\n}}\nf",
    "case x in (x) {} x ;& y) :;; esac", "a=1; case $a in 1) : ;;& *) {} x; esac", "test -n \"`{} x`\"", "unset q; ${{q-{}}} x", "q=; ${{q:-{}}} x", "bash -c 'eval \"{} x\"'",
)  # fmt: skip
"""Ways to run a program, `{}` in its place; `{{` and `}}` are braces."""

AROUND = ("{}", "( {} )", "{{ {}\n}}", "if :; then {}\nfi", ": && {}", "for i in 1; do {}\ndone", ": $( {} )", "{}\n:", "f(){{ {}\n}}; f", "! : || {}")  # fmt: skip


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="oracle-"))
    programs = folder / "bin"
    programs.mkdir()
    for name in REAL:
        if (found := shutil.which(name)) is not None:
            (programs / name).symlink_to(found)
    for name in RECORDED:
        (programs / name).write_text('#!/bin/bash\nprintf "%s\\n" "${0##*/}" >> "$ORACLE_LOG"\n')
        (programs / name).chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def really_runs(place: Path, text: str) -> set[str] | None:
    """The recorded programs bash starts for a text; None when it takes too long to tell."""
    work = Path(tempfile.mkdtemp(dir=place))
    log = place / "log"
    log.write_text("")
    environ = {"PATH": str(place / "bin"), "ORACLE_LOG": str(log), "HOME": str(work)}
    limited = f"ulimit -t 2 -u 4000 -f 100; cd '{work}'; exec bash -c \"$1\" < /dev/null"
    try:
        subprocess.run(
            ["/bin/bash", "-c", limited, "_", text], env=environ, capture_output=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return set(log.read_text().split())


def unseen(place: Path, text: str) -> set[str]:
    """What bash ran and the reader neither saw nor declined to judge."""
    said = parse_shell(text, "/workspace")
    ran = really_runs(place, text)
    if ran is None or said.unparsed:
        return set()
    return ran - {command.name for command in said.commands}


def test_bash_runs_most_of_the_forms(place: Path) -> None:
    """The oracle is awake: nearly every form really runs the program."""
    ran = [form for form in FORMS if "rm" in (really_runs(place, form.format("rm")) or set())]
    assert len(ran) >= len(FORMS) * 0.85, sorted(set(FORMS) - set(ran))


@pytest.mark.parametrize("form", FORMS)
def test_what_bash_runs_was_seen(place: Path, form: str) -> None:
    """Form by form. Not among them: a program written to a file and run from there, which no reader of text can see."""
    assert unseen(place, form.format("rm")) == set()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(FORMS), st.sampled_from(RECORDED), st.sampled_from(AROUND)), min_size=1, max_size=3))  # fmt: skip
@example([("X={}; $X x", "rm", "( {} )"), ("$X x", "dd", "{}")])
def test_what_bash_runs_was_seen_whatever_stands_around_it(place: Path, parts: list[tuple[str, str, str]]) -> None:
    """Forms in forms, one after the other, sharing variables and functions."""
    text = "\n".join(around.format(form.format(name)) for form, name, around in parts)
    assert unseen(place, text) == set()
