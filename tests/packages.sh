# Installs the Debian packages named on the command line that are missing. Sourced by tests/run and tests/demo.
# Needs root and apt; says what is missing otherwise. NEW_PACKAGES names what it installed.
need_packages() {
    local missing=() p
    NEW_PACKAGES=
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing packages: ${missing[*]} (install them as root: apt-get install ${missing[*]})" >&2
        return 1
    fi
    echo "installing ${missing[*]} ..."
    apt-get update -qq -o Acquire::Retries=3 || return 1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Acquire::Retries=3 "${missing[@]}" >/dev/null || return 1
    NEW_PACKAGES=${missing[*]}
}

# Where the foreign controllers live: a Python environment of their own, outside the tree, by the list of what is in it.
python_environment() {
    local list=$1
    echo "${RVS_PYTHON:-${XDG_CACHE_HOME:-$HOME/.cache}/rvswitch-tests/python-$(sha256sum "$list" | cut -c1-12)}"
}

# Makes that environment unless it is there whole.
need_python() {
    local list=$1 dir
    dir=$(python_environment "$list")
    [ -e "$dir/complete" ] && return 0
    echo "installing the controllers of $list into $dir ..."
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    if ! /usr/bin/python3 -m venv "$dir" ||
        ! "$dir/bin/pip" install -q --disable-pip-version-check --no-deps -r "$list"; then
        echo "the controllers of $list can't be installed: the tests that need them will fail" >&2
        return 1
    fi
    touch "$dir/complete"
}

# Where the packages of a list lie that are laid over that environment (in PYTHONPATH).
python_overlay() {
    echo "$(python_environment "$1")/over-$(sha256sum "$2" | cut -c1-12)"
}

# Puts them there unless they are.
need_overlay() {
    local dir
    dir=$(python_overlay "$1" "$2")
    [ -e "$dir/complete" ] && return 0
    rm -rf "$dir"
    if ! "$(python_environment "$1")/bin/pip" install -q --disable-pip-version-check --no-deps --target "$dir" -r "$2"; then
        echo "the applications of $2 can't be installed: the tests that need them will fail" >&2
        return 1
    fi
    touch "$dir/complete"
}

# Where the program lies that makes the Debian package.
cargo_deb_environment() {
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/rvswitch-tests/cargo-deb-3.8.0"
}

# Builds it there unless it is there: as it builds fastest, since it runs once.
need_cargo_deb() {
    local dir
    dir=$(cargo_deb_environment)
    [ -e "$dir/complete" ] && return 0
    echo "installing cargo-deb into $dir ..."
    rm -rf "$dir"
    if ! (cd / && cargo install --quiet --locked --debug --no-track --version "${dir##*-}" --root "$dir" cargo-deb); then
        echo "cargo-deb can't be installed: the test of the Debian package will fail" >&2
        return 1
    fi
    touch "$dir/complete"
}
