#!/bin/sh
# RAUC's custom bootloader backend for Jetson (JetPack 6 and 7) with two root file systems (flashed with ROOTFS_AB=1).
#
# NVIDIA's nvbootctrl says which slot runs and which starts next, and confirms the slot that runs (`verify`). Since
# Jetson Linux 35 it marks no slot unbootable: that is the UEFI variable RootfsStatusSlotA or -B, 0 normal and 0xFF
# unbootable (Jetson Linux Developer Guide, "UEFI Adaptation", "UEFI Variables").
# Not run on hardware here: tested against a fake nvbootctrl.
set -eu

VARIABLES=${EFIVARS:-/sys/firmware/efi/efivars}
GUID=781e084c-a330-417c-b678-38e696380cb9

fail() {
    echo "nvboot: $*" >&2
    exit 1
}

number() { # A -> 0, B -> 1
    case "${1:-}" in
    A) echo 0 ;;
    B) echo 1 ;;
    *) fail "slot \"${1:-}\": A and B are the slots" ;;
    esac
}

other() { # A -> B, B -> A
    case "$1" in
    A) echo B ;;
    *) echo A ;;
    esac
}

info() { nvbootctrl -t rootfs dump-slots-info; }

named() { # "Current" or "Active": the slot that runs, or that starts next
    slot=$(info | sed -n "s/^$1 rootfs slot: *//p" | tr -d '[:space:]')
    number "$slot" >/dev/null
    echo "$slot"
}

state() { # slot -> good, bad
    index=$(number "$1")
    status=$(info | sed -n "s/^slot: $index,.*status: *//p" | tr -d '[:space:]')
    case "$status" in
    normal) echo good ;;
    unbootable) echo bad ;;
    *) fail "slot $1: nvbootctrl does not say whether it is normal: was this Jetson flashed with ROOTFS_AB=1?" ;;
    esac
}

write_status() { # slot, octal byte: efivarfs wants the attributes (7: kept, boot and run time) and the value at once
    variable=$VARIABLES/RootfsStatusSlot$1-$GUID
    [ ! -e "$variable" ] || chattr -i "$variable" 2>/dev/null || true
    printf "\007\000\000\000\\$2\000\000\000" >"$variable"
}

activate() { # slot
    # One that is left from an earlier switch makes the firmware ignore this one.
    stale=$VARIABLES/BootChainFwStatus-$GUID
    if [ -e "$stale" ]; then
        chattr -i "$stale" 2>/dev/null || true
        rm -f "$stale"
    fi
    index=$(number "$1")
    nvbootctrl -t rootfs set-active-boot-slot "$index"
    active=$(named Active)
    [ "$active" = "$1" ] || fail "slot $1: nvbootctrl did not make it the next one: flashed with ROOTFS_AB=1?"
}

mark_good() { # slot
    current=$(named Current)
    [ "$current" != "$1" ] || nvbootctrl verify >/dev/null
    is=$(state "$1")
    [ "$is" = good ] || write_status "$1" 000
}

mark_bad() { # slot; where it was to start next, the other one is, if there is something in that
    write_status "$1" 377
    active=$(named Active)
    spare=$(state "$(other "$1")")
    if [ "$active" = "$1" ] && [ "$spare" = good ]; then
        activate "$(other "$1")"
    fi
}

mark() { # slot, good or bad
    case "$2" in
    good) mark_good "$1" ;;
    bad) mark_bad "$1" ;;
    *) fail "state \"$2\": good and bad are the states" ;;
    esac
    is=$(state "$1")
    [ "$is" = "$2" ] || fail "slot $1: is not $2 after it was marked so"
}

set_primary() { # slot
    is=$(state "$1")
    [ "$is" = good ] || write_status "$1" 000
    activate "$1"
}

primary() { # the slot that starts next: the active one, or the other where the firmware would pass over it
    active=$(named Active)
    is=$(state "$active")
    spare=$(state "$(other "$active")")
    if [ "$is" = bad ] && [ "$spare" = good ]; then
        active=$(other "$active")
    fi
    echo "$active"
}

case "${1:-}" in
get-current) named Current ;;
get-primary) primary ;;
get-state) state "${2:-}" ;;
set-primary | set-state)
    number "${2:-}" >/dev/null
    if [ "$1" = set-primary ]; then
        set_primary "$2"
    else
        mark "$2" "${3:-}"
    fi
    ;;
*) fail "usage: get-current | get-primary | set-primary SLOT | get-state SLOT | set-state SLOT good|bad" ;;
esac
