# Sourced by the scripts: keeps .venv in step with pyproject.toml and constraints.txt.
#
# `ensure_venv EXTRA` makes or refreshes $root/.venv with the extra's packages, and costs a few
# milliseconds when there is nothing to do. $PYTHON chooses the interpreter of a new .venv.
# .venv/nnexp-stamp says what is in it: a checksum of all that it follows from, the extra, and the
# directory; or "installing", which is left behind when an installation was cut off.

root=${BASH_SOURCE[0]%/scripts/lib/venv.sh}
venv=$root/.venv
stamp=$venv/nnexp-stamp

fail() {
    echo "nnexp: $*" >&2
    exit 1
}

# The resolved interpreter is part of it because an upgrade of the system may put another version
# behind the same link.
checksum() {
    {
        readlink -f -- "$venv/bin/python"
        cat -- "$root/pyproject.toml" "$root/constraints.txt" "$venv/pyvenv.cfg"
    } 2>/dev/null | cksum
}

# Whether .venv holds what EXTRA asks for; dev holds everything that the others do.
is_fresh() {
    local held sum
    [[ -x $venv/bin/python && -r $stamp ]] || return 1
    held=$(<"$stamp")
    sum=$(checksum)
    [[ $held == "$sum $1 $root" || $held == "$sum dev $root" ]]
}

# The path of the interpreter that a command runs, if it is new enough; of the one underneath where
# that is a virtual environment's, which may be the very one to be replaced.
interpreter() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11) or print(sys._base_executable))' \
        2>/dev/null
}

find_python() {
    local name
    if [[ -n ${PYTHON:-} ]]; then
        interpreter "$PYTHON" || fail "PYTHON=$PYTHON is not a Python of version 3.11 or newer."
        return
    fi
    for name in python3 python3.13 python3.12 python3.11; do
        interpreter "$name" && return
    done
    fail "Python 3.11 or newer is needed and none was found; install one, or set PYTHON to its path."
}

# Whether the environment that is there can be installed into: it was not moved here (its scripts
# would name the old directory), no installation into it was cut off, and it runs.
is_usable() {
    local held=""
    [[ -r $stamp ]] && held=$(<"$stamp")
    [[ -z $held || $held == *" $root" ]] && interpreter "$venv/bin/python" >/dev/null &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

install() {
    local extra=$1 python
    local pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check install
        --constraint "$root/constraints.txt")
    if is_usable; then
        echo "nnexp: bringing its Python environment up to date ($venv) …" >&2
        echo installing >"$stamp"
    else
        python=$(find_python) || exit 1
        echo "nnexp: making its Python environment ($venv); this takes a few minutes, once …" >&2
        { rm -rf -- "$venv" && mkdir -- "$venv" && echo installing >"$stamp"; } ||
            fail "$root can't be written to, and its Python environment belongs there."
        "$python" -m venv "$venv" >&2 ||
            fail "could not make $venv (on Debian and Ubuntu: install python3-venv)."
    fi
    # torch is by far the largest, so it stands alone; this version is the one that was tested.
    "${pip[@]}" torch==2.13.0 >&2 || fail "could not install torch; the reason stands above."
    "${pip[@]}" --editable "$root[$extra]" >&2 || fail "could not install; the reason stands above."
    echo "$(checksum) $extra $root" >"$stamp"
}

ensure_venv() {
    is_fresh "$1" && return
    # Whoever comes second waits for the first, and then finds nothing left to do.
    exec 9<"$root/pyproject.toml"
    if command -v flock >/dev/null; then
        flock --nonblock 9 || {
            echo "nnexp: another process is installing; waiting for it …" >&2
            flock 9
        }
    fi
    is_fresh "$1" || install "$1"
    exec 9<&-
}
