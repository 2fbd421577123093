# shellcheck shell=bash
# Sourced by the operator's handles: runs the program that is there, on this host or in the deployment's container.

# The sourcing script has set root, the top of the checkout.
: "${root:?}"

smartorders() {
  local candidate
  for candidate in "${SMARTORDERS_PROGRAM:-}" "$root/.build/release/smartorders" "$root/.build/debug/smartorders"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then
      "$candidate" "$@"
      return
    fi
  done
  if command -v smartorders >/dev/null; then
    command smartorders "$@"
  elif command -v docker >/dev/null && docker compose -f "$root/docker/compose.yml" ps --quiet scheduler 2>/dev/null | grep -q .; then
    docker compose -f "$root/docker/compose.yml" exec scheduler smartorders "$@"
  else
    printf 'error: smartorders is not built: swift build, or start the deployment\n' >&2
    return 1
  fi
}
