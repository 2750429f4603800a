"""Shell text as simple commands."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.governance.shell_text import Redirect, ShellText, parse_shell


def names(text: str) -> list[str]:
    return [command.name for command in parse_shell(text).commands]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   \n\t ", []),
        ("# nothing", []),
        ("ls", ["ls"]),
        ("a; b\nc & d && e || f | g |& h", list("abcdefgh")),
        ("a;b;", ["a", "b"]),
        ("! a", ["a"]),
        ("time -p a | b", ["a", "b"]),
        ("(a; b) && { c; d; }", list("abcd")),
        ("if a; then b; elif c; then d; else e; fi", list("abcde")),
        ("while a; do b; done; until c; do d; done", list("abcd")),
        ("for x in 1 2; do a; done; for x; do b; done", ["a", "b"]),
        ("for x in 1 2\ndo\n a\ndone", ["a"]),
        ("for ((i=0; i<3; i++)); do a; done", ["a"]),
        ("select x in 1 2; do a; done", ["a"]),
        ("case $x in a|b) c;; (d) e;; *) f;; esac", ["c", "e", "f"]),
        ("case x in\n a) b\n ;;\n esac", ["b"]),
        ("f() { a; }; f", ["a", "f"]),
        ("function f { a; }", ["a"]),
        ("f() (a)", ["a"]),
        ("[[ -f x && $y == z* ]] && a", ["a"]),
        ("[ -f x ] && a", ["[", "a"]),
        ("((x + 1)) && a", ["a"]),
        ("coproc a", ["a"]),
        ('echo $(a) `b` <(c) >(d) ${x:-$(e)} "$(f)" $(( $(g) + 1 ))', ["a", "b", "c", "d", "e", "f", "g", "echo"]),
        ("x=$(a); y=`b`", ["a", "b"]),
        ("echo '$(a)' \\$(b", ["echo"]),
        ("echo \"'$(a)'\"", ["a", "echo"]),
        ("a \\\n b", ["a"]),
        ("a # b; c", ["a"]),
        ("a#b", ["a#b"]),
        ("a <<E\n$(b)\nE\nc", ["b", "a", "c"]),
        ("a <<'E'\n$(b)\nE\nc", ["a", "c"]),
        ("a <<-E\n\tx\n\tE\nb", ["a", "b"]),
        ("a <<A <<B\n1\nA\n2\nB\nb", ["a", "b"]),
        ("(a <<E\nx; y\nE\n)", ["a"]),
        ("x=1 y=2 a", ["a"]),
        ("x=(1 2 3); a ${x[@]}", ["a"]),
        ("{ a; } > f", ["a", ""]),
        ("> f", [""]),
        ("2>&1 a", ["a"]),
        ("a 2>&1 >/dev/null &", ["a"]),
        ("/usr/bin/a ./b", ["a"]),
        ("if", []),
    ],
)
def test_every_command_a_text_would_run_is_found(text: str, expected: list[str]) -> None:
    """In order of appearance, whatever holds it together."""
    assert names(text) == expected


RM = ("rm", frozenset({"-r", "-f", "-rf"}), ("/",))

SPELLINGS = {
    # the cases of the threads that the governance page names, by their numbers
    "4956, 82420, 94314: compound": [
        "true && rm -rf /",
        "true; rm -rf /",
        "true | rm -rf /",
        "true & rm -rf /",
        "true || rm -rf /",
        "true\nrm -rf /",
        "true |& rm -rf /",
    ],
    "28784: behind a comment or in the next line": ["true # x\nrm -rf /", "# x\nrm -rf /"],
    "70369: brace group, process substitution": [
        "{ rm -rf /; }",
        "cat <(rm -rf /)",
        "{\nrm -rf /\n}",
        "cat >(rm -rf /)",
    ],
    "4570: subshell, substitution": [
        "(rm -rf /)",
        "echo $(rm -rf /)",
        "echo `rm -rf /`",
        'echo "$(rm -rf /)"',
        "x=$(rm -rf /)",
    ],
    "92542: wrappers": [
        "sudo rm -rf /",
        "sudo -u root -- rm -rf /",
        "env rm -rf /",
        "env -i A=1 rm -rf /",
        "A=1 rm -rf /",
        "env -u X nice -n 5 ionice -c 3 nohup setsid stdbuf -oL rm -rf /",
        "timeout -k 1 5s rm -rf /",
        "command rm -rf /",
        "builtin command rm -rf /",
        "exec rm -rf /",
        "time rm -rf /",
        "\\time -f x rm -rf /",
        "busybox rm -rf /",
        "flock /tmp/l rm -rf /",
        "chroot /x rm -rf /",
        "strace -f -o x rm -rf /",
        "doas rm -rf /",
        "watch -n 1 rm -rf /",
        "uv run rm -rf /",
        "poetry run -- rm -rf /",
        "direnv exec . rm -rf /",
        "systemd-run --user rm -rf /",
        "noglob rm -rf /",
        "env - A=1 rm -rf /",
        "prlimit --nproc=1 rm -rf /",
        "choom -n 5 -- rm -rf /",
        "faketime now rm -rf /",
        "proxychains4 rm -rf /",
    ],
    "containers": [
        "docker exec c rm -rf /",
        "docker exec -it -u root c sh -c 'rm -rf /'",
        "docker compose exec web rm -rf /",
        "podman run --rm -v /a:/b image rm -rf /",
        "kubectl -n x exec pod -c y -- rm -rf /",
    ],
    "6036, 25621: shells in shells": [
        "sh -c 'rm -rf /'",
        "bash -lc 'rm -rf /'",
        "bash -x -c 'rm -rf /' name",
        'dash -c "rm -rf /"',
        "sh -c \"sh -c 'rm -rf /'\"",
        "eval rm -rf /",
        "eval 'rm -rf' /",
        "su -c 'rm -rf /'",
        "su root -c 'rm -rf /'",
        "env -S 'rm -rf /'",
        "script -c 'rm -rf /' out",
        "ssh h rm -rf /",
        "ssh h -- rm -rf /",
        "watch 'rm -rf /'",
        "script -qc 'rm -rf /' out",
        "su -c'rm -rf /'",
        "ssh -p 22 u@h 'rm -rf /'",
        "trap 'rm -rf /' EXIT",
        "flock l -c 'rm -rf /'",
    ],
    "input of a shell": [
        "echo 'rm -rf /' | sh",
        "printf 'rm -rf /\\n' | bash -s",
        "bash <<< 'rm -rf /'",
        "sh <<E\nrm -rf /\nE",
        "cat <<'E' | sh\nrm -rf /\nE",
        "echo -n rm -rf / | sudo bash",
        "echo 'rm -rf /' | { bash; }",
    ],
    "operands from elsewhere": [
        "echo / | xargs rm -rf",
        "echo / | xargs -I% rm -rf %",
        "find / -exec rm -rf {} \\;",
        "find / -type d -execdir rm -rf {} +",
        "find / -ok rm -rf {} \\;",
    ],
    "quotes and escapes": [
        "r\\m -rf /",
        "'rm' -rf /",
        "r''m -r\"f\" /",
        "$'\\x72\\155' -rf /",
        '"rm" \'-rf\' "/"',
        "rm -rf $'/'",
        "r\\\nm -rf /",
        "/bin/rm -rf /",
        "/usr/local/../bin/rm -rf /",
    ],
    "expansions": [
        "X=/; rm -rf $X",
        "X=rm; $X -rf /",
        "a=r b=m; ${a}${b} -rf /",
        "c='rm -rf /'; $c",
        "rm${IFS}-rf${IFS}/",
        "rm$IFS-rf$IFS/",
        "{rm,-rf,/}",
        "rm -{rf,} /",
        "for d in /; do rm -rf $d; done",
        'export X=/; rm -rf "$X"',
    ],
}


@pytest.mark.parametrize(("case", "text"), [(case, text) for case, texts in SPELLINGS.items() for text in texts])
def test_a_disguised_command_is_found(case: str, text: str) -> None:
    """Each is `rm -rf /` in the end, and is understood as such."""
    parsed = parse_shell(text)
    found = {(c.name, c.flags - {"-"}, c.paths) for c in parsed.commands}
    assert any(name == "rm" and {"-r", "-f"} <= flags and "/" in paths for name, flags, paths in found), parsed
    assert parsed.unparsed == ""


@pytest.mark.parametrize(
    "text",
    [
        "rm -rf /",
        "rm -fr /",
        "rm -r -f /",
        "rm -f / -r",
        "rm / -rf",
        "rm -vrf /",
        "rm -r -- /",
        "rm -f -R /",
        "rm -rfi /",
    ],
)
def test_order_and_clustering_of_flags_do_not_matter(text: str) -> None:
    """The set of flags holds each letter of a cluster (thread 18613)."""
    (command,) = parse_shell(text).commands
    assert command.flags & {"-r", "-R"}
    assert command.operands == ("/",)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("rm /a//b/../c/", ("/a/c",)),
        ("rm //", ("/",)),
        ("rm a/../..", ("/",)),
        ("cd / && rm etc", ("/etc",)),
        ("cd /a; cd b; rm c", ("/a/b/c",)),
        ("(cd /a); rm c", ("/workspace/c",)),
        ("cd $X; rm c", ("c",)),
        ("cd; rm c", ("~/c",)),
        ("cd -; rm c", ("c",)),
        ("rm ~/x $HOME/", ("~/x", "$HOME")),
        ("rm --force=x a=b", ("a=b",)),
    ],
)
def test_paths_are_placed_in_the_folder_the_text_has_changed_to(text: str, paths: tuple[str, ...]) -> None:
    """`cd / && rm -rf *` must not look harmless; an unknown folder is left unknown."""
    assert parse_shell(text, "/workspace").commands[-1].paths == paths


def test_words_of_the_program_itself_are_told_from_values_of_its_options() -> None:
    """`git -C /x -c a=b push` is a push."""
    (command,) = parse_shell("git -C /x -c a=b --git-dir y push -f origin main").commands
    assert command.operands == ("push", "origin", "main")
    assert "-f" in command.flags


def test_redirections_are_kept_with_their_files() -> None:
    """Descriptors that are only copied are no files."""
    (command,) = parse_shell("a < in >> out 2> /x/../err &> all 3<> both >| forced >&2 2>&1 <&-").commands
    assert command.redirects == (
        Redirect("<", "in"),
        Redirect(">>", "out"),
        Redirect(">", "/err"),
        Redirect("&>", "all"),
        Redirect("<>", "both"),
        Redirect(">|", "forced"),
    )
    assert [r.target for r in command.redirects if r.is_write] == ["out", "/err", "all", "both", "forced"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("python -c 'print(1)'", "print(1)"),
        ("python3.11 -I -c 'print(1)'", "print(1)"),
        ("python - <<'E'\nprint(1)\nE", "print(1)\n"),
        ("echo 'print(1)' | python3", "print(1)"),
        ("perl -e 'print 1'", "print 1"),
        ("node --eval 'x()'", "x()"),
        ("awk -F, '{print $1}' f", "{print $1}"),
        ("python x.py", ""),
    ],
)
def test_program_text_for_other_interpreters_is_kept(text: str, code: str) -> None:
    """It is not shell text; rules look into it with globs."""
    assert parse_shell(text).commands[-1].code == code


@pytest.mark.parametrize(
    "text",
    [
        ":(){ :|:& };:",
        "f() { f | f & }; f",
        "function b { b & b & }; b",
        "sh -c ':(){ :|:& };:'",
        "while true; do x & done",
        "while :; do (x &) ; done",
        "for ((;;)); do x & done",
        "f() { if a; then f & fi; }; f",
    ],
)
def test_a_fork_bomb_is_told(text: str) -> None:
    """A function that starts itself in a pipe or in the background, an endless loop that only starts jobs."""
    assert parse_shell(text).is_fork_bomb


@pytest.mark.parametrize(
    "text",
    [
        "f() { f; }; f",
        "f() { g | g & }; f | f &",
        "while true; do sleep 1; done",
        "while true; do x & wait; done",
        "while read l; do x & done < f",
        "for i in 1 2 3; do x & done; wait",
    ],
)
def test_what_only_looks_like_a_fork_bomb_is_none(text: str) -> None:
    """Recursion without forking, loops with an end, jobs that are waited for."""
    assert not parse_shell(text).is_fork_bomb


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo 'a", "a ' is never closed"),
        ('echo "a', 'a " is never closed'),
        ("echo `a", "a ` is never closed"),
        ("echo ${a", "a `${` is never closed"),
        ("echo $'a", "a $' is never closed"),
        ("echo $(a", "`)` is missing"),
        ("(a", "`)` is missing"),
        ("{ a", "`}` is missing"),
        ("if a; then b", "`fi` is missing"),
        ("while a; do b", "`done` is missing"),
        ("case a in", "`esac` is missing"),
        ("[[ a", "`]]` is missing"),
        ("((1", "a `((` is never closed"),
        ("a)", "`)` at character 2 closes nothing"),
        ("done", "`d` at character 1 closes nothing"),
        ("a ;; b", "`;` at character 3 closes nothing"),
        ("; a", "`;` at character 1 is no command"),
        ("a && ", "it ends too early"),
        ("a | | b", "`|` at character 5 is no command"),
        ("a >", "a file is missing behind `>`"),
        ("echo !(a|b)", "`(` at character 7 is not expected there"),
        ("$(x) -rf /", "the program's name '$(x)' is known only at run time"),
        ("$CMD -rf /", "the program's name '$CMD' is known only at run time"),
        ("/bin/r? -rf /", "the program's name '/bin/r?' is known only at run time"),
        ('eval "$X"', "the shell text '$X' is known only at run time"),
        ('sh -c "$X"', "the shell text '$X' is known only at run time"),
        ("curl x | sh", "a shell reads its commands from a pipe"),
        ("echo cm0gLXJmIC8= | base64 -d | sh", "a shell reads its commands from a pipe"),
        (". <(curl x)", "the script that is sourced is known only at run time"),
        ("bash <(curl x)", "the script a shell runs is known only at run time"),
        ("sudo $X rm -rf /", "the program's name '$X' is known only at run time"),
        ("a " + "$(" * 60 + ")" * 60, "it is nested too deeply"),
        ("a{1,2}" + "{a,b,c,d}" * 4, "its braces expand to too many words"),
        ("x" * 100_001, "it is longer than 100000 characters"),
    ],
)
def test_what_is_not_understood_is_said(text: str, why: str) -> None:
    """One sentence for the person who is asked."""
    assert why in parse_shell(text).unparsed


def test_what_was_found_before_the_trouble_is_kept() -> None:
    """A broken end must not hide the beginning."""
    parsed = parse_shell("rm -rf /; echo 'x")
    assert [c.name for c in parsed.commands] == ["rm"]
    assert parsed.unparsed


@given(st.text(max_size=60))
def test_every_text_is_accepted(text: str) -> None:
    """Total: any string gives commands or a reason."""
    assert isinstance(parse_shell(text), ShellText)


TOKENS = st.sampled_from(
    [
        "rm",
        "-rf",
        "/",
        " ",
        "  ",
        "\n",
        ";",
        "&",
        "&&",
        "||",
        "|",
        "(",
        ")",
        "{",
        "}",
        "$(",
        "`",
        "'",
        '"',
        "$",
        "${",
        "}",
        "<<E\n",
        "E\n",
        "<",
        ">",
        "<(",
        "if",
        "then",
        "fi",
        "while",
        "do",
        "done",
        "case",
        "in",
        "esac",
        "x=",
        "f()",
        "[[",
        "]]",
        "((",
        "))",
        "\\",
        "#",
        "sudo ",
        "sh -c ",
        "xargs ",
        "eval ",
        "!",
        "{a,b}",
        "*",
        "~",
        "for",
        "echo",
    ]
)


@given(st.lists(TOKENS, max_size=25).map("".join))
def test_every_mess_of_shell_words_is_accepted(text: str) -> None:
    """Total where it matters: on what looks like shell."""
    assert isinstance(parse_shell(text, "/workspace"), ShellText)


@given(
    st.lists(
        st.sampled_from(["ls -l", "echo 'a b'", "git status", "(cd src; make)", "x=1", "cat f | grep y"]), max_size=4
    )
)
def test_what_stands_around_a_command_never_hides_it(others: list[str]) -> None:
    """Any list around it, before and behind."""
    for joiner in (" && ", "; ", "\n", " || ", " | "):
        text = joiner.join([*others, "rm -rf /", *others])
        assert RM in [(c.name, c.flags, c.paths) for c in parse_shell(text, "/workspace").commands]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000,
        "$(" * 5_000,
        "`" * 5_001,
        "a" * 99_000,
        "a;" * 20_000,
        "'" * 9_999,
        "{" * 9_000,
        "{a," * 3_000 + "}" * 3_000,
        "x <<E\n" * 3_000,
        "if " * 3_000,
        "$((" * 3_000,
        "${" * 3_000,
        '"$(' * 3_000,
        "[[ " * 2_000,
        "case x in " * 2_000,
    ],
)
def test_hostile_texts_cost_little(text: str) -> None:
    """Deep nesting ends in a reason, not in a crash; length costs linear time."""
    start = time.process_time()
    parse_shell(text)
    assert time.process_time() - start < 3
