#!/bin/sh
# What `edge update failed` would do, where the runtime of this system is so broken that it cannot be asked: leave the
# slot that runs, if it is on trial and the other one is good.
set -eu

EDGE=${EDGE:-/opt/edge-runtime/bin/edge}
TRIAL=${TRIAL:-/data/rauc/trial.json}

# The question itself is the probe: whatever it needs is needed here. It answers with 0 or 2, and with anything else
# where it, or a library that it needs, does not start.
answer=0
"$EDGE" update failed --unless-healthy || answer=$?
case $answer in
0 | 2) exit 0 ;; # it has done it, or has said why it stays
esac
[ -e "$TRIAL" ] || exit 0
status=$(rauc status --output-format=shell)
eval "$status"
grep -q "\"slot\":\"$RAUC_SYSTEM_BOOTED_BOOTNAME\"" "$TRIAL" || exit 0
for number in $RAUC_SLOTS; do
    eval "state=\$RAUC_SLOT_STATE_$number good=\$RAUC_SLOT_BOOT_STATUS_$number"
    if [ "$state" = inactive ] && [ "$good" = good ]; then
        echo "slot $RAUC_SYSTEM_BOOTED_BOOTNAME: its runtime does not start at all; back to the other slot"
        rauc status mark-bad booted
        systemctl reboot
        exit 0
    fi
done
echo "slot $RAUC_SYSTEM_BOOTED_BOOTNAME: its runtime does not start at all, but the other slot is not good: it stays"
