"""Operations on a remote: credentials lent for one process, retried while it cannot be reached, errors explained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ooda.errors import CredentialError, IntegrationError
from ooda.governance.call import ProbeAnswer
from ooda.services.git.command import GitResult, GitRunner, GitSettings
from ooda.services.git.explain import explain, push_error, read_push
from ooda.services.git.lend import lend
from ooda.services.git.remote import Remote
from ooda.services.git.values import Pushed

__all__ = ["Transport"]

_THEIRS = "refs/ooda/theirs"


class Transport:
    """Talks to remotes for one repository.

    Args:
        sleep: How to wait between tries.
    """

    def __init__(self, runner: GitRunner, settings: GitSettings, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._runner = runner
        self._settings = settings
        self._sleep = sleep

    async def heads(self, remote: Remote) -> dict[str, str]:
        """Branches of the remote and their commits; empty for an empty repository."""
        listed = await self._run(remote, "read", "ls-remote", "--heads", remote.url)
        pairs = (line.split("\t", 1) for line in listed.lines() if "\t" in line)
        return {name.removeprefix("refs/heads/"): commit for commit, name in pairs}

    async def fetch(self, remote: Remote, branch: str, into: str, *options: str) -> None:
        """Fetch a branch with its whole history into the reference `into`; of a shallow remote, all that it has."""
        await self._run(
            remote,
            "clone",
            "fetch",
            "--quiet",
            "--force",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--update-shallow",
            *options,
            remote.url,
            f"+refs/heads/{branch}:{into}",
        )

    async def push(self, remote: Remote, branch: str, commit: str) -> Pushed:
        """Push a commit to a branch, never by force.

        A push that is refused because the same one got there meanwhile (one that was cut off here and went on at the
        remote) has nothing left to do.

        Raises:
            ToolFailedError: the remote refused it; nothing was pushed.
            CredentialError, IntegrationError: it was not let in, or not reached.
        """
        result = await self._run(
            remote,
            "push to",
            "push",
            "--porcelain",
            "--no-verify",
            "--no-signed",
            "--no-follow-tags",
            "--recurse-submodules=no",
            remote.url,
            f"{commit}:refs/heads/{branch}",
            accept=lambda result: read_push(result.text()) is not None,
        )
        line = read_push(result.text())
        assert line is not None
        is_there = line.flag == "!" and (await self.heads(remote)).get(branch) == commit
        if line.flag == "!" and not is_there:
            raise push_error(line, result.err, remote, branch)
        words = [text.removeprefix("remote:").strip() for text in result.err.splitlines() if text.startswith("remote:")]
        return Pushed(
            branch=branch,
            commit=commit,
            remote=remote.url,
            is_new=line.flag != "=" and not is_there,
            message=" ".join(word for word in words if word)[:1000],
        )

    async def holds(self, remote: Remote, branch: str, commit: str) -> ProbeAnswer:
        """Whether the remote's branch contains `commit`; `unknown` when it does not answer."""
        try:
            theirs = (await self.heads(remote)).get(branch)
            if theirs is None or theirs == commit:
                return "did_not" if theirs is None else "happened"
            await self.fetch(remote, branch, _THEIRS, "--no-tags")
        except (IntegrationError, CredentialError):
            return "unknown"
        within = await self._runner.run("merge-base", "--is-ancestor", commit, _THEIRS, ok=(0, 1))
        return "happened" if within.exit_code == 0 else "did_not"

    async def _run(
        self, remote: Remote, doing: str, *arguments: str, accept: Callable[[GitResult], bool] = lambda result: False
    ) -> GitResult:
        """Run git against the remote. A failing exit code is an error, unless `accept` can read the answer."""
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            retry=retry_if_exception(_is_retryable),
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._once, remote, doing, arguments, accept)

    async def _once(
        self, remote: Remote, doing: str, arguments: tuple[str, ...], accept: Callable[[GitResult], bool]
    ) -> GitResult:
        home = self._runner.git_dir
        strict = self._settings.strict_host_keys
        with lend(remote, home / "askpass", home / "known_hosts", strict_host_keys=strict) as env:
            try:
                result = await self._runner.run(
                    *arguments, env=env, timeout_s=self._settings.remote_timeout_s, ok=(0, 1, 128)
                )
                if result.exit_code and not accept(result):
                    raise result.error(arguments[0])
            except IntegrationError as error:
                raise explain(error, remote, doing) from error
        return result


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, IntegrationError) and bool(error.facts.get("retryable"))
