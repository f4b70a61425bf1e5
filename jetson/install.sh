#!/bin/sh
# Installs a station of edgefoundad as a service: on a Jetson with JetPack 6 or 7, or on a PC with
# Debian 12, Ubuntu 22.04 or later. It asks nothing and may be run again: what is there is kept or
# brought up to date. Not run on a Jetson yet.
set -eu
umask 022

usage() {
    cat <<'END'
install.sh BUNDLE --station NAME --source URI [option...]
install.sh --uninstall [--purge] [--dry-run]

  BUNDLE            a bundle's folder, or what `edgefoundad pack` made of one
  --station NAME    lower-case letters, digits and dashes, as line-3
  --source URI      a camera's address, or a folder that is watched: csi://0, usb://0, rtsp://...
  --trust FILE.pub  take packed bundles signed with this key, now and later
  --unsigned        take a packed bundle that nobody signed; a folder never is
  --wheels DIR      install from these wheels, and ask no index
  --no-start        start at the next boot, not now
  --dry-run         print the commands, and change nothing
  --uninstall       stop every station, remove units and program; config and data stay
  --purge           with --uninstall: remove config, data and the user as well
END
}

PROGRAM=/opt/edgefoundad
UNIT=/etc/systemd/system/edgefoundad@.service
# GStreamer's library comes with its plugins.
PACKAGES="python3 python3-venv gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-libav"

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
bundle='' station='' source='' wheels='' key=''
unsigned=no start=yes dry=no uninstall=no purge=no
now='reading the words' advice=''

wrong() {
    echo "install.sh: error: $1: see install.sh --help" >&2
    exit 2
}

# A step: what it does, and what to do where it fails.
step() {
    now=$1 advice=$2
    echo "==> $now"
}

say() { echo "    $1"; }

fail() {
    echo "install.sh: error: $now: $1: $advice" >&2
    exit 1
}

# Words as a shell takes them, without the names and passwords of addresses.
shown() {
    line=''
    for word; do
        case $word in
            *://*@*) word=$(printf '%s' "$word" | sed 's#://.*@#://...@#') ;;
        esac
        case $word in
            '' | *[!A-Za-z0-9_./:@%+=,-]*)
                word="'$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'" ;;
        esac
        line="$line${line:+ }$word"
    done
    printf '%s' "$line"
}

run() {
    if [ "$dry" = yes ]; then
        say "$(shown "$@")"
        return 0
    fi
    code=0
    "$@" || code=$?
    [ "$code" = 0 ] || fail "\`$(shown "$@")\` ended with code $code"
}

# The same without what it says as it goes; its errors are shown.
quietly() {
    if [ "$dry" = yes ]; then
        run "$@"
    else
        run "$@" >/dev/null
    fi
}

booted() { [ -d /run/systemd/system ]; }

value() {
    [ "$#" -ge 2 ] || wrong "$1 takes a value"
    case $2 in '' | --*) wrong "$1 takes a value" ;; esac
}

read_words() {
    while [ "$#" -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --station) value "$@"; station=$2; shift ;;
            --source) value "$@"; source=$2; shift ;;
            --wheels) value "$@"; wheels=$2; shift ;;
            --trust) value "$@"; key=$2; shift ;;
            --unsigned) unsigned=yes ;;
            --no-start) start=no ;;
            --dry-run) dry=yes ;;
            --uninstall) uninstall=yes ;;
            --purge) purge=yes ;;
            -*) wrong "there is no option $1" ;;
            *)
                [ -z "$bundle" ] || wrong "found two bundles, $bundle and $1; expected one"
                bundle=$1
                ;;
        esac
        shift
    done
}

check_words() {
    if [ "$uninstall" = yes ]; then
        [ -z "$bundle$station$source$wheels$key" ] ||
            wrong "--uninstall takes --purge and --dry-run alone"
        return
    fi
    [ "$purge" = no ] || wrong "--purge belongs to --uninstall"
    [ -n "$bundle" ] || wrong "found no BUNDLE"
    [ -n "$station" ] || wrong "found no --station"
    [ -n "$source" ] || wrong "found no --source"
    # Not a-z, which is more than that in some languages.
    case $station in
        -* | *[!abcdefghijklmnopqrstuvwxyz0123456789-]*)
            wrong "found the station $station; expected lower-case letters, digits and dashes" ;;
    esac
    [ "${#station}" -le 63 ] || wrong "found a station of ${#station} letters; expected 63 at most"
    if [ -d "$bundle" ]; then
        [ -f "$bundle/manifest.json" ] || wrong "$bundle is no bundle: it has no manifest.json"
    else
        [ -f "$bundle" ] || wrong "found no bundle at $bundle"
    fi
    [ -z "$wheels" ] || [ -d "$wheels" ] || wrong "found no folder of wheels at $wheels"
    [ -z "$key" ] || [ -f "$key" ] || wrong "found no key at $key"
}

check_machine() {
    step "look at the machine" \
        "run it as root on Debian 12, Ubuntu 22.04 or later, or JetPack 6 or 7"
    jetson=no
    if [ -f /etc/nv_tegra_release ]; then
        release=$(sed -n 's/^# R\([0-9]*\).*/\1/p' /etc/nv_tegra_release)
        case $release in
            36) say "a Jetson with JetPack 6" ;;
            38 | 39) say "a Jetson with JetPack 7" ;;
            *) fail "found Jetson Linux ${release:-of no known release}; expected 36 or 38" ;;
        esac
        jetson=yes
    else
        say "no Jetson: $(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\).*/\1/p' /etc/os-release)"
    fi
    command -v apt-get >/dev/null || fail "found no apt-get"
    [ "$dry" = no ] || return 0
    [ "$(id -u)" = 0 ] || fail "not run as root"
    [ "$start" = no ] || booted ||
        fail "systemd does not run here (--no-start installs all the same)"
}

# The service would refuse in the end: better before minutes of installing.
check_units() {
    other=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$UNIT" 2>/dev/null || :)
    step "look at the units" "\`sudo $other service uninstall\` takes them away and keeps all data"
    [ "$other" = "$PROGRAM/bin/edgefoundad" ] || [ ! -x "$other" ] ||
        fail "found those of another installation, $other"
}

add_packages() {
    step "add what the system lacks" \
        "connect the machine, or install these by hand: $(echo "$PACKAGES" | tr -s ' \n' ' ')"
    missing=''
    for one in $PACKAGES; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$one" 2>/dev/null || :)" = installed ] ||
            missing="$missing $one"
    done
    if [ -z "$missing" ]; then
        say "nothing is missing"
        return
    fi
    say "$(echo "$missing" | wc -w) packages, and what they need: this takes minutes"
    quietly apt-get update -qq
    # shellcheck disable=SC2086  # Several words.
    quietly env DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends $missing
}

add_program() {
    step "install the program into $PROGRAM" \
        "free some space; without a route to an index, bring wheels and add --wheels DIR"
    set --
    # TensorRT comes with JetPack, for the system's Python.
    [ "$jetson" = no ] || set -- "$@" --system-site-packages
    # An upgrade of the system leaves a program behind for a Python that is gone.
    if [ -e "$PROGRAM" ] && ! "$PROGRAM/bin/python" -c 'import pip' 2>/dev/null; then
        set -- "$@" --clear
    fi
    run python3 -m venv "$@" "$PROGRAM"
    what=edgefoundad copy=''
    if [ -z "$wheels" ] && grep -qs '^name = "edgefoundad"$' "$here/../pyproject.toml"; then
        say "from the sources that it lies in"
        # Built in a copy: nothing of root's stays in the sources, and nothing of a former build.
        copy=$PROGRAM/sources
        set --
        for one in pyproject.toml README.md LICENSE edgefoundad export jetson; do
            set -- "$@" "$here/../$one"
        done
        run rm -rf "$copy"
        run mkdir "$copy"
        run cp -R "$@" "$copy"
        what=$copy
    fi
    [ "$jetson" = no ] || what="${what}[jetson]"
    set -- --quiet --disable-pip-version-check --no-input --upgrade
    [ -z "$wheels" ] || set -- "$@" --no-index --find-links "$wheels"
    run "$PROGRAM/bin/python" -m pip install "$@" "$what"
    if [ -n "$wheels" ]; then
        # Wheels of the same version may be of newer sources, and pip leaves those be.
        run "$PROGRAM/bin/python" -m pip install "$@" --force-reinstall --no-deps edgefoundad
    fi
    [ -z "$copy" ] || run rm -rf "$copy"
}

# `edgefoundad service`: the program's own. Where none is installed, before a dry run and after an
# uninstall, the package beside this script says the same; it needs no library for that.
service() {
    if "$PROGRAM/bin/edgefoundad" service --help >/dev/null 2>&1; then
        "$PROGRAM/bin/edgefoundad" service "$@" || exit 1
    elif [ "$dry$uninstall" != nono ] && [ -f "$here/../edgefoundad/errors.py" ] &&
        command -v python3 >/dev/null; then
        PYTHONPATH="$here/..:$here" python3 -B "$here/edgefoundad_jetson/install/__main__.py" \
            --program "$PROGRAM/bin/edgefoundad" "$@" || exit 1
    elif [ "$dry" = yes ]; then
        say "$(shown "$PROGRAM/bin/edgefoundad" service "$@")"
        say "What that does it tells itself, once the program is installed: ask again then."
    else
        fail "found no program in $PROGRAM that runs, and no package beside install.sh"
    fi
}

add_station() {
    set -- install "$bundle" --station "$station" --source "$source"
    [ -z "$key" ] || set -- "$@" --trust "$key"
    [ "$unsigned" = no ] || set -- "$@" --unsigned
    [ "$start" = yes ] || set -- "$@" --no-start
    [ "$dry" = no ] || set -- "$@" --dry-run
    service "$@"
}

remove() {
    step "take away the service" "run install.sh from a whole copy of the sources"
    [ "$dry" = yes ] || [ "$(id -u)" = 0 ] || fail "not run as root"
    set -- uninstall
    [ "$purge" = no ] || set -- "$@" --purge
    [ "$dry" = no ] || set -- "$@" --dry-run
    service "$@"
    step "remove the program" "remove $PROGRAM by hand"
    run rm -rf "$PROGRAM"
    say "kept: Debian's packages"
}

read_words "$@"
check_words
if [ "$uninstall" = yes ]; then
    remove
    exit 0
fi
check_machine
check_units
add_packages
add_program
add_station
