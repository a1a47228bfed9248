"""`ssh` and `rsync` that run nothing: they write down what they are asked and answer as a healthy node would."""

import os
import stat
from pathlib import Path

SSH = r"""#!/bin/sh
printf '%s\000' "$*" >> "$RECORDS/ssh"
case "$*" in
  *"command -v docker"*) echo /usr/bin/docker ;;
  *"docker run "*) : > "$RECORDS/container" ;;
  *".State.Running"*) if [ -e "$RECORDS/container" ]; then echo true; fi ;;
  *".Config.Env"*) cat "$RECORDS/environment" ;;
  *".Config.Image"*|*".Mounts"*) echo '[]' ;;
  *"printenv HOME"*) echo /home/ray ;;
  *".Runtimes"*) echo 'map[nvidia:{nvidia-container-runtime []}]' ;;
  *"/proc/meminfo"*) echo 'MemAvailable: 16000000 kB' ;;
esac
"""

RSYNC = r"""#!/bin/sh
printf '%s\000' "$*" >> "$RECORDS/rsync"
for word; do source=$target; target=$word; done
case "$target" in
  */ray_bootstrap_config.yaml|*/ray_bootstrap_key.pem) cp "$source" "$RECORDS/${target##*/}" ;;
esac
"""


class Records:
    """What was asked of the two programs since they were put into `folder`."""

    def __init__(self, folder: Path, environment: str) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, text in (("ssh", SSH), ("rsync", RSYNC)):
            program = self.programs / name
            program.write_text(text, encoding="utf-8")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (folder / "environment").write_text(environment, encoding="utf-8")

    def variables(self) -> dict[str, str]:
        """The environment in which the two are found."""
        return {"PATH": f"{self.programs}:{os.environ['PATH']}", "RECORDS": str(self.folder)}

    def take(self, program: str) -> list[str]:
        """The command lines that came since the last time."""
        path = self.folder / program
        lines = path.read_text(encoding="utf-8").split("\0")[:-1] if path.exists() else []
        path.unlink(missing_ok=True)
        return lines
