#!/bin/sh
# RAUC runs this from the bundle, with the slot mounted that has just been written (RAUC, "Slot Hooks").
set -eu

[ "$1" = slot-post-install ] || exit 0
new=$RAUC_SLOT_MOUNT_POINT

# The version that the next update is compared with.
version=$(sed -n 's/^version=//p' "$RAUC_BUNDLE_MOUNT_POINT/manifest.raucm")
mkdir -p "$new/etc/edge-runtime"
printf '%s\n' "$version" >"$new/etc/edge-runtime/system-version"

# What belongs to this robot and to no release goes along.
for path in /etc/machine-id /etc/hostname /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub \
    /etc/NetworkManager/system-connections; do
    [ -e "$path" ] || continue
    mkdir -p "$new$(dirname "$path")"
    rm -rf "$new$path"
    cp -a "$path" "$new$path"
done

# NVIDIA's boot entry names the partition that it starts: it must be this one.
entry=$new/boot/extlinux/extlinux.conf
if [ -e "$entry" ]; then
    part=$(lsblk --noheadings --nodeps --output PARTUUID "$RAUC_SLOT_DEVICE" | tr -d '[:space:]')
    [ -n "$part" ] || { echo "$RAUC_SLOT_DEVICE: has no PARTUUID" >&2; exit 1; }
    sed -i -E "s,root=[^[:space:]]+,root=PARTUUID=$part," "$entry"
fi
sync
