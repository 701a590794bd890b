"""The installer, for real: as root, in a copy of this system's folders that vanishes with the test."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALL = ROOT / "systemd" / "install.sh"

# The folders that an installer writes to, as copies that only this process and its children see.
BOX = """
set -e
mount -t tmpfs box "$1"
for folder in etc var/lib usr/local run; do
  mkdir -p "$1/$folder/upper" "$1/$folder/work"
  mount -t overlay box -o "lowerdir=/$folder,upperdir=$1/$folder/upper,workdir=$1/$folder/work" "/$folder" || exit 77
done
mkdir "$1/opt"
mount --bind "$1/opt" /opt
rm -rf /etc/tonelight /var/lib/tonelight
set +e
shift
. "$1"
"""


def install(*argv: str | Path, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run([INSTALL, *argv], capture_output=True, text=True, **options)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck():
    done = subprocess.run(["shellcheck", INSTALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--ofline"], "unknown argument: --ofline"),
        (["--offline"], "--offline needs the folder with the wheels"),
        (["--purge"], "--purge goes with --uninstall"),
        (["--uninstall", "--network"], "--uninstall goes with nothing but --purge"),
    ],
)
def test_wrong_usage(argv, said):
    done = install(*argv)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"install.sh: {said}"


def test_help():
    done = install("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: sudo systemd/install.sh")


def test_only_for_root():
    done = install(user=65534 if os.geteuid() == 0 else None, cwd="/")
    if "Permission denied" in done.stderr:
        pytest.skip("nobody may read this checkout")
    assert done.returncode == 1
    assert done.stderr == f"install.sh: needs root: sudo {INSTALL}\n"


def fetch(folder: Path, target: str, *more: str) -> Path:
    """What `--offline` takes on this machine for a board of the kind `target`; `more` is what some is built with."""
    python = "/usr/bin/python3"
    lock = ROOT / f"edge/locks/{target}.txt"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()
    if version not in ("3.10", "3.11", "3.12", "3.13"):
        pytest.skip("this system's own Python cannot run tonelight")
    got = ["--no-deps", "--only-binary=:all:", f"--python-version={version}", "-d", folder]
    commands = [["download", *got, "-r", lock], ["wheel", "--no-deps", "-w", folder, ROOT]]
    if more:
        commands[0].insert(3, "--no-binary=jetson-gpio")
        commands.append(["download", "-d", folder, *more])
    for command in commands:
        done = subprocess.run([*pip, *command], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no wheels could be had: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine."""
    return fetch(tmp_path_factory.mktemp("wheels"), "device")


@pytest.fixture
def box(tmp_path: Path, wheels: Path):
    """Run a shell script in such a copy; `$install` and `$wheels` are there. Returns its lines."""
    unshare = ["unshare", "-m", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("only root has folders of its own (unshare -m)")
    if Path("/run/systemd/system").exists():
        pytest.skip("this system runs systemd, and must not get a service from a test")
    (tmp_path / "box").mkdir()

    def run(script: str) -> list[str]:
        (tmp_path / "script").write_text(script)
        done = subprocess.run(
            [*unshare, "sh", "-c", BOX, "box", tmp_path / "box", tmp_path / "script"],
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
                "install": str(INSTALL),
                "wheels": str(wheels),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode == 77:
            pytest.skip("this system has no overlay file system")
        assert done.returncode == 0, done.stdout
        return [line for line in done.stdout.splitlines() if not line.startswith("WARNING: Location")]

    return run


@pytest.mark.slow
def test_from_nothing_and_back(box):
    """A system image that is being built: everything is put in place, nothing is started."""
    lines = box("""
        "$install" --offline "$wheels" || exit 1
        test "$(readlink /opt/tonelight)" = "$(cd /opt && echo tonelight.2*)" || exit 2
        readlink /etc/systemd/system/multi-user.target.wants/tonelight.service
        id -nG tonelight
        stat -c '%U %a %n' /var/lib/tonelight /etc/tonelight/config.toml
        grep -x 'kind = "none"' /etc/tonelight/config.toml
        cd /
        tonelight config check
        export STATE_DIRECTORY=/var/lib/tonelight
        setpriv --reuid tonelight --regid tonelight --init-groups /opt/tonelight/bin/tonelight model list
        test ! -e /etc/systemd/system/tonelight.service.d || exit 3

        echo 'node = "mine"' >/etc/tonelight/config.toml
        "$install" --offline "$wheels" --network || exit 4
        test "$(readlink /opt/tonelight)" = "$(cd /opt && echo tonelight.2*)" || exit 5
        cat /etc/tonelight/config.toml
        ls /etc/systemd/system/tonelight.service.d

        mkdir -p /var/lib/tonelight/models
        "$install" --uninstall || exit 7
        ls /opt /etc/tonelight /var/lib/tonelight
        "$install" --uninstall --purge || exit 8
        find /etc /opt /usr/local -name '*tonelight*' -path '/etc/*' -o -path /opt/tonelight \\
          -o -path /usr/local/bin/tonelight
        getent passwd tonelight
        "$install" --uninstall
    """)
    text = "\n".join(lines)
    assert "installed; it starts when this system does\n/etc/systemd/system/tonelight.service\n" in text
    assert "tonelight audio gpio spi\ntonelight 755 /var/lib/tonelight\nroot 644 /etc/tonelight/config.toml\n" in text
    assert 'kind = "none"\nok: /etc/tonelight/config.toml\n-> tonelight-0.1.0  comes with tonelight\n' in text
    assert 'upgraded; it starts when this system does\nnode = "mine"\nnetwork.conf\n' in text
    kept = "/etc/tonelight:\nconfig.toml\nkeys\n\n/opt:\n\n/var/lib/tonelight:\nmodels\n"
    gone = "tonelight is gone, and with it its configuration, models and log\n"
    assert kept + gone in text
    assert text.partition(gone)[2].startswith("tonelight is gone; its configuration (/etc/tonelight) and its models")


# /proc as it was, and in it what boards have there to say what they are
DEVICE_TREE = """
mkdir /run/proc && mount --bind /proc /run/proc && mount -t tmpfs proc /proc
for entry in /run/proc/*; do ln -s "$entry" /proc; done
rm -f /proc/device-tree && mkdir /proc/device-tree && printf '%s\\0' "{model}" >/proc/device-tree/model
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "target", "built_with", "library", "sees_system"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4", "pi", (), "rpi-lgpio", "true"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "jetson", ("setuptools", "wheel"), "Jetson.GPIO", "false"),
    ],
)
def test_a_board_gets_what_is_locked_for_it(box, tmp_path, model, target, built_with, library, sees_system):
    """By its name in the device tree: its GPIO library, and a Python that sees apt's where it needs it."""
    folder = fetch(tmp_path / "wheels", target, *built_with)
    lines = box(f"""
        {DEVICE_TREE.format(model=model)}
        "$install" --offline "{folder}" || exit 1
        /opt/tonelight/bin/python -m pip list --local --format=freeze --disable-pip-version-check
        grep include-system-site-packages /opt/tonelight/pyvenv.cfg
        cd / && tonelight config check
    """)
    text = "\n".join(lines)
    assert f" and what edge/locks/{target}.txt names ..." in text
    if target != "pi" or list(folder.glob("rpi_lgpio-*")):  # for Python 3.13 it comes from apt
        assert re.search(rf"^{re.escape(library)}==\d", text, re.MULTILINE)
    assert f"include-system-site-packages = {sees_system}" in text
    assert lines[-1] == "ok: /etc/tonelight/config.toml"


@pytest.mark.slow
def test_what_fails_leaves_what_was_there(box):
    lines = box("""
        "$install" --offline "$wheels" >/dev/null || exit 1
        before=$(readlink /opt/tonelight)
        mkdir /tmp/few.$$
        "$install" --offline /tmp/few.$$ && exit 2
        cp "$wheels"/tonelight-*.whl /tmp/few.$$
        "$install" --offline /tmp/few.$$ && exit 3
        cp "$wheels"/*.whl /tmp/few.$$
        python3 -c '
import sys, zipfile
name = sys.argv[1]
with zipfile.ZipFile(name) as old: files = {each: old.read(each) for each in old.namelist()}
with zipfile.ZipFile(name, "w") as new:
    for each, content in files.items():
        new.writestr(each, b"raise SystemExit(\\"broken\\")" if each == "edge/pipeline.py" else content)
' /tmp/few.$$/tonelight-*.whl
        "$install" --offline /tmp/few.$$ && exit 4
        rm -rf /tmp/few.$$
        test "$before" = "$(cd /opt && echo tonelight.2*)" && test "$before" = "$(readlink /opt/tonelight)" || exit 5
        cd / && tonelight model list
        rm /opt/tonelight && mkdir /opt/tonelight
        "$install" --offline "$wheels" && exit 6
        PYTHON=python2.0 "$install" --offline "$wheels" && exit 7
        exit 0
    """)
    said = [line.partition("install.sh: ")[2] for line in lines if line.startswith("install.sh: ")]
    assert [line.split("; ")[-1].split(": ")[-1] for line in said[:1]] == ["docs/board.md tells how to fill it"]
    assert "lacks something for Python 3." in said[1]
    assert said[2] == "the new program does not work on this machine (see above); nothing was changed"
    assert said[3] == "/opt/tonelight is in the way; move it, then run this again"
    assert said[4] == "there is no python2.0: sudo apt install python3 python3-venv"
    assert "-> tonelight-0.1.0  comes with tonelight" in lines


# Says what it was told and where the program's link led just then; the first start of a new version fails, and with
# `FAILING=all` each one.
SYSTEMCTL = """#!/bin/sh
echo "- $(basename "$0") $* $(readlink /opt/tonelight)"
case "$*" in
"start tonelight.service") [ "$FAILING" != all ] && [ "$(readlink /opt/tonelight)" = "$BEFORE" ] ;;
esac
"""


@pytest.mark.slow
def test_a_version_that_does_not_start_makes_room_for_the_one_before(box, tmp_path):
    """systemd is not here to start anything: what the installer asks of it is written down, and answered."""
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    lines = box(f"""
        "$install" --offline "$wheels" >/dev/null || exit 1
        export BEFORE=$(readlink /opt/tonelight)
        mkdir -p /run/systemd/system /usr/local/sbin
        for name in systemctl sync; do
          install -m 755 {tmp_path}/systemctl /usr/local/sbin/$name
        done
        for FAILING in new all; do
          export FAILING
          "$install" --offline "$wheels" && exit 2
          test "$BEFORE" = "$(cd /opt && echo tonelight.2*)" && test "$BEFORE" = "$(readlink /opt/tonelight)" || exit 3
        done
        cd / && tonelight model list
        rm /usr/local/sbin/s*
        "$install" --offline "$wheels" && exit 4 # there is no systemd to start it after all
        test "$BEFORE" = "$(readlink /opt/tonelight)" || exit 5
        rmdir /run/systemd/system
        "$install" --offline "$wheels" || exit 6
        test "$BEFORE" != "$(readlink /opt/tonelight)" || exit 7
        test "$(readlink /opt/tonelight)" = "$(cd /opt && echo tonelight.2*)" || exit 8
    """)
    asked = [line.rpartition(" ") for line in lines if line.startswith("- ")]
    before = asked[0][2]
    steps = [(what, "before" if led == before else "new") for what, _, led in asked]
    assert steps[: len(steps) // 2] == [
        ("- sync ", "before"),  # the new files are on the disk before the link leads to them
        ("- systemctl daemon-reload", "before"),
        ("- systemctl --quiet is-active tonelight.service", "before"),
        ("- systemctl stop tonelight.service", "before"),
        ("- sync ", "new"),
        ("- systemctl --quiet enable tonelight.service", "new"),
        ("- systemctl start tonelight.service", "new"),
        ("- systemctl stop tonelight.service", "new"),
        ("- sync ", "before"),
        ("- systemctl start tonelight.service", "before"),
    ]
    assert steps[: len(steps) // 2] == steps[len(steps) // 2 :]
    said = [line.partition("install.sh: ")[2] for line in lines if line.startswith("install.sh: ")]
    log = "journalctl -u tonelight -n 60"
    assert said[:2] == [
        f"the new version does not start, and the one before goes on: {log}",
        f"neither the new version starts nor the one before, which is back: {log}",
    ]
    assert "-> tonelight-0.1.0  comes with tonelight" in lines


# A system that runs ---------------------------------------------------------------------------------------------------

# This system's own root, copied on write, with a systemd of its own that runs one script and ends.
BOOT = """
set -e
mount -t tmpfs box "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay box -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" || exit 77
cd "$1/root"
rm -rf etc/systemd/system/*.wants etc/systemd/system/tonelight* etc/tonelight var/lib/tonelight opt/tonelight*
echo board >etc/hostname
mkdir board
cp -r "$wheels" board/wheels
cp "$2" "$3" board
mkdir board/checkout
tar -C "$4" -c systemd edge/locks pyproject.toml | tar -C board/checkout -x
cat >etc/systemd/system/board.service <<'END'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh /board/script
StandardOutput=file:/board/out
StandardError=file:/board/out
ExecStopPost=/bin/systemctl poweroff --force
TimeoutStartSec=900
END
cd /
timeout -k 5 900 systemd-nspawn --quiet -D "$1/root" --register=no --keep-unit --private-network --console=pipe \\
  -b systemd.unit=board.service </dev/null >/dev/null 2>&1 || test -e "$1/root/board/out" || exit 77
cat "$1/root/board/out"
"""

# A microphone that hears a noise, at the pace of a real one.
FEED = """
import array, random, time
blocks = [array.array("f", [random.uniform(-0.1, 0.1) for _ in range(882 * 2)]).tobytes() for _ in range(20)]
while True:
    try:
        with open("/srv/heard", "wb", buffering=0) as pipe:
            next_s = time.monotonic()
            while True:
                pipe.write(random.choice(blocks))
                next_s += 0.02
                time.sleep(max(0.0, next_s - time.monotonic()))
    except BrokenPipeError:
        pass
"""


@pytest.mark.slow
def test_the_service_of_a_running_system(tmp_path, wheels):
    """Locked in as it is, the service hears, is restarted, reloads and goes: by systemd itself, not by its manual."""
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        pytest.skip("needs root and systemd-nspawn (apt install systemd-container)")
    (tmp_path / "box").mkdir()
    (tmp_path / "feed.py").write_text(FEED)
    (tmp_path / "script").write_text("""
        export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        cd /
        mkfifo -m 666 /srv/heard
        python3 /board/feed.py &
        slave='slave.pcm "null" file "/dev/null" infile "/srv/heard" format "raw"'
        printf 'pcm.null { type null }\\npcm.default { type file %s }\\n' "$slave" >/etc/asound-board.conf
        mkdir -p /etc/systemd/system/tonelight.service.d
        printf '[Service]\\nEnvironment=ALSA_CONFIG_PATH=/etc/asound-board.conf\\nStandardError=append:/board/log\\n' \\
          >/etc/systemd/system/tonelight.service.d/board.conf
        heard() { # waits for the first blocks of a new start
          for _ in $(seq 60); do
            if grep -q '"phase":"listening".*"n_blocks":[1-9]' /run/tonelight/health.json 2>/dev/null; then
              echo "$1: heard"
              return
            fi
            sleep 1
          done
          echo "$1: deaf"
        }
        /board/checkout/systemd/install.sh --offline /board/wheels
        echo "installed: $?"
        heard first
        grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/$(systemctl show tonelight -p MainPID --value)/status
        systemctl reload tonelight
        echo "reloaded: $?"
        for _ in $(seq 60); do # systemd does not wait for the answer
          grep -q reloaded /board/log && break
          sleep 1
        done
        systemctl kill -s KILL tonelight
        sleep 1
        heard second
        systemctl show tonelight -p NRestarts
        cat /board/log
        /board/checkout/systemd/install.sh --uninstall --purge
        systemctl status tonelight 2>&1
    """)
    given = [tmp_path / "box", tmp_path / "script", tmp_path / "feed.py", ROOT]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", BOOT, "boot", *given],
        env=os.environ | {"wheels": str(wheels)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 77:
        pytest.skip("no systemd can be started here beside the system's own")
    out = done.stdout
    for expected in (
        "ok       model       tonelight-0.1.0 in /opt/tonelight.2",
        "installed, and listening from every start on",
        "installed: 0\n",
        "first: heard\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nreloaded: 0\n",
        "second: heard\nNRestarts=1\n",
        "INFO listening to default\nINFO reloaded: tonelight-0.1.0 listens as before\nINFO listening to default\n",
        "tonelight is gone, and with it its configuration, models and log\n",
        "Unit tonelight.service could not be found.",
    ):
        assert expected in out, out + done.stderr
    assert "Traceback" not in out
