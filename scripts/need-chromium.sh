#!/bin/sh
# Makes sure that the browser tests find a chromium: takes the one of $CHROMIUM or of the PATH, else installs
# Debian's as root, else says what to install.
set -eu
[ -n "${CHROMIUM:-}" ] && exit 0
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Debian's chromium for the browser tests"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
    exit 0
fi
echo "the browser tests need chromium: install the package 'chromium', or name a binary in CHROMIUM" >&2
exit 1
