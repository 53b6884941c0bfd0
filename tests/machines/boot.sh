#!/usr/bin/env bash
# The first process of a machine (rack.py): gives it its name and what it has for itself, says "up",
# and takes in what its programs leave behind.
#
#   boot.sh NAME FOLDER HOSTS PROGRAMS...
#
# FOLDER becomes /tmp, with the home folder in it; all else is read-only and the same for all machines.
# PROGRAMS are the folders that a machine sees even where they lie in the /tmp of this one.
set -euo pipefail
name=$1 folder=$2 hosts=$3
shift 3

hostname "$name"
ip link set lo up
mkdir -p "$folder/home"
mount --bind "$hosts" /etc/hosts
for one in "$@"; do
  case $one in /tmp/*)
    mkdir -p "$folder/${one#/tmp/}"
    mount --bind --options ro "$one" "$folder/${one#/tmp/}" ;;
  *)
    mount --bind --options ro "$one" "$one" ;;
  esac
done
mount --rbind "$folder" /tmp
mount --options remount,bind,ro /
mount --types tmpfs --options size=2g,mode=1777 tmpfs /dev/shm

# What is asked of a machine's first process it ignores: only power lost ends it.
trap '' TERM INT HUP
echo up
exec >/dev/null
while :; do
  sleep 3600 &
  wait "$!"
done
