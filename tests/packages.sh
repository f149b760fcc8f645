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
