# shellcheck shell=sh
# Sourced by the programs beside it: Debian packages that have to be there.

# need PACKAGE…: install those that are missing, and say so; exit where that cannot be done.
need() {
    missing=
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "${0##*/}: missing:$missing. Install that, or run this as root on Debian." >&2
        exit 1
    fi
    echo "${0##*/}: installing$missing" >&2
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of words
    if ! { apt-get -q -o DPkg::Lock::Timeout=300 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing
    } >"$log" 2>&1; then
        cat "$log" >&2
        rm "$log"
        exit 1
    fi
    rm "$log"
}
