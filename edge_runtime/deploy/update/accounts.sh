#!/bin/sh
# The hook runs this: the accounts of people, which belong to the robot and to no release, go along to the new system.
# One that the new system brings itself is as it is there; nobody leaves a group.
#
# People have the numbers 1000 to 59999 (Debian Policy, "UID and GID classes"). Lines: passwd(5), shadow(5), group(5),
# gshadow(5).
set -eu

[ -e "$NEW/etc/passwd" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/passwd" >"$work/group" >"$work/people"

# Neither name nor number may be another's in the new system, and an account's own group must have the same name there.
awk -F: -v old="$OLD/etc" -v new="$NEW/etc" -v work="$work" '
    function person(number) { return number >= 1000 && number <= 59999 }
    FILENAME == new "/group" { number_of_group[$1] = $3; group[$3] = $1; next }
    FILENAME == new "/passwd" { number[$1] = $3; name[$3] = $1; next }
    FILENAME == old "/group" {
        was[$3] = $1
        if (person($3) && !($1 in number_of_group) && !($3 in group)) {
            group[$3] = $1
            print >(work "/group")
        }
        next
    }
    person($3) && !($1 in number) {
        if (($3 in name) || group[$4] != was[$4]) {
            why = "number " $3 ", or its group " $4 ", is another in the new system: not taken along"
            print "account " $1 ": " why >"/dev/stderr"
            next
        }
        number[$1] = $3
        print >(work "/passwd")
    }
    person($3) && number[$1] == $3 { print $1 ":" $6 >(work "/people") }
' "$NEW/etc/group" "$NEW/etc/passwd" "$OLD/etc/group" "$OLD/etc/passwd"

# Their lines, those with the passwords too.
cat "$work/passwd" >>"$NEW/etc/passwd"
cat "$work/group" >>"$NEW/etc/group"
for pair in passwd:shadow group:gshadow; do
    secret=etc/${pair#*:}
    [ -e "$OLD/$secret" ] && [ -e "$NEW/$secret" ] || continue
    awk -F: 'FILENAME == ARGV[1] { goes[$1]; next } $1 in goes' "$work/${pair%:*}" "$OLD/$secret" >>"$NEW/$secret"
done

# Their groups.
for file in etc/group etc/gshadow; do
    [ -e "$OLD/$file" ] && [ -e "$NEW/$file" ] || continue
    awk -F: -v OFS=: '
        FILENAME == ARGV[1] { person[$1]; next }
        FILENAME == ARGV[2] { members[$1] = $4; next }
        {
            count = split(members[$1], member, ",")
            for (i = 1; i <= count; i++)
                if ((member[i] in person) && index("," $4 ",", "," member[i] ",") == 0)
                    $4 = $4 ($4 == "" ? "" : ",") member[i]
            print
        }
    ' "$work/people" "$OLD/$file" "$NEW/$file" >"$work/members"
    cat "$work/members" >"$NEW/$file"
done

# Their homes, with nothing in them but the keys that let them in.
while IFS=: read -r _ home; do
    home=${home#/}
    [ -n "$home" ] && [ -d "$OLD/$home" ] || continue
    echo "$home"
    keys=$home/.ssh/authorized_keys
    [ -f "$OLD/$keys" ] && [ ! -L "$OLD/$keys" ] && [ ! -L "$OLD/$home/.ssh" ] || continue
    printf '%s\n' "$home/.ssh" "$keys"
done <"$work/people" >"$work/homes"
tar --create --no-recursion --file="$work/homes.tar" -C "$OLD/" --verbatim-files-from --files-from="$work/homes"
tar --extract --skip-old-files --numeric-owner --same-permissions --file="$work/homes.tar" -C "$NEW"
