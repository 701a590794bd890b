"""A desk from which bundles are deployed to an emulated board over SSH: a key, known hosts, an inventory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from board_machine import PATIENCE_S, Machine
from ssh_boards import key_pair

ROOT: Final = Path(__file__).parents[2]
# hands the connected socket to ssh, as ProxyUseFdpass wants it
_PROXY: Final = """\
import socket, sys
board = socket.socket(socket.AF_UNIX)
board.connect(sys.argv[1])
socket.send_fds(socket.socket(fileno=1), [b"."], [board.fileno()])
"""
# tonelight-train, for a board that may take its time
_PATIENT: Final = f"""\
import sys
from functools import partial
from train_host import cli, deploy, deploy_ssh
patience_s = {PATIENCE_S}
deploy_ssh.LOGIN_S = patience_s
deploy.Limits = partial(
    deploy.Limits, command_s=patience_s, install_s=patience_s, steady_s=float(sys.argv.pop(1)), healthy_s=600.0
)
sys.exit(cli.main())
"""


def sudoers() -> str:
    """What docs/deploy.md has a board's owner write, where sudo asks for a password."""
    text = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    [rules] = re.findall(r"```\n( *Cmnd_Alias .*?)```", text, re.DOTALL)
    return rules


class Desk:
    """Its user has done what docs/deploy.md tells to do once, as `pi` on `board`, which accepts bundles of `public`."""

    def __init__(self, board: Machine, public: Path, folder: Path) -> None:
        folder.mkdir()
        key = key_pair(folder / "id")
        board.put(public, "/etc/tonelight/keys/anna.pub")
        board.run("useradd --create-home --shell /bin/sh pi && install -d -m 700 -o pi -g pi /home/pi/.ssh")
        board.put(Path(f"{key}.pub"), "/home/pi/.ssh/authorized_keys")
        (folder / "sudoers").write_text(sudoers())
        board.put(folder / "sudoers", "/etc/sudoers.d/tonelight")
        board.run("chmod 440 /etc/sudoers.d/tonelight && visudo --check --strict")
        board.run("sync")  # as done long ago, whatever becomes of the board
        known = folder / "known_hosts"
        known.write_text(f"kitchen.local {board.run('cat /etc/ssh/ssh_host_ed25519_key.pub')}")
        proxy = folder / "proxy.py"
        proxy.write_text(_PROXY)
        config = folder / "ssh_config"
        config.write_text(
            f"Host kitchen.local\n User pi\n IdentityFile {key}\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {known}\n GlobalKnownHostsFile /dev/null\n"
            f" ProxyCommand {sys.executable} {proxy} {board.ssh}\n ProxyUseFdpass yes\n"
        )
        self._asked = folder / "asked"
        ssh = folder / "bin/ssh"
        ssh.parent.mkdir()
        ssh.write_text(
            f'#!/bin/sh\necho "$@" >>{self._asked}\n'
            # what is given first holds
            f'exec {shutil.which("ssh")} -F {config} -o ConnectTimeout=3600 -o ServerAliveInterval=0 "$@"\n'
        )
        ssh.chmod(0o755)
        self._path = f"{ssh.parent}:{os.environ['PATH']}"
        self._inventory = folder / "boards.toml"
        self._inventory.write_text('[boards.kitchen]\nhost = "kitchen.local"\n')

    def begin_to_deploy(self, bundle: Path, steady_s: float = 10.0) -> subprocess.Popen[str]:
        """`tonelight-train deploy`, and go on. `steady_s`: so long the board has to be well, in this machine's time."""
        words = [sys.executable, "-c", _PATIENT, str(steady_s), "deploy", bundle, "--inventory", self._inventory]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PATH": self._path, "PYTHONPATH": path},
        )

    def deploy(self, bundle: Path) -> tuple[int, str, str]:
        """`tonelight-train deploy`: its exit status, its output and its errors."""
        return ended(self.begin_to_deploy(bundle))

    def n_looks(self) -> int:
        """How often it was asked for how the service is."""
        return self._asked.read_text().count("health.json")


def ended(deploying: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end: exit status, output and errors."""
    out, err = deploying.communicate()
    return deploying.returncode, out, err
