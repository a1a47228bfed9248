"""Shell commands in a file: their grammar, programs, variables and URIs, without running any.

Knows nothing about what the commands are for.
"""

import difflib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import lru_cache

from genre_ray.cluster.problem import Problem, spelling
from genre_ray.serve.addresses import uri_fault
from genre_ray.serve.environment import variable_fault

_PROGRAMS = (
    "apt", "apt-get", "awk", "bash", "cat", "chmod", "chown", "cloud-init", "conda", "cp", "curl", "cut", "date",
    "docker", "dpkg", "echo", "export", "false", "find", "genre-ray", "git", "grep", "gsutil", "gcloud", "aws",
    "head", "kill", "kubectl", "mkdir", "mount", "mv", "nvidia-smi", "pip", "pip3", "pkill", "python", "python3",
    "ray", "rm", "rsync", "sed", "serve", "sleep", "source", "sudo", "systemctl", "tail", "tar", "tee", "test",
    "touch", "true", "ulimit", "umask", "unzip", "usermod", "uv", "virtualenv", "wget", "which", "xargs", "yum",
)  # fmt: skip
_BEFORE = ("if", "then", "else", "elif", "while", "until", "do", "!", "time", "{", "sudo", "exec", "env", "nohup")
_BLOCKS = ("for", "case", "select", "function", "fi", "done", "esac", "}", "[", "[[", ".", ":")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_OURS = re.compile(r"\b((?:GENRE_)?RAY_[A-Z_]+)=([^\s'\";]*)")
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n(?:.*?\n)?\s*\2(?=\n|$)", re.DOTALL)
_PUNCTUATION = "();<>|&\n"


def check_command(command: str, place: str, schemes: Iterable[str] = ()) -> Iterator[Problem]:
    """What bash, or the programs that it names, would complain of; and URIs outside `schemes`."""
    if fault := _syntax_fault(command):
        yield Problem(field=place, what=f"no valid shell command: {fault}", value=command, remedy="mend it there")
        return
    for name, value in _OURS.findall(command):
        if said := variable_fault(name, value):
            what, _, remedy = said.partition("; ")
            yield Problem(field=place, what=f"{name}: {what}", value=value, remedy=remedy)
    if said := uri_fault(command, schemes):
        what, _, remedy = said.partition("; ")
        yield Problem(field=place, what=what, value=command, remedy=remedy)
    for words in simple_commands(command):
        yield from _check_program(words, place)


def simple_commands(command: str) -> Iterator[list[str]]:
    """The words of each simple command, the program first; without assignments, redirections, `if`, `sudo`."""
    plain = re.sub(r"(?m)^\s*#.*$", "", _HERE.sub(r"\3\n", command))
    lexer = shlex.shlex(plain, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    words: list[str] = []
    skip = False
    try:
        tokens = [*lexer, ";"]
    except ValueError:  # a quote in a comment, or other things that bash understands and shlex does not
        return
    for token in tokens:
        if token and set(token) <= set(_PUNCTUATION):
            skip = bool(set(token) & set("<>"))
            if skip and words and words[-1].isdigit():
                words.pop()
            elif not skip:
                if inner := _stripped(words):
                    yield inner
                words = []
        elif skip:
            skip = False
        else:
            words.append(token)


def _stripped(words: list[str]) -> list[str]:
    start = 0
    while start < len(words):
        word = words[start]
        option_of_sudo = word.startswith("-") and start > 0
        if word not in _BEFORE and not _ASSIGNMENT.fullmatch(word) and not option_of_sudo:
            break
        start += 1
    return [] if start < len(words) and words[start] in _BLOCKS else words[start:]


@lru_cache(maxsize=512)
def _syntax_fault(command: str) -> str | None:
    """What bash says of the grammar of a command, which it reads and does not run."""
    bash = shutil.which("bash")
    if bash is None:
        return None
    read = subprocess.run([bash, "-n", "-c", command], capture_output=True, text=True, check=False)
    lines = [line.split(": ", 2)[-1] for line in read.stderr.splitlines() if line.strip()]
    return lines[0] if read.returncode or lines else None


def _check_program(words: list[str], place: str) -> Iterator[Problem]:
    program = words[0]
    name = program.rsplit("/", 1)[-1]
    if "/" not in program and "$" not in program and not re.fullmatch(r"python3\.\d+", program):
        said = spelling(program, _PROGRAMS)
        if program not in _PROGRAMS and _nearly(program) and shutil.which(program) is None:
            yield Problem(field=place, what="no such program", value=program, remedy=said)
    if name == "ulimit":
        yield from _check_ulimit(words[1:], place)
    if name == "ray" and len(words) > 1 and not words[1].startswith(("-", "$")):
        commands = _ray_commands()
        if words[1].replace("_", "-") not in commands:
            yield Problem(field=place, what="no command of `ray`", value=words[1], remedy=spelling(words[1], commands))


def _nearly(word: str) -> bool:
    return bool(difflib.get_close_matches(word, _PROGRAMS, n=1, cutoff=0.8))


def _check_ulimit(words: list[str], place: str) -> Iterator[Problem]:
    values = [word for word in words if not word.startswith("-")]
    if len(values) > 1:
        yield Problem(
            field=place, what="too many words for ulimit", value=" ".join(words), remedy="end that command with ;"
        )
    for value in values[:1]:
        if not re.fullmatch(r"\d+|unlimited|hard|soft|\$.*", value):
            yield Problem(field=place, what="no number for ulimit", value=value, remedy="write ulimit -n 65536")


@lru_cache
def _ray_commands() -> frozenset[str]:
    from ray.scripts.scripts import cli

    return frozenset(cli.commands)
