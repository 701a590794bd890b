#!/bin/sh
# Runs on the emulated board, early: what a real one has soldered on. A sound card whose output is its microphone, and a
# GPIO chip with 16 lines, which is /dev/lights.
set -eu
mkdir -p /run/board
modprobe snd-aloop
modprobe gpio-sim
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
chip=/sys/kernel/config/gpio-sim/board
mkdir -p $chip/bank0
echo 16 >$chip/bank0/num_lines
echo 1 >$chip/live
ln -s "/dev/$(cat $chip/bank0/chip_name)" /dev/lights
