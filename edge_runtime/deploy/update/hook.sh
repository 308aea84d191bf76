#!/bin/sh
# RAUC runs this from the bundle, with the slot mounted that has just been written (RAUC, "Slot Hooks"). That slot does
# not start before this has ended well: a power cut in the middle costs nothing.
set -eu

[ "$1" = slot-post-install ] || exit 0
old=${OLD:-} # the root of the system that runs
new=$RAUC_SLOT_MOUNT_POINT

# The version that the next update is compared with.
version=$(sed -n 's/^version=//p' "$RAUC_BUNDLE_MOUNT_POINT/manifest.raucm")
mkdir -p "$new/etc/edge-runtime"
printf '%s\n' "$version" >"$new/etc/edge-runtime/system-version"

# What belongs to this robot and to no release goes along.
for path in "$old"/etc/machine-id "$old"/etc/hostname "$old"/etc/ssh/ssh_host_*_key "$old"/etc/ssh/ssh_host_*_key.pub \
    "$old"/etc/NetworkManager/system-connections; do
    [ -e "$path" ] || continue
    there=$new${path#"$old"}
    mkdir -p "${there%/*}"
    rm -rf "$there"
    cp -a "$path" "$there"
done

# So does what its owner changed in robot.toml, or laid beside it. A file that is as its package brought it comes from
# the release, and trust.pem always does, or no key could ever be changed.
known=$old/var/lib/dpkg
brought=$(dpkg-query --admindir="$known" --show --showformat='${Conffiles}' edge-runtime 2>/dev/null) || brought=
for path in "$old"/etc/edge-runtime/*; do
    [ -f "$path" ] || continue
    there=$new${path#"$old"}
    sum=$(md5sum <"$path")
    case "${path##*/} $brought" in
    trust.pem* | system-version* | *"${path#"$old"} ${sum%% *}"*) continue ;;
    esac
    [ -e "$there" ] || cp -p "$path" "$there"
    cat "$path" >"$there" # the group that may read it has the number that it has there
done

# And the people who were given an account on it.
OLD=$old NEW=$new sh "$RAUC_BUNDLE_MOUNT_POINT/accounts"

# NVIDIA's boot entry names the partition that it starts: it must be this one.
entry=$new/boot/extlinux/extlinux.conf
if [ -e "$entry" ]; then
    part=$(lsblk --noheadings --nodeps --output PARTUUID "$RAUC_SLOT_DEVICE" | tr -d '[:space:]')
    [ -n "$part" ] || { echo "$RAUC_SLOT_DEVICE: has no PARTUUID" >&2; exit 1; }
    sed -i -E "s,root=[^[:space:]]+,root=PARTUUID=$part," "$entry"
fi
sync
