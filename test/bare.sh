#!/bin/sh
# Runs a command as on a machine without Vulkan: its loader and its drivers are out of sight, in a mount namespace.
#   sh test/bare.sh node --import tsx src/cli/bin.ts info
set -eu
if [ -z "${BARE_INSIDE:-}" ]; then
  BARE_INSIDE=1 exec unshare --mount --map-root-user sh "$0" "$@"
fi
unset BARE_INSIDE
for loader in $(ldconfig -p | awk '/libvulkan\.so/ { print $NF }'); do
  mount --bind /dev/null "$(readlink -f "$loader")"
done
for folder in /etc/vulkan /usr/share/vulkan /usr/local/etc/vulkan /usr/local/share/vulkan; do
  if [ -d "$folder" ]; then mount -t tmpfs none "$folder"; fi
done
exec "$@"
