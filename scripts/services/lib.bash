# What the scripts of this folder share. Each of them is `NAME up | down | env`:
#   up    starts the service when it does not run yet, waits until it answers, prints its address as NAME=VALUE
#   down  ends it by its recorded process id, and removes its files
#   env   prints the address of the running service; exit 1 when it does not run
# Everything listens on loopback, on a port chosen at the first `up`, and keeps its files in .services/NAME
# (or below $SERVICES_DIR). A script defines `start`, `answers` and `address`, then calls `serve`.

set -euo pipefail
name=$(basename "$0")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=${SERVICES_DIR:-$root/.services}/$name
pidfile=$dir/pid

die() {
    echo "$*" >&2
    exit 1
}

# need PROGRAM PACKAGE: stop with the one command to run when PROGRAM is missing.
need() {
    command -v "$1" >/dev/null || die "$name: \`$1\` is not installed; as root on Debian: apt-get install -y $2"
}

# The port of this service: the one on record, else one nobody listens on, below those the kernel gives out itself.
port() {
    local wanted
    if [ ! -s "$dir/port" ]; then
        for _ in $(seq 50); do
            wanted=$((20000 + RANDOM % 10000))
            (exec 3<>"/dev/tcp/127.0.0.1/$wanted") 2>/dev/null || break
        done
        echo "$wanted" >"$dir/port"
    fi
    cat "$dir/port"
}

pid() { tr -d '[:space:]' <"$pidfile" 2>/dev/null; }

# running PID: a process that nobody has collected yet counts as ended.
running() {
    kill -0 "$1" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

gone() { ! running "$1"; }

# Whether the recorded process lives and is still the program that was started: ids are used again.
alive() {
    [ -s "$pidfile" ] && running "$(pid)" || return 1
    [ ! -r "/proc/$(pid)/comm" ] || [ "$(cat "/proc/$(pid)/comm")" = "$program" ]
}

# until_true SECONDS COMMAND...: true as soon as the command is, false when the time is up.
until_true() {
    local left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        ((left-- > 0)) || return 1
        sleep 0.1
    done
}

up() {
    if ! { alive && answers; } >/dev/null 2>&1; then
        end
        mkdir -p "$dir"
        # Somebody else may have taken the port of a service that died.
        rm -f "$dir/port" "$pidfile"
        start >"$dir/log" 2>&1 || { tail -n 20 "$dir/log" >&2; die "$name did not start; its words stand above."; }
        until_true 30 answers || { tail -n 20 "$dir/log" >&2; die "$name did not answer within 30 s; the end of $dir/log stands above."; }
    fi
    address
}

# End the process, politely first (with $stop_signal when the script names one); true when there is none.
end() {
    local number
    alive || return 0
    number=$(pid)
    kill -s "${stop_signal:-TERM}" "$number" 2>/dev/null || true
    until_true 20 gone "$number" || kill -9 "$number" 2>/dev/null || true
}

down() {
    end
    rm -rf "$dir"
}

serve() { # PROGRAM UP|DOWN|ENV
    program=$1
    case ${2:-} in
    up) up ;;
    down) down ;;
    env) { alive && address; } || die "$name does not run; start it with: $0 up" ;;
    *) die "usage: $0 up | down | env" ;;
    esac
}
