# What suites written in bash share; source it. `check WHAT COMMAND…` runs a command, whose output
# and exit status are then in $output and $status; `status_is` and `has` say what they should be.
# End the suite with `finish`.

token=interop
package=gotoassist.remotesupport.v1
service=$package.RemoteSupportService

checks_failed=0
what=
is_good=1

check() {
    conclude
    what=$1
    is_good=1
    shift
    status=0
    output=$("$@" 2>&1) || status=$?
}

# The exit status must be this.
status_is() {
    if [[ $status != "$1" ]]; then
        complain "exit status $status, not $1"
    fi
}

# The output must hold each of these texts.
has() {
    local text
    for text in "$@"; do
        if [[ $output != *"$text"* ]]; then
            complain "it does not hold: $text"
        fi
    done
}

# And none of these.
has_not() {
    local text
    for text in "$@"; do
        if [[ $output == *"$text"* ]]; then
            complain "it holds: $text"
        fi
    done
}

complain() {
    if [[ $is_good == 1 ]]; then
        printf 'not ok %s\n%s\n' "$what" "$output"
        is_good=0
        checks_failed=1
    fi
    printf '    %s\n' "$1"
}

conclude() {
    if [[ -n $what && $is_good == 1 ]]; then
        echo "ok $what"
    fi
    what=
}

finish() {
    conclude
    exit "$checks_failed"
}
