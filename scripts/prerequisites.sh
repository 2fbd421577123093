# shellcheck shell=bash
# Sourced by the other scripts: what must be on the machine before `swift build`, and how it gets there.
#
# Installs nothing silently outside this checkout except through the system's package manager, and says so. Without
# root (and without password-less sudo) Debian packages are unpacked into .local/ instead. No system server is started.

# The sourcing script has set root, the top of the checkout.
: "${root:?}"
packages=(postgresql redis-server libpq-dev libhiredis-dev zlib1g-dev pkg-config)

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# Swift 6.2 or newer, or one line that says where to get it.
need_swift() {
  local found=none hint
  hint="install it from https://www.swift.org/install or use: docker compose -f docker/compose.yml up -d --wait"
  command -v swift >/dev/null || PATH=$HOME/.local/share/swiftly/bin:$PATH
  command -v swift >/dev/null || die "Swift 6.2 or newer is needed and none was found; $hint"
  found=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  [ "$(printf '6.2\n%s\n' "${found:-0}" | sort -V | head -n 1)" = 6.2 ] ||
    die "Swift 6.2 or newer is needed and ${found:-an unknown version} was found; $hint"
}

# The package names (Debian's) of what is missing, one per line.
missing_packages() {
  local folders=("$root/.local/usr/lib/postgresql"/*/bin /usr/lib/postgresql/*/bin) with_folders=$PATH folder header
  for folder in "${folders[@]}"; do with_folders=$with_folders:$folder; done
  PATH=$with_folders command -v initdb >/dev/null || echo postgresql
  command -v redis-server >/dev/null || echo redis-server
  command -v pkg-config >/dev/null || { echo pkg-config && return; }
  for header in libpq:libpq-dev hiredis:libhiredis-dev zlib:zlib1g-dev; do
    pkg-config --exists "${header%%:*}" || echo "${header#*:}"
  done
}

# Programs, headers and libraries that were unpacked into .local/ come first from now on.
use_local() {
  local libraries folder
  [ -d "$root/.local/usr" ] || return 0
  libraries=$root/.local/usr/lib/$(uname -m)-linux-gnu
  export PATH=$root/.local/usr/bin:$PATH
  for folder in "$root/.local/usr/lib/postgresql"/*/bin; do PATH=$folder:$PATH; done
  export PKG_CONFIG_PATH=$libraries/pkgconfig:$root/.local/usr/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LIBRARY_PATH=$libraries${LIBRARY_PATH:+:$LIBRARY_PATH}
}

# As root: apt-get with a policy that keeps the packages' own services from starting and taking the standard ports.
install_packages() {
  local as_root=() policy=/usr/sbin/policy-rc.d ours=no status=0 service
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  say "Installing with apt-get (their system services stay off): $*"
  if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
  fi
  { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2; } || status=$?
  [ $ours = no ] || "${as_root[@]}" rm -f "$policy"
  [ $status = 0 ] || die "apt-get could not install: $*"
  for service in postgresql redis-server; do
    case " $* " in *" $service "*)
      # Not at the next boot either.
      if [ -d /run/systemd/system ]; then "${as_root[@]}" systemctl disable --quiet "$service" || true; fi
      ;;
    esac
  done
}

# Without root: the packages and what they need, unpacked below .local/.
unpack_packages() {
  local wanted=() file
  say "No root here: unpacking into .local/ instead of installing: $*"
  mapfile -t wanted < <(apt-get install -s --no-install-recommends "$@" 2>/dev/null | awk '/^Inst /{print $2}')
  [ ${#wanted[@]} -gt 0 ] ||
    die "apt-get cannot find them or what they need; as root run 'apt-get update' once, or: apt-get install $*"
  mkdir -p "$root/.local/packages"
  (cd "$root/.local/packages" && apt-get download -qq "${wanted[@]}" >&2) || die "apt-get download failed"
  for file in "$root/.local/packages"/*.deb; do dpkg -x "$file" "$root/.local"; done
  rm -r "$root/.local/packages"
  # The pkg-config files say where they were meant to be.
  local usr=$root/.local/usr
  find "$usr" -name '*.pc' -exec sed -i -e "s#^prefix=/usr\$#prefix=$usr#" -e "s#=/usr/#=$usr/#" \
    -e "s#^Libs:#Libs: -L$usr/lib/$(uname -m)-linux-gnu#" -e "s#^Cflags:#Cflags: -I$usr/include#" {} +
}

need_packages() {
  local missing=()
  use_local
  mapfile -t missing < <(missing_packages)
  # Without pkg-config nothing can be said about headers: ask for all; what is there is left alone.
  case " ${missing[*]} " in *" pkg-config "*) missing=("${packages[@]}") ;; esac
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    die "missing: ${missing[*]} (Debian's names); on macOS: brew install postgresql@17 redis hiredis libpq pkgconf"
  if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
    install_packages "${missing[@]}"
  else
    unpack_packages "${missing[@]}"
    use_local
  fi
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} = 0 ] || die "still missing after installing: ${missing[*]}"
}

# swift build ARGUMENTS..., with one line of progress; the compiler's words only when it fails.
build() {
  local log=$root/.build/build.log started=$SECONDS pid status=0 line=
  mkdir -p "$root/.build"
  say "Building (the first time takes several minutes) ..."
  # Whole modules at once have no index (Package.swift).
  if [ "${SMARTORDERS_OPTIMISED:-}" = 1 ]; then set -- "$@" --disable-index-store; fi
  (cd "$root" && exec swift build "$@") >"$log" 2>&1 </dev/null &
  pid=$!
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    line=$(grep -aoE '^\[[0-9]+/[0-9]+\] .*' "$log" | tail -n 1 || true)
    if [ -t 2 ]; then
      printf '\r\033[K%.*s' "$((${COLUMNS:-80} - 1))" "$line" >&2
    elif [ $(((SECONDS - started) % 60)) = 59 ]; then
      say "  $((SECONDS - started)) s ${line:-fetching}"
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  [ -t 2 ] && printf '\r\033[K' >&2
  if [ $status != 0 ]; then
    grep -aE -A 6 'error:' "$log" | head -n 60 >&2 || true
    die "the build failed after $((SECONDS - started)) s; everything it said is in .build/build.log"
  fi
  say "Built in $((SECONDS - started)) s."
}

# Recorded prices stand beside the checkout, or where SMARTORDERS_TEST_DATA says; without them their tests are skipped.
find_recordings() {
  if [ -n "${SMARTORDERS_TEST_DATA:-}" ]; then return; fi
  if [ -d "$root/../shared/data" ]; then
    SMARTORDERS_TEST_DATA=$(cd "$root/../shared/data" && pwd)
    export SMARTORDERS_TEST_DATA
  else
    unset SMARTORDERS_TEST_DATA
    say "SKIPPED: tests on recorded prices (there is no ../shared/data)"
  fi
}
