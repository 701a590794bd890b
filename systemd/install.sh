#!/bin/sh
# Makes tonelight a service of this machine (Raspberry Pi OS, Debian, Ubuntu, Jetson), or takes it away again.
# Running it again upgrades. The running program is replaced only by one that has proved to work here.
set -eu

usage() {
  cat <<'EOF'
usage: sudo systemd/install.sh [--offline WHEELS] [--network]
       sudo systemd/install.sh --uninstall [--purge]

  --offline WHEELS  install from the wheels in this folder, without any network (docs/board.md tells how to fill it)
  --network         let the service reach the local network: for the page, MQTT and metrics; once given, it stays
  --uninstall       take the service and the program away; configuration, models and log stay
  --purge           with --uninstall: those, too, and the user

The Python to use can be named: sudo PYTHON=python3.11 systemd/install.sh
EOF
}

die() {
  echo "install.sh: $1" >&2
  exit "${2:-1}"
}

say() {
  echo "$*"
}

program=/opt/tonelight # a link to the folder of the version that runs
config=/etc/tonelight
state=/var/lib/tonelight
command=/usr/local/bin/tonelight
unit=/etc/systemd/system/tonelight.service
network=$unit.d/network.conf
rules=/etc/udev/rules.d/90-tonelight.rules
users=/etc/sysusers.d/tonelight.conf
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
fresh= # the folder of a version that is not there yet
back=  # what the link led to before, while it leads to a version that has not come to run
stopped= # set while the service waits for its new version

offline='' want_network='' uninstall='' purge=''
while [ $# -gt 0 ]; do
  case $1 in
  --offline)
    [ $# -ge 2 ] || die "--offline needs the folder with the wheels" 2
    offline=$2
    shift
    ;;
  --network) want_network=1 ;;
  --uninstall) uninstall=1 ;;
  --purge) purge=1 ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    die "unknown argument: $1" 2
    ;;
  esac
  shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || die "--purge goes with --uninstall" 2
[ -z "$uninstall" ] || [ -z "$offline$want_network" ] || die "--uninstall goes with nothing but --purge" 2

[ "$(id -u)" -eq 0 ] || die "needs root: sudo $0"
command -v systemctl >/dev/null || die "there is no systemd here; \`make run\` starts tonelight by hand"
mkdir -p /run/lock
exec 9>/run/lock/tonelight-install.lock
flock -n 9 || die "another install.sh is at work; try again when it is done"

is_booted() { # an image that is being built has systemd, but does not run it
  [ -d /run/systemd/system ]
}

# --- away with it

if [ -n "$uninstall" ]; then
  if is_booted; then
    systemctl disable --quiet --now tonelight.service 2>/dev/null || true
  else
    systemctl --quiet disable tonelight.service 2>/dev/null || true
  fi
  rm -f "$unit" "$network" "$rules" "$users"
  rmdir "$unit.d" 2>/dev/null || true # somebody's own drop-ins stay
  if is_booted; then
    systemctl daemon-reload
    systemctl reset-failed tonelight.service 2>/dev/null || true
    udevadm control --reload 2>/dev/null || true
  fi
  case $(readlink "$command" 2>/dev/null) in "$program"/*) rm -f "$command" ;; esac
  rm -rf "$program" "$program".2*
  if [ -n "$purge" ]; then
    rm -rf "$config" "$state" "$unit.d"
    if getent passwd tonelight >/dev/null; then userdel tonelight; fi
    say "tonelight is gone, and with it its configuration, models and log"
  else
    say "tonelight is gone; its configuration ($config) and its models and log ($state) are kept:" \
      "systemd/install.sh --uninstall --purge removes them as well"
  fi
  exit 0
fi

# --- which board, which Python

if [ -n "$offline" ]; then
  [ -d "$offline" ] || die "--offline $offline: there is no such folder"
  offline=$(cd "$offline" && pwd)
  ls "$offline"/tonelight-*.whl >/dev/null 2>&1 ||
    die "--offline $offline: there is no tonelight-*.whl in it; docs/board.md tells how to fill it"
fi
[ -f "$root/pyproject.toml" ] || die "$root is no checkout of tonelight; run systemd/install.sh within one"

model=$(tr -d '\0' 2>/dev/null </proc/device-tree/model || true)
case $(getconf LONG_BIT):$model in
32:*) target=pi-32bit ;;
*Raspberry\ Pi*) target=pi ;;
*Jetson*) target=jetson ;;
*) target=device ;;
esac

python=${PYTHON:-python3}
packages=libportaudio2
command -v "$python" >/dev/null || packages="$packages python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages $(basename "$python")-venv"
case $target in
pi-32bit) packages="$packages python3-numpy" ;;
pi) # for Python 3.13 there is no wheel of it
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then
    packages="$packages python3-rpi-lgpio"
  fi
  ;;
esac
missing=
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
    missing="$missing $package"
done
if [ -n "$missing" ] && [ -n "$offline" ]; then
  say "not here, and not to be had offline:$missing; going on without"
elif [ -n "$missing" ]; then
  command -v apt-get >/dev/null || die "please install first:$missing"
  say "installing$missing ..."
  # shellcheck disable=SC2086 # several words
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing; } \
    >/dev/null || say "not installed:$missing; going on without"
fi

command -v "$python" >/dev/null || die "there is no $python: sudo apt install python3 python3-venv"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
  die "tonelight needs Python 3.10 to 3.13, and $python is $("$python" -V 2>&1); name another one: sudo PYTHON=python3.11 $0"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  die "$python cannot make virtual environments: sudo apt install $(basename "$python")-venv"

case $(readlink -f "$(command -v "$python")") in
/home/* | /root/*) die "$python lies in a home, where the service may not look; name another one: sudo PYTHON=/usr/bin/python3 $0" ;;
esac

# --- the program, beside the one that runs

go_back() {
  if is_booted; then systemctl stop tonelight.service || true; fi # or it would try the new version again and again
  ln -sfn "$back" "$fresh.link"
  mv -T "$fresh.link" "$program"
  back=
  sync
  rm -rf "$fresh"
  fresh=
}
leave_as_it_was() {
  [ -z "$back" ] || go_back
  [ -z "$fresh" ] || rm -rf "$fresh" "$fresh.link"
  if [ -n "$stopped" ]; then systemctl start --no-block tonelight.service; fi
}
trap leave_as_it_was EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$(dirname "$program")"
if [ -e "$program" ] && [ ! -L "$program" ]; then die "$program is in the way; move it, then run this again"; fi
fresh=$program.$(date +%Y%m%d%H%M%S).$$
say "setting up $("$python" -V 2>&1) and what edge/locks/$target.txt names ..."
umask 022
case $target in pi*) site=--system-site-packages ;; *) site= ;; esac # apt's own numpy and GPIO library have to be seen
# shellcheck disable=SC2086 # none or one word
"$python" -m venv $site "$fresh"

pip() {
  "$fresh/bin/python" -m pip --quiet --disable-pip-version-check --no-input install --no-deps "$@"
}
if [ -n "$offline" ]; then
  pip --no-index --find-links "$offline" --use-pep517 -r "$root/edge/locks/$target.txt" ||
    die "$offline lacks something for $("$python" -V 2>&1) on $(uname -m) (named above); docs/board.md tells how to fill it"
  pip --no-index --find-links "$offline" tonelight || die "the tonelight wheel in $offline cannot be installed"
else
  pip --use-pep517 -r "$root/edge/locks/$target.txt" ||
    die "what tonelight needs could not be fetched (see above); without a network: $0 --offline WHEELS"
  pip "$root" || die "$root could not be built (see above)"
fi
"$fresh/bin/python" -m compileall -q "$fresh/lib" >/dev/null || true # the service may not write there
demo=$(cd / && "$fresh/bin/python" -c 'from edge.config import demo_path; print(demo_path())')
# (From elsewhere: in a checkout, Python would take its `edge` for the installed one.)
(cd / && HOME=$fresh STATE_DIRECTORY=$fresh/none "$fresh/bin/tonelight" listen "$demo" >/dev/null) ||
  die "the new program does not work on this machine (see above); nothing was changed"

# --- everything around it

put() { # SOURCE TARGET
  install -D -m 644 "$1" "$2"
}
put "$here/sysusers.conf" "$users"
systemd-sysusers "$users"
put "$here/tonelight.rules" "$rules"
if [ ! -e "$config/config.toml" ]; then
  mkdir -p "$config"
  # no light until it is said which; a terminal is none that a service has
  (cd / && HOME=$fresh "$fresh/bin/tonelight" config show) |
    sed '/^\[leds\]/,/^\[/s/^kind = "terminal"/kind = "none"/' >"$config/config.toml.new"
  mv "$config/config.toml.new" "$config/config.toml"
fi
mkdir -p "$config/keys"
put "$here/tonelight.service" "$unit"
if [ -n "$want_network" ] || [ -e "$network" ]; then put "$here/tonelight-network.conf" "$network"; fi
install -d -o tonelight -g tonelight "$state"

sync # before the link leads there, or a power cut could leave a program of empty files
if is_booted; then
  udevadm control --reload 2>/dev/null || true
  for subsystem in gpio spidev leds pwm; do
    udevadm trigger --subsystem-match=$subsystem 2>/dev/null || true
  done
  systemctl daemon-reload
  # the self-test needs the light, too
  if systemctl --quiet is-active tonelight.service; then
    stopped=1
    systemctl stop tonelight.service
  fi
fi
before=$(readlink "$program" 2>/dev/null || true)
[ -x "$program/bin/tonelight" ] || before= # a link that leads nowhere
back=$before
ln -s "$(basename "$fresh")" "$fresh.link"
mv -T "$fresh.link" "$program" # in one step: a power cut leaves the old one or the new one
installed=$fresh
[ -n "$back" ] || fresh= # with nothing to go back to, it stays
sync
if [ ! -e "$command" ] || [ -L "$command" ]; then
  mkdir -p "$(dirname "$command")"
  ln -sfn "$program/bin/tonelight" "$command"
else
  say "$command is somebody else's and stays; tonelight itself is $program/bin/tonelight"
fi

systemctl --quiet enable tonelight.service
what="installed"
[ -z "$before" ] || what="upgraded"
keep() { # the new version, and no other
  back='' fresh='' stopped=''
  for old in "$program".2*; do
    [ "$old" = "$installed" ] || rm -rf "$old"
  done
}
if ! is_booted; then
  keep
  say "$what; it starts when this system does"
  exit 0
fi

say ""
(cd / && runuser -u tonelight -- env STATE_DIRECTORY="$state" HOME=/nonexistent \
  "$program/bin/tonelight" doctor --config "$config/config.toml") || true
say ""
stopped=$back # whatever comes now, one of the two shall run
if systemctl start tonelight.service; then
  keep
  say "$what, and listening from every start on: systemctl status tonelight; journalctl -u tonelight -f"
  say "configuration: sudo nano $config/config.toml, then sudo systemctl reload tonelight"
elif [ -z "$back" ]; then
  die "$what, but it does not start: journalctl -u tonelight -n 30"
else
  go_back
  stopped=
  systemctl start tonelight.service ||
    die "neither the new version starts nor the one before, which is back: journalctl -u tonelight -n 60"
  die "the new version does not start, and the one before goes on: journalctl -u tonelight -n 60"
fi
