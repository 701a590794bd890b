#!/bin/sh
# Runs on the emulated board, or in its folder while its disk is made: installs tonelight, and what the tests need.
set -eu
/board/checkout/systemd/install.sh --offline /board/wheels
cp /board/config.toml /etc/tonelight/config.toml
for unit in /board/*.service; do
  mv "$unit" /etc/systemd/system/
  systemctl --quiet enable "$(basename "$unit")"
done
